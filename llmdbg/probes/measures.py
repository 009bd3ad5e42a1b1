"""The quantities that a condition asks for, and only those: each name costs a few kernels, and all names one copy.

- Every number equals the one that `llmdbg.probes.statistics` or `llmdbg.probes.candidates` shows, and is computed in
  the same way.
- Everything is computed in float32 on the tensor's own device and copied to the host at once. This waits for the
  device, as a condition has to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from llmdbg.probes.moments import std_mean
from llmdbg.probes.quantities import OF_OUTPUT, QuantityValue, is_of_prediction, of_token

if TYPE_CHECKING:
    from torch import Tensor

_NO_TOKENS: Mapping[str, int] = {}
_EXTREMES = frozenset({"min", "max", "absmax"})
_PROBABILITIES = frozenset({"entropy", "top1_prob"})

NamedScalar = tuple[str, "Tensor"]
"""A quantity's name, and its value as a tensor of one number."""


def needs_output(names: Collection[str]) -> bool:
    """Whether any of these names is about a stage's output."""
    return any(name in OF_OUTPUT for name in names)


def needs_scores(names: Collection[str]) -> bool:
    """Whether any of these names is about the next token."""
    return any(map(is_of_prediction, names))


def measure(
    names: Collection[str],
    tensor: Tensor | None,
    *,
    scores: Tensor | None = None,
    tokens: Mapping[str, int] = _NO_TOKENS,
    text_of: Callable[[int], str] = str,
) -> dict[str, QuantityValue]:
    """Measure the quantities in `names`. One copy to the host, or none if there is nothing to measure.

    `tensor` is a stage's whole output, of any shape and dtype (complex values are measured by their magnitude).
    `scores` (vocabulary,) or (1, vocabulary) are those of the next token, from the stage itself or from the lens.
    `tokens` are the ids of the texts in `rank("…")` and `prob("…")`, and `text_of` is the text of an id, for `top1`.
    A quantity that cannot be known (without a tensor, with an empty one, without scores, or for a token that the scores
    do not cover) is left out, and so is any name that is not measured, like `layer`.
    """
    floats: list[NamedScalar] = []
    counts: list[NamedScalar] = []
    if tensor is not None and needs_output(names) and tensor.numel():
        values = _as_float32(tensor)
        floats.extend(_numbers(names, values))
        counts.extend(_counts(names, values))
    size = 0
    if scores is not None and needs_scores(names) and scores.numel():
        row = _as_float32(scores).reshape(-1)
        size = len(row)
        asked = {text: id for text, id in tokens.items() if 0 <= id < size}
        floats.extend(_probabilities(names, row, asked))
        counts.extend(_ranks(names, row, asked))
    return _named(names, _on_host(floats, counts), text_of, size)


def _as_float32(tensor: Tensor) -> Tensor:
    # Between two layers, every call into torch is a cold one and costs five times as much as in a loop.
    values = tensor.detach() if tensor.requires_grad else tensor
    if values.dtype is torch.float32:
        return values
    return (values.abs() if values.is_complex() else values).to(torch.float32)


def _numbers(names: Collection[str], values: Tensor) -> Iterator[NamedScalar]:
    if not _EXTREMES.isdisjoint(names):
        low, high = torch.aminmax(values)
        yield "min", low
        yield "max", high
    if "mean" in names or "std" in names:
        # Both, even if only one is asked for: torch's mean alone adds up in another order and differs in the last bits.
        std, mean = std_mean(values)
        yield "std", std
        yield "mean", mean
    if "norm" in names:
        # `vector_norm` takes half the time on the CPU, but loses four digits on a large tensor.
        yield "norm", values.square().sum().sqrt()


def _counts(names: Collection[str], values: Tensor) -> Iterator[NamedScalar]:
    if "nan" in names:
        yield "nan", torch.count_nonzero(values.isnan())
    if "inf" in names:
        yield "inf", torch.count_nonzero(values.isinf())


def _probabilities(names: Collection[str], row: Tensor, tokens: Mapping[str, int]) -> Iterator[NamedScalar]:
    asked = [(name, id) for text, id in tokens.items() if (name := of_token("prob", text)) in names]
    if not asked and _PROBABILITIES.isdisjoint(names):
        return
    probs = torch.softmax(row, dim=-1)
    if "entropy" in names:
        yield "entropy", torch.special.entr(probs).sum()
    if "top1_prob" in names:
        yield "top1_prob", probs.max()
    for name, id in asked:
        yield name, probs[id]


def _ranks(names: Collection[str], row: Tensor, tokens: Mapping[str, int]) -> Iterator[NamedScalar]:
    if "top1" in names:
        yield "top1", row.argmax()
    for text, id in tokens.items():
        if (name := of_token("rank", text)) in names:
            # Counted from below, so that a NaN score never makes a token the likeliest.
            yield name, torch.count_nonzero(row <= row[id])


def _on_host(floats: list[NamedScalar], counts: list[NamedScalar]) -> dict[str, float]:
    """Copy scalars, float32 and int64, to the host together."""
    scalars = [*floats, *counts]
    if len(scalars) <= 1:
        return {name: scalar.item() for name, scalar in scalars}
    devices = [value.device for _, value in scalars]
    # A model's layers and head may be on several devices; one that is not the host is waited for only once.
    home = next((device for device in devices if device.type != "cpu"), devices[0])
    parts = []
    if floats:
        parts.append(_stacked(floats, home))
    if counts:
        # Counts are copied as bits: float32 could not hold large ones exactly, and a second copy would wait again.
        parts.append(_stacked(counts, home).view(torch.float32))
    host = (parts[0] if len(parts) == 1 else torch.cat(parts)).cpu().numpy()
    numbers = (*host[: len(floats)].tolist(), *host[len(floats) :].view("int64").tolist())
    return {name: number for (name, _), number in zip(scalars, numbers, strict=True)}


def _stacked(scalars: list[NamedScalar], home: torch.device) -> Tensor:
    return torch.stack([value if value.device == home else value.to(home) for _, value in scalars])


def _named(
    names: Collection[str], found: Mapping[str, float], text_of: Callable[[int], str], size: int
) -> dict[str, QuantityValue]:
    """The quantities that were asked for, from the numbers that were copied."""
    named: dict[str, QuantityValue] = {name: value for name, value in found.items() if name in names}
    if "absmax" in names and "min" in found:
        named["absmax"] = max(abs(found["min"]), abs(found["max"]))
    if "top1" in found:
        named["top1"] = text_of(int(found["top1"]))
    for name in found:
        if name.startswith("rank("):
            named[name] = size - int(found[name]) + 1
    return named
