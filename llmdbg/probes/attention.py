"""Which tokens each head of an attention reads from: the weights of one position, by head.

The rows come from `kernel_rows.py`, computed from the kernel's arguments. Nothing here makes them sum to 1: the map has
a note if they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from llmdbg.display import Displayed
from llmdbg.formatting import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmdbg.probes.kernel_rows import KernelRow

_MOST_READS, _MOST_READS_OF_ONE, _LARGEST = 5, 20, 10
_MOST_TEXTS = 4096
_SUM_TOLERANCE = 2e-3
"""How far the sum of a row rounded to bfloat16 or float16 may be from 1."""


@dataclass(frozen=True, slots=True)
class KeyWeight:
    """A token that is read from, and how much."""

    position: int
    """Its position in the sequence."""
    text: str
    """Its token."""
    weight: float
    """The attention weight on it, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """What one head does at the position."""

    head: int
    """The head's number, from 0."""
    entropy: float
    """Of its whole row, a learned sink included, in nats."""
    first: float
    """The weight on the first token that it can see."""
    sink: float | None
    """The weight on a learned sink; None without one."""
    sum: float
    """What the row sums to, the sink included."""
    reads: tuple[KeyWeight, ...]
    """The keys with the largest weights, largest first."""


@dataclass(frozen=True, slots=True)
class LargestWeight:
    """One of the largest weights of all heads."""

    head: int
    """The head's number, from 0."""
    position: int
    """The key's position in the sequence."""
    text: str
    """The key's token."""
    weight: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AttentionMap(Displayed):
    """The weights with which one position reads from the positions before it and from itself."""

    address: str
    """The attention's stage."""
    layer: int | None
    """The number of its layer; None outside the layers."""
    position: int
    """The position that reads."""
    text: str
    """Its token."""
    kernel: str
    """The kernel that computed the attention, for people."""
    first_key: int
    """The position of the first key."""
    keys: int
    """How many keys there are, from `first_key` on."""
    first_position: int
    """The first position that is not padding and still has a key."""
    heads: tuple[HeadSummary, ...]
    """One for each head, in order."""
    mean: tuple[KeyWeight, ...]
    """The keys with the largest mean weight over all heads, largest first."""
    largest: tuple[LargestWeight, ...]
    """The largest single weights, largest first."""
    difference: float | None
    """How far weights · values is from the kernel's output, relative to its largest value; None if the weights are the
    kernel's own and need no check."""
    head: int | None
    """The head that was asked for; None for all of them."""
    notes: tuple[str, ...]
    """What is unusual about the weights, a sentence each."""
    texts: tuple[str, ...]
    """The tokens of the keys, at most the last 4096 of them."""
    weights: NDArray[np.float32] = field(repr=False)
    """(heads, keys) float32, without learned sinks."""


@dataclass(frozen=True, slots=True)
class QueryPosition:
    """The attention and the position that some rows belong to."""

    address: str
    """The attention's stage."""
    layer: int | None
    """The number of its layer; None outside the layers."""
    position: int
    """The position that reads."""
    fed: int
    """How many positions the model has been fed, including this forward's."""
    padding: int
    """How many of the first positions are left padding."""
    text: Callable[[int], str]
    """The token at a position."""


def attention_map(rows: Sequence[KernelRow], where: QueryPosition, *, head: int | None = None) -> AttentionMap | str:
    """The map of one attention from its rows, or a line that says why there is none. One copy to the host."""
    found, differences = _on_the_host(rows)
    for row, difference in zip(rows, differences, strict=True):
        if difference is not None and not difference <= row.tolerance and not _broken(found):
            return (
                f"{where.address}: the weights computed from the arguments of its kernel {row.kernel} do not give its "
                f"output (they differ by {difference:.2g} of its largest value), so they are not shown"
            )
    numbers, notes = _as_one(found)
    keys = numbers.shape[1] - rows[0].sinks
    first_key = max(0, where.fed - keys)
    held = min(keys, where.fed - first_key)
    if np.any(numbers[:, held:keys]):
        return f"{where.address}: its kernel read from slots of the cache that are still empty, so there is no map"
    causal = where.position - first_key + 1
    seen = held if np.any(numbers[:, causal:held]) else causal
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
    """The keys with the largest weights (keys,), largest first. Keys with a weight of zero are left out."""
    order = np.argsort(-weights, kind="stable")[:most]
    return tuple(
        KeyWeight(first_key + int(index), text(first_key + int(index)), float(weights[index]))
        for index in order
        if weights[index] > 0
    )


def _head(index: int, row: NDArray[np.float32], sinks: int, first: int, reads: tuple[KeyWeight, ...]) -> HeadSummary:
    """Summarise a head's `row` (keys + sinks); `first` is the index in it of the first token that the head can see."""
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
    """Every row (heads, keys + sinks) and its difference, in one copy to the host."""
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
    """The rows of several calls as one array, and a note that says how they were combined."""
    first, others = found[0], found[1:]
    if not others:
        return first, ()
    if all(np.array_equal(first, each) for each in others):
        return first, (f"its kernel was called {len(found)} times, with the same weights each time",)
    spans = ", ".join(f"{index * len(first)} to {(index + 1) * len(first) - 1}" for index in range(len(found)))
    if any(each.shape != first.shape for each in others):
        return first, (f"its kernel was called {len(found)} times, with different keys: this is the first call",)
    return np.concatenate(found), (f"its kernel was called {len(found)} times, for heads {spans}",)


def _warnings(numbers: NDArray[np.float32]) -> tuple[str, ...]:
    if _broken([numbers]):
        return ("some weights are not finite: the queries or keys hold NaN or infinity",)
    sums = numbers.sum(axis=1, dtype=np.float64)
    blind = np.flatnonzero(sums == 0)
    wrong = [index for index in np.flatnonzero(abs(sums - 1) > _SUM_TOLERANCE) if index not in blind]
    notes = []
    if len(blind):
        notes.append(f"heads that can see no key here, and read nothing: {', '.join(map(str, blind))}")
    if wrong:
        worst = max(wrong, key=lambda index: abs(sums[index] - 1))
        which = f"those of head {worst} sum to {sums[worst]:.4f}"
        notes.append(f"the weights of {counted(len(wrong), 'head')} do not sum to 1; {which}")
    return tuple(notes)


def _broken(found: list[NDArray[np.float32]]) -> bool:
    return not all(bool(np.isfinite(each).all()) for each in found)
