"""A recording as a side of a comparison: what was fed, chosen and loaded, and sketches of every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite, log, prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from llmdbg.debugger.comparison.choices import ChoiceFacts
from llmdbg.debugger.comparison.other_models import other_models
from llmdbg.debugger.comparison.outcome import Finding, FindingKind, SideFacts
from llmdbg.debugger.comparison.stage_errors import StageError
from llmdbg.engine.debuggee import SamplingFacts
from llmdbg.models.stages import StageKind
from llmdbg.models.tokens import Prompt, Token

if TYPE_CHECKING:
    from llmdbg.traces.reader import Trace
    from llmdbg.traces.records import StageRecord, TokenRecord


STATED_DIGITS = 1e-4
"""How exact the statistics of a foreign dump are, relative to the norm: it prints five digits, or adds in float32."""


class RecordedSide:
    """A recording and what a comparison asks of it. Raises TraceError for what is damaged."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.header = trace.header

    @cached_property
    def tokens(self) -> tuple[TokenRecord, ...]:
        """The tokens that were chosen, in order."""
        return tuple(each for each in self.trace.tokens if each.id is not None)

    @property
    def ids(self) -> tuple[int, ...]:
        """Their ids."""
        return tuple(each.id for each in self.tokens if each.id is not None)

    @property
    def forced(self) -> tuple[int, ...]:
        """The ids that a run has to choose for the recorded forwards: of a last one without a choice, any."""
        return self.ids if self.is_complete else (*self.ids, 0)

    @property
    def is_complete(self) -> bool:
        """Whether it says what the last forward led to. A foreign dump may end with a forward."""
        return not len(self.trace.tokens) or self.trace.tokens[-1].id is not None

    @property
    def prompt(self) -> Prompt:
        """What the run was fed."""
        record = self.header.prompt
        return Prompt(record.ids, record.rendered or "", padding=record.left_pad)

    @property
    def has_tensors(self) -> bool:
        """Whether whole outputs were kept of every stage."""
        return self.header.tensors in ("all", "inputs")

    def text(self, id: int) -> str:
        """The text of an id; the id in angle brackets where the recording does not spell it."""
        return self._texts.get(id, f"<{id}>")

    def token(self, id: int) -> Token:
        """The token of an id, as far as the recording knows it."""
        return Token(id, self.text(id), self.text(id), id in self._special)

    def log_prob(self, token: int, id: int) -> float | None:
        """The logarithm of an id's probability where `token` was chosen, if it was among the recorded candidates."""
        if token >= len(self.tokens) or not self.tokens[token].scores:
            return None
        found = next((each.prob for each in self.tokens[token].scores[-1].candidates if each.id == id), None)
        return log(found) if found else None

    def likeliest(self, token: int, most: int) -> Sequence[int]:
        """The likeliest ids where `token` was chosen, of those that were recorded."""
        if token >= len(self.tokens) or not self.tokens[token].scores:
            return ()
        return [each.id for each in self.tokens[token].scores[-1].candidates[:most]]

    def choice_facts(self) -> ChoiceFacts | None:
        """How it chose tokens; None if it does not say."""
        sampling = self.header.sampling
        if not sampling:
            return None
        values = sampling.get("values")
        limit = sampling.get("limit")
        facts = SamplingFacts(
            str(sampling.get("description", "")),
            bool(sampling.get("samples")),
            limit if isinstance(limit, int) else None,
            {str(name): float(each) for name, each in values.items() if isinstance(each, (int, float))}
            if isinstance(values, Mapping)
            else {},
        )
        processors = tuple(each.address for each in self.trace.entries if each.kind is StageKind.PROCESSOR)
        seed = self.header.settings.get("seed")
        return ChoiceFacts(facts, processors, seed if isinstance(seed, int) else None)

    def facts(self) -> SideFacts:
        """The recording, for headers."""
        header = self.header
        text = "".join(each.text or "" for each in self.tokens)
        place = f"{header.device} {header.dtype}, recorded"
        return SideFacts(
            name=header.model or self.trace.folder.name,
            place=place,
            attn=header.attn,
            prompt=header.prompt.ids,
            ids=self.ids,
            text=text,
            tokens=tuple(each.text or "" for each in self.tokens),
            versions=dict(header.versions),
            prompt_tokens=tuple(map(self.text, header.prompt.ids)),
            padding=header.prompt.left_pad,
        )

    @cached_property
    def _texts(self) -> dict[int, str]:
        prompt = self.header.prompt
        chosen = {each.id: each.text for each in self.tokens if each.id is not None and each.text is not None}
        candidates = {
            each.id: each.text for record in self.tokens for score in record.scores for each in score.candidates
        }
        return candidates | dict(zip(prompt.ids, prompt.tokens, strict=False)) | chosen

    @cached_property
    def _special(self) -> frozenset[int]:
        prompt = self.header.prompt
        return frozenset(id for id, special in zip(prompt.ids, prompt.special, strict=False) if special)


@dataclass(slots=True)
class _Sums:
    compared: bool = False
    by_statistics: bool = False
    difference: float = 0.0
    reference: float = 0.0
    equal: bool = True
    nonfinite: int = 0
    first: int | None = None
    shape_differs: bool = False


@dataclass(frozen=True, slots=True)
class SketchErrors:
    """How far two recordings are apart at each stage, estimated from their sketches."""

    errors: Mapping[str, StageError]
    """By address, over all tokens, in the order in which the stages ran."""
    first_token: Mapping[str, int]
    """By address, the first token in which bits differ."""
    by_statistics: frozenset[str] = frozenset()
    """The stages of which only statistics are known: each error is the least that they allow."""
    others: frozenset[str] = frozenset()
    """The stages that are given vectors of another width on either side: they share a name, and are not compared."""


def sketch_errors(
    reference: Trace, candidate: Trace, tokens: int, padding: int = 0, positions: tuple[slice, slice] | None = None
) -> SketchErrors:
    """Compare the stages that two recordings share over their first tokens.

    `padding` is how many positions more the candidate has in front of its prompt. `positions` are those of the
    reference and of the candidate that are compared alone; None for all.
    """
    sums: dict[str, _Sums] = {}
    others = set[str]()
    lengths = len(reference.header.prompt.ids), len(candidate.header.prompt.ids)
    for token in range(tokens):
        theirs = {(each.address, each.call): each for each in reference.stages(token)}
        for ours in candidate.stages(token):
            other = theirs.get((ours.address, ours.call))
            if other is None:
                continue
            if _is_another_function(other, ours):
                others.add(ours.address)
                continue
            if positions is not None:
                # The logits are those of the last position alone.
                if (_rows(other), _rows(ours)) == lengths:
                    _add_positions(sums.setdefault(ours.address, _Sums()), other, ours, token, positions)
            else:
                _add(sums.setdefault(ours.address, _Sums()), other, ours, token, padding)
    errors = {address: _error_of(each) for address, each in sums.items() if each.compared}
    first = {address: each.first for address, each in sums.items() if each.first is not None}
    by_statistics = frozenset(address for address, each in sums.items() if each.by_statistics)
    return SketchErrors(errors, first, by_statistics, frozenset(others))


def record_error(reference: StageRecord, candidate: StageRecord) -> tuple[StageError, bool] | None:
    """How far two recorded outputs are apart, and whether only statistics tell; None if nothing does."""
    if _is_another_function(reference, candidate):
        return None
    sums = _Sums()
    _add(sums, reference, candidate, 0, 0)
    if not sums.compared:
        return None
    return _error_of(sums), sums.by_statistics


def _is_another_function(reference: StageRecord, candidate: StageRecord) -> bool:
    """Whether two stages of one name do something else, as vLLM's activation function does over gate and up in one.

    Where outputs have other widths too, it is the model that differs.
    """
    widths = reference.input_width, candidate.input_width
    return None not in widths and widths[0] != widths[1] and reference.shape[-1:] == candidate.shape[-1:]


def _error_of(sums: _Sums) -> StageError:
    return StageError(_relative(sums.difference, sums.reference), sums.equal, sums.nonfinite, sums.shape_differs)


def _add(sums: _Sums, reference: StageRecord, candidate: StageRecord, token: int, padding: int) -> None:
    if reference.hash is not None and reference.hash == candidate.hash and reference.dtype == candidate.dtype:
        sums.compared = True
        if (sketch := reference.sketch) is not None:
            sums.reference += float(np.square(sketch.astype(np.float64)).sum())
        return
    sums.equal = False
    sums.first = token if sums.first is None else sums.first
    one, other = reference.sketch, candidate.sketch
    if one is None or other is None:
        _add_statistics(sums, reference, candidate)
        return
    sums.compared = True
    if padding and reference.by_position and len(other) - len(one) == padding:
        one, other = (one, other[padding:]) if padding > 0 else (one[-padding:], other)
    if len(one) != len(other) and 1 in (len(one), len(other)):
        # A head may score every position, or the last alone.
        one, other = one[-1:], other[-1:]
    if one.shape != other.shape:
        sums.shape_differs = True
        return
    a, b = one.astype(np.float64), other.astype(np.float64)
    sums.difference += float(np.square(b - a).sum())
    sums.reference += float(np.square(a).sum())
    if reference.statistics is not None and candidate.statistics is not None:
        now, before = (each.nan + each.inf for each in (candidate.statistics, reference.statistics))
        sums.nonfinite += max(0, now - before)


def _rows(record: StageRecord) -> int:
    """How many positions an output has a sketch of."""
    return len(record.sketch) if record.by_position and record.sketch is not None else 0


def _add_positions(
    sums: _Sums, reference: StageRecord, candidate: StageRecord, token: int, positions: tuple[slice, slice]
) -> None:
    """Compare some positions of two outputs, each with a sketch of every position."""
    assert reference.sketch is not None
    assert candidate.sketch is not None
    one, other = reference.sketch[positions[0]], candidate.sketch[positions[1]]
    sums.compared = True
    if one.shape != other.shape:
        sums.shape_differs, sums.equal = True, False
        return
    a, b = one.astype(np.float64), other.astype(np.float64)
    same = reference.dtype == candidate.dtype and np.array_equal(a, b, equal_nan=True)
    sums.equal = sums.equal and same
    sums.first = token if sums.first is None and not same else sums.first
    finite = np.isfinite(a) & np.isfinite(b)
    sums.nonfinite += int((np.isfinite(a) & ~np.isfinite(b)).any(axis=-1).sum())
    sums.difference += float(np.square(np.where(finite, b - a, 0.0)).sum())
    sums.reference += float(np.square(np.where(finite, a, 0.0)).sum())


def _add_statistics(sums: _Sums, reference: StageRecord, candidate: StageRecord) -> None:
    """Add the least difference that the statistics of two outputs allow, where values are not known."""
    count = prod(candidate.shape)
    one, other = reference.statistics, candidate.statistics
    if one is None or other is None or prod(reference.shape) != count:
        return
    if bool(one.nan or one.inf) != bool(other.nan or other.inf):
        sums.compared = sums.by_statistics = True
        sums.difference = inf
        return
    # By Cauchy-Schwarz the sum of the differences, and by the triangle inequality the others, are no larger than this.
    least = (
        sqrt(count) * abs(other.mean - one.mean),
        abs(other.norm - one.norm),
        abs(other.min - one.min),
        abs(other.max - one.max),
    )
    known = [each for each in least if isfinite(each)]
    size = one.norm if isfinite(one.norm) else other.norm
    if known and isfinite(size):
        sums.compared = sums.by_statistics = True
        sums.difference += max(0.0, max(known) - STATED_DIGITS * size) ** 2
        sums.reference += size**2


def _relative(difference: float, reference: float) -> float:
    return (difference / reference) ** 0.5 if reference else (float("inf") if difference else 0.0)


def weight_findings(reference: Mapping[str, WeightFacts], candidate: Mapping[str, WeightFacts]) -> list[Finding]:
    """Weights of one dtype whose bits differ, and those of another shape, by name; one finding if most of them do."""
    findings, compared, others = list[Finding](), 0, 0
    known = {each.hash for each in reference.values() if each.hash is not None}
    for name, theirs in reference.items():
        ours = candidate.get(name)
        if ours is None:
            continue
        address, _, of = theirs.place.rpartition("/")
        compared += ours.shape != theirs.shape or (None not in (ours.hash, theirs.hash) and ours.dtype == theirs.dtype)
        if ours.shape != theirs.shape:
            sentence = f"its {of} has the shape {_shape(ours.shape)} instead of {_shape(theirs.shape)}"
            findings.append(Finding(FindingKind.WEIGHTS, address, sentence))
            others += 1
        elif None not in (ours.hash, theirs.hash) and ours.dtype == theirs.dtype and ours.hash != theirs.hash:
            findings.append(Finding(FindingKind.WEIGHTS, address, f"its {of} differs from the reference's"))
            others += ours.hash not in known
    return other_models(findings, compared, others)


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """One weight, without its values."""

    place: str
    """The stage's address and the weight's name in it, joined by a slash."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its dtype, without `torch.`."""
    hash: int | None
    """A hash of its bits; None if not known."""


def recorded_weights(trace: Trace) -> dict[str, WeightFacts]:
    """The weights that a recording names."""
    stages = {each.module: each.address for each in trace.entries if each.module}
    found = {}
    for each in trace.header.weights:
        # Some engines pack weights away and leave an empty tensor in their place.
        if 0 in each.shape:
            continue
        module, _, name = each.name.rpartition(".")
        place = f"{stages.get(module, module)}/{name}"
        found[place] = WeightFacts(place, each.shape, each.dtype, each.hash)
    return found


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
