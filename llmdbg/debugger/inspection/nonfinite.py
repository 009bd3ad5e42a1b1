"""`info nonfinite`: the first stage whose output is NaN or infinite, and how near each stage is to overflow.

- The token is rerun with every stage measured; at `tokenize` that is the prefill, which is not kept.
- A non-finite value from the KV cache is traced to the token that put it there. Otherwise the previous token is checked
  and, if that is not finite either, the earliest non-finite token is found by bisection.
- Only outputs of stages are measured. An overflow inside a module whose output is finite again goes unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.sweep import Measured, PassedStage, Sweep, sweep
from llmdbg.debugger.known_values import known_of
from llmdbg.display import Displayed
from llmdbg.errors import CommandError
from llmdbg.models.stages import Phase, StageKind
from llmdbg.models.whole_parameters import whole
from llmdbg.probes.bad_weights import BadWeight, bad_weights
from llmdbg.probes.finiteness import TensorExtent, can_be_measured, extents

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.models.stages import Stage

_ROWS_BEFORE = 8
_NEAREST = 8
_IN_PASSING = "`break nonfinite` stops at the first output that is not finite, from here on"


@dataclass(frozen=True, slots=True)
class StageExtent:
    """How large a stage's values are. Each absmax is the largest magnitude among the finite ones."""

    address: str
    """The stage's address."""
    dtype: str
    """Dtype of the output nearest to overflow; empty if nothing was measured."""
    shape: tuple[int, ...]
    """Shape of that output."""
    input_absmax: float | None
    """Of its inputs; None if there was nothing to measure."""
    output_absmax: float | None
    """Of that output; None if there was nothing to measure."""
    weight_absmax: float | None
    """Of its own parameters, without those of modules inside it; None if none was measured."""
    headroom: float | None
    """`output_absmax` over the largest finite value of its dtype, so overflow is at 1; None if not measured."""
    nan: int
    """How many NaNs all its outputs hold."""
    inf: int
    """How many infinite values they hold."""
    zeros: float
    """Share of zeros among their values, from 0 to 1."""
    subnormal: float
    """Share of subnormal values, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class NonfiniteFinding:
    """The first stage with an output that is not finite."""

    address: str
    """The stage's address."""
    module: str | None
    """The module's path in the model; None for a stage that is not a module."""
    token: int
    """The generated token being produced, counted from 0."""
    phase: Phase
    """Prefill or decode."""
    output: str
    """Which tensor of the output it is: `output`, `output[1]`."""
    dtype: str
    """That tensor's dtype."""
    shape: tuple[int, ...]
    """That tensor's shape."""
    size: int
    """How many values it has."""
    index: tuple[int, ...]
    """Index of its first non-finite value."""
    position: int | None
    """Position of that value in the sequence; None if unknown."""
    text: str
    """The token at that position; empty if unknown."""
    dimension: int | None
    """The last number of `index`; None for a scalar."""
    value: float
    """That value: NaN or infinite."""
    nan: int
    """How many NaNs the tensor holds."""
    inf: int
    """How many infinite values it holds."""
    input_is_finite: bool | None
    """Whether the stage's inputs were finite; None if none could be measured."""
    ranks: tuple[int, ...]
    """The ranks whose parts of its inputs were not finite, or if nobody's, of its output;
    where nothing is split, those whose own copies were not, if others' were."""
    weights: tuple[BadWeight, ...]
    """The stage's parameters and buffers that are not finite."""
    weights_are_read: bool | None
    """Whether all its parameters could be read: not if some are packed or offloaded. None if it has none."""
    from_cache: int | None
    """The first position that was already not finite in the KV cache; None if there was none."""
    edits: tuple[int, ...]
    """Numbers of the user's edits that change this stage."""
    finite_without_edits: bool | None
    """Whether it is finite when the token runs without edits; None if no edit changes it."""
    earlier_edits: tuple[int, ...]
    """Numbers of the edits that change stages before it."""


@dataclass(frozen=True, slots=True, repr=False)
class NonfiniteHunt(Displayed):
    """What a search for NaN and infinity found."""

    asked_at: int
    """The generated token where it was asked, counted from 0."""
    token: int
    """The token it is about."""
    phase: Phase
    """That token's phase."""
    tokens_run: int
    """How many forwards the search took."""
    stages: int
    """How many stages of that token's forward were measured."""
    found: NonfiniteFinding | None
    """The first stage that is not finite; None if all are finite."""
    before: tuple[StageExtent, ...]
    """Up to eight stages before it and, last, itself; empty if all are finite."""
    nearest: tuple[StageExtent, ...]
    """The eight stages nearest to overflow, nearest first."""
    least: StageExtent | None
    """The stage with the largest share of subnormal values; None if there are none at all."""
    notes: tuple[str, ...]
    """What limits the answer, a sentence each."""


def ask(inspector: Inspector, _arguments: str = "") -> NonfiniteHunt:
    """Answer `info nonfinite`.

    Raises CommandError if the forward has failed, so that the run has no position, or the debuggee cannot go back.
    """
    if (recorded := known_of(inspector.event)) is not None and not recorded.keeps_outputs:
        raise CommandError(
            "values were not recorded, only how many are NaN or infinite: `break nonfinite` and `run` find the first "
            "stage with any (`llmdbg record --tensors all` keeps values)"
        )
    at_tokenize = inspector.event.stage.kind is StageKind.TOKENIZE
    asked_at, tokens = inspector.event.token, inspector.run.tokens()
    with inspector.replay.elsewhere(_IN_PASSING):
        search = _Search(inspector, asked_at)
        found = None if search.at.first_bad is None else _find(inspector, search, tokens)
    notes = list(search.notes)
    if at_tokenize:
        notes.insert(0, "nothing had run yet: the prefill was run for this answer, and is not kept")
    if search.at.trouble:
        notes.append(f"only part of the forward was measured: {search.at.trouble}")
    if found is None and search.at.from_cache is not None:
        notes.append(f"the KV cache is not finite at position {search.at.from_cache}, which this forward did not read")
    passed = search.at.passed
    answer = NonfiniteHunt(
        asked_at=asked_at,
        token=search.at.token,
        phase=_phase(search.at.token),
        tokens_run=search.run,
        stages=len(passed),
        found=found,
        before=_before(inspector, search.at),
        nearest=_nearest(inspector, passed),
        least=_least(passed),
        notes=tuple(notes),
    )
    inspector.asked.last_answers["nonfinite"] = answer
    return answer


class _Search:
    """The search for the earliest non-finite token: its forward, `at`, how many forwards were run, and notes."""

    def __init__(self, inspector: Inspector, token: int) -> None:
        self._inspector = inspector
        self.run = 0
        self.notes: tuple[str, ...] = ()
        self.at = self._sweep(token)
        while self.at.first_bad is not None and (earlier := self._brought_by_cache()) is not None:
            self.at = earlier
        if self.at.first_bad is not None and self.at.token > 0 and not self.notes:
            self.at = self._earliest()

    def _sweep(self, token: int) -> Sweep:
        self.run += 1
        return sweep(self._inspector, token)

    def _brought_by_cache(self) -> Sweep | None:
        """Rerun the token that put the non-finite value into the cache. None if the cache is not the source."""
        if self.at.from_cache is None:
            return None
        source = self._sweep(max(0, self.at.from_cache - len(self._inspector.prompt.ids) + 1))
        if source.first_bad is None:
            self.notes = (
                f"position {self.at.from_cache} of the KV cache is not finite, but token {source.token}, which filled "
                "it, is finite when run again",
            )
            return None
        return source

    def _earliest(self) -> Sweep:
        """The earliest non-finite token, found by bisection: the token before it is finite, or it is the first."""
        latest = self.at
        before = self._sweep(latest.token - 1)
        if before.first_bad is None:
            return latest
        latest, low = before, 0
        while low < latest.token:
            middle = self._sweep((low + latest.token) // 2)
            if middle.first_bad is None:
                low = middle.token + 1
            else:
                latest = middle
        return latest


def _find(inspector: Inspector, search: _Search, tokens: tuple[TokenRow, ...]) -> NonfiniteFinding:
    """Describe the first stage that is not finite. May run the token once more, without the user's edits."""
    at = search.at
    assert at.first_bad is not None
    passed = at.passed[at.first_bad]
    bad = passed.bad
    assert bad is not None and bad.extent.first is not None and bad.extent.value is not None
    module = inspector.anatomy.modules.get(passed.stage.address)
    edits = _edits_of(inspector, at.token, [passed.stage.address])
    return NonfiniteFinding(
        address=passed.stage.address,
        module=passed.stage.module,
        token=at.token,
        phase=_phase(at.token),
        output=bad.name,
        dtype=bad.extent.dtype,
        shape=bad.extent.shape,
        size=bad.extent.size,
        index=bad.extent.first,
        position=bad.position,
        text="" if bad.position is None or bad.position >= len(tokens) else tokens[bad.position].text,
        dimension=bad.extent.first[-1] if bad.extent.first else None,
        value=bad.extent.value,
        nan=bad.extent.nan,
        inf=bad.extent.inf,
        input_is_finite=passed.input_is_finite,
        ranks=passed.ranks,
        weights=bad_weights(module),
        weights_are_read=_weights_are_read(module),
        from_cache=at.from_cache,
        edits=edits,
        finite_without_edits=_finite_without_edits(inspector, search, passed.stage) if edits else None,
        earlier_edits=_edits_of(inspector, at.token, [each.stage.address for each in at.passed[: at.first_bad]]),
    )


def _finite_without_edits(inspector: Inspector, search: _Search, stage: Stage) -> bool:
    """Whether a stage is finite when the token runs without the user's edits."""
    with inspector.branching.without_edits():
        search.run += 1
        bare = sweep(inspector, search.at.token)
    return all(each.bad is None for each in bare.passed if each.stage.address == stage.address)


def _edits_of(inspector: Inspector, token: int, addresses: list[str]) -> tuple[int, ...]:
    """The numbers of the edits that change any of these stages at this token."""
    return tuple(
        each.number
        for each in inspector.run.edits.list()
        if each.enabled
        and token >= each.since
        and each.token in (None, token)
        and not each.stages.isdisjoint(addresses)
    )


def _weights_are_read(module: nn.Module | None) -> bool | None:
    parameters = () if module is None else tuple(module.parameters())
    return all(map(can_be_measured, parameters)) if parameters else None


def _before(inspector: Inspector, at: Sweep) -> tuple[StageExtent, ...]:
    """The first non-finite stage and the last stages before it, with their weights' absmax."""
    if at.first_bad is None:
        return ()
    return _with_weights(inspector, at.passed[max(0, at.first_bad - _ROWS_BEFORE) : at.first_bad + 1])


def _with_weights(inspector: Inspector, rows: list[PassedStage]) -> tuple[StageExtent, ...]:
    """The extents of stages and of their own weights. One copy to the host."""
    owned = [_own_weights(inspector, each.stage) for each in rows]
    measured = iter(extents([(tensor, None) for each in owned for tensor in each]))
    reaches = [[next(measured) for _ in each] for each in owned]
    return tuple(_stage_extent(each, weights) for each, weights in zip(rows, reaches, strict=True))


def _own_weights(inspector: Inspector, stage: Stage) -> list[Tensor]:
    module = inspector.anatomy.modules.get(stage.address)
    if module is None:
        return []
    return [whole(each) for each in module.parameters(recurse=False) if can_be_measured(each)]


def _nearest(inspector: Inspector, passed: list[PassedStage]) -> tuple[StageExtent, ...]:
    """The stages nearest to overflow, except logits processors, whose scores are not activations."""
    rows = [each for each in passed if each.outputs and each.stage.kind is not StageKind.PROCESSOR]
    rows.sort(key=lambda each: -max(extent.headroom for extent in _extents(each.outputs)))
    return _with_weights(inspector, rows[:_NEAREST])


def _least(passed: list[PassedStage]) -> StageExtent | None:
    """The stage with the largest share of subnormal values, which its dtype does not hold in full precision."""
    rows = [_stage_extent(each) for each in passed if each.outputs]
    found = max(rows, key=lambda each: each.subnormal, default=None)
    return found if found is not None and found.subnormal else None


def _stage_extent(passed: PassedStage, weights: list[TensorExtent] | None = None) -> StageExtent:
    outputs, inputs = _extents(passed.outputs), _extents(passed.inputs)
    furthest = max(outputs, key=lambda each: each.headroom, default=None)
    size = sum(each.size for each in outputs) or 1
    return StageExtent(
        address=passed.stage.address,
        dtype=furthest.dtype if furthest is not None else "",
        shape=furthest.shape if furthest is not None else (),
        input_absmax=max((each.absmax for each in inputs), default=None),
        output_absmax=furthest.absmax if furthest is not None else None,
        weight_absmax=max((each.absmax for each in weights or ()), default=None),
        headroom=furthest.headroom if furthest is not None else None,
        nan=sum(each.nan for each in outputs),
        inf=sum(each.inf for each in outputs),
        zeros=sum(each.zeros for each in outputs) / size,
        subnormal=sum(each.subnormal for each in outputs) / size,
    )


def _extents(measured: tuple[Measured, ...]) -> list[TensorExtent]:
    return [each.extent for each in measured]


def _phase(token: int) -> Phase:
    return Phase.DECODE if token else Phase.PREFILL
