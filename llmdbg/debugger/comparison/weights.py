"""Comparing the weights of two models, stage by stage.

Weights that may be roundings of the same numbers to their two dtypes are the same weights. What differs beyond that is
looked at more closely: swapped with another stage's, transposed, its rows in another order, or changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.other_models import WeightCensus, is_unrelated
from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.formatting import counted, percent
from llmdbg.models.adapters import adapted_weights
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.models.anatomy import Anatomy

WeightName = tuple[str, str]
"""A stage's address, or a module's path where no stage runs it, and the parameter's or buffer's name."""


@dataclass(frozen=True, slots=True)
class WeightComparison:
    """Which weights of a candidate are the reference's."""

    agreeing: frozenset[WeightName]
    """Those that are the reference's, but for rounding."""
    findings: tuple[Finding, ...]
    """What is wrong with the others."""
    census: WeightCensus
    """How many differ, and how."""
    rounded: tuple[str, ...] = ()
    """Which buffers one side keeps in another dtype, though no rounding of the weights asks for it; in words."""


def named_weights(model: nn.Module, anatomy: Anatomy) -> dict[WeightName, Tensor]:
    """Every parameter and buffer, by the address of the stage that owns it; tied ones by each owner.

    A module that an adapter wraps owns, besides, its weight as it would be with the adapter merged into it.
    """
    owners: dict[int, str] = {id(module): address for address, module in reversed(list(anatomy.modules.items()))}
    found: dict[WeightName, Tensor] = {}
    for path, module in model.named_modules():
        owner = owners.get(id(module), path)
        for name, tensor in _own_tensors(module):
            found[owner, name] = tensor
        if (adapted := adapted_weights(module)) is not None:
            found |= {(owner, name): tensor for name, tensor in adapted.merged.items()}
    return found


def compare_weights(reference: Mapping[WeightName, Tensor], candidate: Mapping[WeightName, Tensor]) -> WeightComparison:
    """Compare weights by name. Names that only the candidate has, as an adapter's, are no difference by themselves."""
    agreeing, findings, census = set[WeightName](), list[Finding](), WeightCensus()
    rounded = list[str]()
    for name, theirs in reference.items():
        address, of = name
        ours = candidate.get(name)
        if ours is None:
            census.missing += theirs.dim() > 1 and not _is_buffer_name(of)
            if any(each == address for each, _ in candidate):
                findings.append(_finding(address, f"has no {of}, unlike the reference"))
        elif agree(theirs, ours):
            agreeing.add(name)
            _count(census, theirs, None)
            if _is_buffer_name(of) and not _equal(theirs.double(), ours.to(theirs.device, torch.float64)):
                rounded.append(_how_rounded(name, theirs, ours))
        elif not _is_buffer_name(of):
            base = next((each[base] for each in (reference, candidate) if (base := _below(name)) in each), None)
            how = None if base is None else _how_adapters_differ(of, theirs, ours, base)
            differing = _Difference(how) if how else _how_they_differ(name, theirs, ours, reference)
            findings.append(_finding(address, differing.sentence))
            if ours.is_floating_point():
                _count(census, theirs, differing)
    for address, of in candidate.keys() - reference.keys():
        if of == "bias" and (address, "weight") in reference:
            findings.append(_finding(address, "has a bias, unlike the reference"))
    return WeightComparison(frozenset(agreeing), tuple(findings), census, tuple(rounded))


@dataclass(frozen=True, slots=True)
class _Difference:
    """How a weight differs."""

    sentence: str
    reshaped: bool = False
    unrelated: bool = False
    change: float | None = None


def _count(census: WeightCensus, weight: Tensor, difference: _Difference | None) -> None:
    is_matrix = weight.dim() > 1
    census.compared += 1
    census.matrices += is_matrix
    if difference is not None:
        census.differing += 1
        census.reshaped += is_matrix and difference.reshaped
        census.unrelated += is_matrix and difference.unrelated
        if difference.change is not None:
            census.changes = (*census.changes, difference.change)


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors may be roundings of the same numbers, each to its own dtype. Waits for the device."""
    if one.shape != other.shape or one.is_meta or other.is_meta:
        return False
    if not (one.is_floating_point() and other.is_floating_point()):
        return one.dtype == other.dtype and torch.equal(one, other.to(one.device))
    one, other = one.detach(), other.detach().to(one.device)
    if _equal(one.to(other.dtype), other) or _equal(one, other.to(one.dtype)):
        return True
    return one.dtype != other.dtype and _round_to_both(one, other)


def _round_to_both(one: Tensor, other: Tensor) -> bool:
    """Whether there are numbers that round to both: neither of float16 and bfloat16 holds what the other does."""
    a, b = one.to(torch.float64), other.to(torch.float64)
    apart = (a - b).abs() <= _half_step(a, one.dtype) + _half_step(b, other.dtype)
    return bool((apart | (a == b) | (a.isnan() & b.isnan())).all())


def _half_step(values: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much rounding to a dtype may have changed each of these values at most."""
    facts = torch.finfo(dtype)
    binade = torch.frexp(values.abs().clamp(min=facts.smallest_normal)).exponent - 1
    return torch.ldexp(torch.full_like(values, facts.eps / 2), binade)


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _is_buffer_name(name: str) -> bool:
    """Whether a tensor follows from the configuration, so that what computes with it is compared instead."""
    return name.removeprefix("original_") in ("inv_freq", "position_ids", "masked_bias", "bias_mask")


def _how_rounded(name: WeightName, theirs: Tensor, ours: Tensor) -> str:
    """`Module.to` rounds buffers too, which loading in that dtype leaves in float32."""
    a, b = ours.detach().to(torch.float64), theirs.detach().to(ours.device, torch.float64)
    off = float(((a - b).abs() / b.abs().clamp(min=torch.finfo(torch.float32).tiny)).max())
    dtypes = f"{dtype_name(ours.dtype)} instead of {dtype_name(theirs.dtype)}"
    return f"{name[0]} keeps its {name[1]} in {dtypes}, which changes it by up to {percent(off)}"


def _finding(address: str, sentence: str) -> Finding:
    return Finding(FindingKind.WEIGHTS, address, sentence)


def _how_they_differ(
    name: WeightName, theirs: Tensor, ours: Tensor, reference: Mapping[WeightName, Tensor]
) -> _Difference:
    address, of = name
    if ours.shape != theirs.shape:
        return _Difference(f"its {of} has the shape {_shape(ours)} instead of {_shape(theirs)}", reshaped=True)
    for (other, its), tensor in reference.items():
        may_be = its == of and other != address and tensor.dim() > 1 and tensor.shape == ours.shape
        # A row tells most apart, and costs little.
        if may_be and agree(tensor[:1], ours[:1]) and agree(tensor, ours):
            return _Difference(f"its {of} is the reference's {of} of {other}")
    if ours.dim() == 2 and ours.shape[0] == ours.shape[1] and agree(theirs.T, ours):
        return _Difference(f"its {of} is the reference's, transposed")
    if ours.dim() > 1 and (what := _reordered(theirs, ours)) is not None:
        return _Difference(f"its {of} has the reference's {what} in a different order")
    if (broken := int((~ours.isfinite()).sum())) and bool(theirs.isfinite().all()):
        return _Difference(f"its {of} has {counted(broken, 'NaN or infinite value')}")
    if bool((~theirs.isfinite()).any()):
        return _Difference(f"its {of} differs, and the reference's has NaN or infinite values")
    a, b = ours.detach().to(torch.float64), theirs.detach().to(ours.device, torch.float64)
    changed = (a != b.to(ours.dtype).to(torch.float64)).sum()
    count = f"{int(changed):,} of {ours.numel():,} values"
    if not float(b.norm()):
        return _Difference(f"its {of} differs in {count}, and the reference's are all zero")
    relative = (a - b).norm() / b.norm()
    ratio = (a * b).sum() / (b * b).sum()
    if float((a - ratio * b).norm() / a.norm()) < 1e-2 and abs(float(ratio) - 1) > 1e-3:
        return _Difference(f"its {of} is {float(ratio):.4g} times the reference's", change=float(relative))
    sentence = f"its {of} differs in {count}, by {percent(float(relative))} of its norm"
    return _Difference(sentence, unrelated=is_unrelated(a, b), change=float(relative))


def _below(name: WeightName) -> WeightName:
    """The weight that an adapter leaves as it is, of the module that it wraps."""
    return f"{name[0]}.base_layer", name[1]


def _how_adapters_differ(of: str, theirs: Tensor, ours: Tensor, base: Tensor) -> str | None:
    """How what was added to a base's weight differs, if that explains all of it; else None."""
    if not theirs.shape == ours.shape == base.shape:
        return None
    plain = base.detach().to(ours.device, torch.float64)
    added, wanted = (each.detach().to(plain) - plain for each in (ours, theirs))
    # A weight that was merged is rounded, and so is what was added to it.
    dtype = max((ours.dtype, theirs.dtype), key=lambda each: torch.finfo(each).eps)
    rounding = float(_half_step(plain, dtype).norm()) * 2
    if float(added.norm()) <= rounding:
        return f"its {of} is the base's: the adapter is missing"
    if float(wanted.norm()) <= rounding:
        return f"its {of} has an adapter added to it, unlike the reference's"
    ratio = float((added * wanted).sum() / (wanted * wanted).sum())
    if float((added - ratio * wanted).norm()) > 1e-2 * float(added.norm()) + rounding:
        return None
    return f"what the adapter adds to its {of} is {ratio:.4g} times what it adds to the reference's: another scale"


def _reordered(theirs: Tensor, ours: Tensor) -> str | None:
    """What of a weight of two dimensions or more stands in another order: rows, columns, matrices; None if nothing."""
    dtype = ours.dtype if ours.element_size() <= theirs.element_size() else theirs.dtype
    one, other = (each.detach().to(ours.device, dtype).to(torch.float64) for each in (theirs, ours))
    if ours.dim() > 2:
        return "matrices" if _same_rows(one.flatten(1), other.flatten(1)) else None
    if _same_rows(one, other):
        return "rows"
    return "columns" if _same_rows(one.T, other.T) else None


def _same_rows(one: Tensor, other: Tensor) -> bool:
    """Whether two matrices have the same rows, in whatever order: by what each row is along one random direction."""
    along = torch.randn(one.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(one.device)
    first, second = (one @ along).sort().values, (other @ along).sort().values
    # Nothing but the order in which float64 numbers are added: a row that was changed by its last bit is another.
    return bool(((first - second).abs() <= 1e-12 * one.abs().amax() * one.shape[1]).all())


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))
