"""From measured errors to findings: which differences rounding does not explain.

A stage's floor is measured: what rounding does to the reference's own stage on the same input, in the reference's dtype
and in the candidate's. The candidate's stage is held against that twice:
- in float64 and with the reference's weights, where both models do the same arithmetic but for what float32 parts of a
  forward leave: a difference is another function;
- in its own dtype: what is beyond its floor there is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.mapping import NAMESAKES
from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.debugger.comparison.stage_errors import SAME
from llmdbg.formatting import counted

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.mapping import StageMap
    from llmdbg.debugger.comparison.stage_errors import StageError
    from llmdbg.models.anatomy import Anatomy

TIMES_FUNCTION_FLOOR = 4.0
"""How many times what float32 does to a stage its float64 version must be off to be another function."""
TIMES_ARITHMETIC_FLOOR = 8.0
"""How many times its floor a stage must be off in its own dtype: other kernels differ by two or three."""
_CONFIGURED = 1e-10

Errors = Mapping[str, "StageError"]

_REACHED = (FindingKind.POSITIONS, FindingKind.MASK)


@dataclass(frozen=True, slots=True)
class MeasuredErrors:
    """Errors by address, over all tokens, of one grafted run."""

    own: Errors = field(default_factory=dict)
    """Of what each stage returns."""
    inputs: Errors = field(default_factory=dict)
    """Of what reaches each stage."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """The grafted runs of a comparison. An empty one was not possible."""

    candidate: MeasuredErrors
    """The candidate in its own dtype."""
    function: MeasuredErrors | None
    """The candidate in float64, with the reference's weights where they agree; None if not measured."""
    reference: MeasuredErrors
    """The reference in its own dtype."""
    reference_like_candidate: MeasuredErrors
    """The reference in the candidate's dtype."""
    reference_in_float32: MeasuredErrors
    """The reference in float32."""
    last_bit: float
    """The relative rounding of the coarser of the two dtypes."""
    exact_last_bit: float = 2.0**-24
    """The same of the exact run: forwards compute norms and softmax in float32 whatever their dtype."""
    stage_map: StageMap = NAMESAKES
    """The reference's stages behind each of the candidate's."""

    def floor(self, address: str) -> float:
        """What rounding does to a stage's output in the dtypes of both runs."""
        return self._root(address, "own", self.reference, self.reference_like_candidate)

    def input_floor(self, address: str) -> float:
        """What rounding does on the way to a stage."""
        return self._root(address, "inputs", self.reference, self.reference_like_candidate)

    def function_floor(self, address: str, what: str = "own") -> float:
        """What float32 does to a stage: forwards compute norms and softmax in float32 whatever their dtype."""
        return max(self._error(self.reference_in_float32, what, address), self.exact_last_bit)

    def _root(self, address: str, what: str, *runs: MeasuredErrors) -> float:
        return max(hypot(*(self._error(each, what, address) for each in runs)), self.last_bit)

    def _error(self, run: MeasuredErrors, what: str, address: str) -> float:
        """The error of the reference's stages behind one of the candidate's: of several, the largest."""
        errors = run.own if what == "own" else run.inputs
        return max(errors.get(name, SAME).relative for name in self.stage_map.names(address))


def judge(measured: Measurements, anatomy: Anatomy, configured: Mapping[str, str]) -> list[Finding]:
    """The findings among the stages, in the order in which they ran.

    `configured` says for each stage whose configuration differs from the reference's how, in words.
    """
    findings: list[Finding] = []
    function = {} if measured.function is None else measured.function.own
    for address in dict.fromkeys((*measured.candidate.own, *function)):
        # Other kernels may call a module in other pieces: in float64 the reference itself does not fit its own calls.
        # There both run the same kernel, so that the function can still be compared.
        if address not in measured.candidate.own or measured.reference.own.get(address, SAME).shape_differs:
            if (other := _another_function(measured, address, configured.get(address))) is not None:
                findings.append(other)
            continue
        findings += _on_the_way(measured, anatomy, address)
        finding = _of_stage(measured, address, configured.get(address))
        if finding is not None and not any(each.address == address for each in findings):
            findings.append(finding)
    return findings


def _of_stage(measured: Measurements, address: str, configured: str | None) -> Finding | None:
    own = measured.candidate.own[address]
    floor = measured.floor(address)
    times = own.relative / floor if floor else None
    because = f" ({configured})" if configured else ""

    def finding(kind: FindingKind, sentence: str) -> Finding:
        return Finding(kind, address, sentence + because, own.relative, times)

    if own.shape_differs:
        return Finding(FindingKind.FUNCTION, address, f"returns a tensor of a different shape{because}")
    # Of a value of the reference that the dtype does not hold, the code is to blame that hands it to the stage.
    if own.newly_nonfinite and not measured.candidate.inputs.get(address, SAME).newly_nonfinite:
        return finding(
            FindingKind.NONFINITE,
            f"returns {counted(own.newly_nonfinite, 'NaN or infinite value')} where the reference's are finite",
        )
    if (other := _another_function(measured, address, configured)) is not None:
        return replace(other, isolated=own.relative, times_floor=times)
    if own.relative > TIMES_ARITHMETIC_FLOOR * floor:
        return finding(
            FindingKind.ARITHMETIC,
            f"on the same input its error is {own.relative / floor:.3g} times what rounding explains",
        )
    return None


def _another_function(measured: Measurements, address: str, configured: str | None) -> Finding | None:
    own = SAME if measured.function is None else measured.function.own.get(address, SAME)
    allowed = TIMES_FUNCTION_FLOOR * measured.function_floor(address)
    if own.shape_differs or not (own.relative > allowed or (configured and own.relative > _CONFIGURED)):
        return None
    because = f" ({configured})" if configured else ""
    sentence = f"computes something different on the same input, even in float64{because}"
    return Finding(FindingKind.FUNCTION, address, sentence)


def _on_the_way(measured: Measurements, anatomy: Anatomy, address: str) -> list[Finding]:
    """What reaches a stage differs, though every stage before it returned the reference's values."""
    error = measured.candidate.inputs.get(address, SAME)
    exact = measured.function.inputs.get(address, SAME).relative if measured.function is not None else 0.0
    floor = measured.input_floor(address)
    beyond = exact > TIMES_FUNCTION_FLOOR * measured.function_floor(address, "inputs")
    if not (error.newly_nonfinite or beyond or error.relative > TIMES_ARITHMETIC_FLOOR * floor):
        return []
    around = anatomy.enclosing(anatomy.stage(address)) if address in anatomy.modules else ()
    owner = around[0].address if around else address
    kind = FindingKind.NONFINITE if error.newly_nonfinite else FindingKind.FUNCTION
    kind = kind if beyond or error.newly_nonfinite else FindingKind.ARITHMETIC
    what = "passes different values" if around else "receives different values"
    to = f" to {address}, though its own input is the same" if around else ", though every earlier stage is the same"
    return [Finding(kind, owner, f"{what}{to}", error.relative, error.relative / floor if floor else None)]


def in_order(
    findings: Iterable[Finding], ran: Sequence[str], measured: Measurements, anatomy: Anatomy
) -> list[Finding]:
    """Findings in the order in which their stages ran, one for each stage, each with the stage's isolated error.

    A module that nothing calls is used by the code around it, and comes before what that returns.

    Of wrong positions and masks only the first is kept: the same ones reach every layer.
    """
    place = {address: at for at, address in enumerate(ran)}
    first: dict[str, Finding] = {}
    for each in findings:
        if (known := first.setdefault(each.address, each)) is not each and known.kind is FindingKind.FAILED:
            first[each.address] = replace(known, sentence=f"{known.sentence}; {each.sentence}")
    kept: list[Finding] = []
    for each in sorted(first.values(), key=lambda each: _place(each.address, place, anatomy)):
        if each.kind in _REACHED and any(other.kind is each.kind for other in kept):
            continue
        own = measured.candidate.own.get(each.address)
        if each.isolated is None and own is not None and not own.shape_differs:
            floor = measured.floor(each.address)
            times = own.relative / floor if floor else None
            kept.append(replace(each, isolated=own.relative, times_floor=times))
        else:
            kept.append(each)
    return kept


def _place(address: str, ran: Mapping[str, int], anatomy: Anatomy) -> float:
    if address in ran:
        return ran[address]
    around = anatomy.enclosing(anatomy.stage(address)) if address in anatomy.modules else ()
    return next((ran[each.address] - 0.5 for each in around if each.address in ran), len(ran))
