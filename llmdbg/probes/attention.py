"""Which tokens each head of an attention reads from: the weights of one position, by head.

The rows come from `kernel_rows.py`, computed from what the kernel was called with. Nothing here makes them sum to 1:
where they do not, the map says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmdbg.probes.kernel_rows import KernelRow

_MOST_READS, _MOST_READS_OF_ONE, _LARGEST = 5, 20, 10
_MOST_TEXTS = 4096
_SUM_TOLERANCE = 2e-3
"""A row that was rounded to bfloat16 or float16 sums to 1 no better."""


@dataclass(frozen=True, slots=True)
class KeyWeight:
    """A token that is read from: its position, its text, and its weight, from 0 to 1."""

    position: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """What one head does at the position.

    `entropy` is that of its whole row, a learned sink included, in nats; `first` the weight on the first token that it
    can see; `sink` that on a learned sink, None without one; `sum` is what the row sums to.
    """

    head: int
    entropy: float
    first: float
    sink: float | None
    sum: float
    reads: tuple[KeyWeight, ...]


@dataclass(frozen=True, slots=True)
class LargestWeight:
    """One of the largest weights of all heads."""

    head: int
    position: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """The weights with which the position `position` reads from the `keys` positions from `first_key` on.

    `weights` (heads, keys) float32 are on the keys alone; a learned sink's are in `heads`. `first_position` is the
    first token of the sequence that is no padding and still within reach; `texts` are those of the keys, of no more
    than the last 4096. `difference` is how far weights · values was from what the kernel gave, as a part of its largest
    value, None where the weights are the kernel's own. `head` is the one that was asked for.
    """

    address: str
    layer: int | None
    position: int
    text: str
    kernel: str
    first_key: int
    keys: int
    first_position: int
    heads: tuple[HeadSummary, ...]
    mean: tuple[KeyWeight, ...]
    largest: tuple[LargestWeight, ...]
    difference: float | None
    head: int | None
    notes: tuple[str, ...]
    texts: tuple[str, ...]
    weights: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class QueryPosition:
    """Of which attention and position the rows are. `fed` is how many positions have been fed, this forward's included.

    The first `padding` positions are left padding. `text(position)` is a token's text.
    """

    address: str
    layer: int | None
    position: int
    fed: int
    padding: int
    text: Callable[[int], str]


def attention_map(rows: Sequence[KernelRow], where: QueryPosition, *, head: int | None = None) -> AttentionMap | str:
    """Make the map of one attention from its rows, or one line that says why there is none. One copy to the host."""
    found, differences = _on_the_host(rows)
    for row, difference in zip(rows, differences, strict=True):
        if difference is not None and not difference <= row.tolerance and not _broken(found):
            return (
                f"{where.address}: the weights that the arguments of its kernel {row.kernel} stand for would give "
                f"another output than it gave (apart by {difference:.2g} of its largest value): they are not shown"
            )
    numbers, notes = _as_one(found)
    keys = numbers.shape[1] - rows[0].sinks
    first_key = max(0, where.fed - keys)
    held = min(keys, where.fed - first_key)
    if np.any(numbers[:, held:keys]):
        return f"{where.address}: its kernel read from places of the cache that hold nothing yet: no map can be made"
    behind = where.position - first_key + 1
    seen = held if np.any(numbers[:, behind:held]) else behind
    weights = np.ascontiguousarray(numbers[:, :seen])
    first = min(max(first_key, where.padding), where.position)
    known = [each for each in differences if each is not None]
    return AttentionMap(
        address=where.address,
        layer=where.layer,
        position=where.position,
        text=where.text(where.position),
        kernel=rows[0].kernel,
        first_key=first_key,
        keys=seen,
        first_position=first,
        heads=tuple(
            _head(index, row, rows[0].sinks, first - first_key, most_read(shown, first_key, where.text, most))
            for index, (row, shown) in enumerate(zip(numbers, weights, strict=True))
            for most in (_MOST_READS_OF_ONE if index == head else _MOST_READS,)
        ),
        mean=most_read(weights.mean(axis=0), first_key, where.text),
        largest=_largest(weights, first_key, where.text),
        difference=max(known) if known else None,
        head=head,
        notes=(*notes, *_warnings(numbers)),
        texts=tuple(map(where.text, range(max(first_key, first_key + seen - _MOST_TEXTS), first_key + seen))),
        weights=weights,
    )


def most_read(
    weights: NDArray[np.float32], first_key: int, text: Callable[[int], str], most: int = _MOST_READS
) -> tuple[KeyWeight, ...]:
    """The keys with the largest of some weights (keys,), largest first. A key of no weight is left out."""
    order = np.argsort(-weights, kind="stable")[:most]
    return tuple(
        KeyWeight(first_key + int(index), text(first_key + int(index)), float(weights[index]))
        for index in order
        if weights[index] > 0
    )


def _head(index: int, row: NDArray[np.float32], sinks: int, first: int, reads: tuple[KeyWeight, ...]) -> HeadSummary:
    """`row` (keys + sinks) is a head's, the first token it can see at `first` in it."""
    whole = row.astype(np.float64)
    logarithms = np.log(whole, out=np.zeros_like(whole), where=whole > 0)
    return HeadSummary(
        head=index,
        entropy=abs(float((whole * logarithms).sum())),
        first=float(whole[first]),
        sink=float(whole[-1]) if sinks else None,
        sum=float(whole.sum()),
        reads=reads,
    )


def _largest(weights: NDArray[np.float32], first_key: int, text: Callable[[int], str]) -> tuple[LargestWeight, ...]:
    order = np.argsort(-weights, axis=None, kind="stable")[:_LARGEST]
    places = [divmod(int(each), weights.shape[1]) for each in order]
    return tuple(
        LargestWeight(head, first_key + key, text(first_key + key), float(weights[head, key]))
        for head, key in places
        if weights[head, key] > 0
    )


def _on_the_host(rows: Sequence[KernelRow]) -> tuple[list[NDArray[np.float32]], list[float | None]]:
    """Every row (heads, keys + sinks) and difference, in one copy."""
    parts = [row.weights.flatten() for row in rows]
    parts += [row.difference.float().reshape(1) for row in rows if row.difference is not None]
    host = torch.cat(parts).cpu().numpy()
    found, at = [], 0
    for row in rows:
        found.append(host[at : at + row.weights.numel()].reshape(tuple(row.weights.shape)))
        at += row.weights.numel()
    left = iter(host[at:])
    return found, [None if row.difference is None else float(next(left)) for row in rows]


def _as_one(found: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The rows of several calls below each other, unless they are the same."""
    first, others = found[0], found[1:]
    if not others:
        return first, ()
    if all(np.array_equal(first, each) for each in others):
        return first, (f"its kernel was called {len(found)} times with these same weights",)
    spans = ", ".join(f"{index * len(first)} to {(index + 1) * len(first) - 1}" for index in range(len(found)))
    if any(each.shape != first.shape for each in others):
        return first, (f"its kernel was called {len(found)} times, with other keys each: this is the first call",)
    return np.concatenate(found), (f"its kernel was called {len(found)} times: each call has heads, {spans}",)


def _warnings(numbers: NDArray[np.float32]) -> tuple[str, ...]:
    if _broken([numbers]):
        return ("there are weights that are not finite: the queries or keys hold NaN or infinity",)
    sums = numbers.sum(axis=1, dtype=np.float64)
    blind = np.flatnonzero(sums == 0)
    wrong = [index for index in np.flatnonzero(abs(sums - 1) > _SUM_TOLERANCE) if index not in blind]
    notes = []
    if len(blind):
        notes.append(f"heads that may see no key here, and read nothing: {', '.join(map(str, blind))}")
    if wrong:
        worst = max(wrong, key=lambda index: abs(sums[index] - 1))
        notes.append(f"the weights of {len(wrong)} heads do not sum to 1: those of head {worst} to {sums[worst]:.4f}")
    return tuple(notes)


def _broken(found: list[NDArray[np.float32]]) -> bool:
    return not all(bool(np.isfinite(each).all()) for each in found)
