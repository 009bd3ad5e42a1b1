"""Everything the screen shows at a stop, as one frozen value made on the engine thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmdbg.frontends.tui.worker.execution_order import ExecutionOrder, path_in_layer, prefixes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.breakpoints.breakpoint import Breakpoint
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What was seen of a stage when the run stopped there during the present token."""

    norm: float | None
    ms: float | None
    not_finite: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stop and what surrounds it.

    `seen` says what earlier stops of this token found, by address. `focus` is the position the statistics describe,
    `follows` whether it is simply the last one. `probabilities` are those of the generated tokens, None where nobody
    looked. `order` says which module of a layer is done before which, by their paths within it, as far as it was seen;
    `ordered` are those that stand in `stages` where they ran: the others stand where the model lists them. `limit` is
    how many tokens were asked for, None where unknown; `answer` is the text generated so far, and `asked` what each
    pane in view asked for, by its name.
    """

    model: str
    place: str
    sampling: str
    stages: tuple[Stage, ...]
    layers: int
    stop: Stop
    seen: dict[str, StageSummary]
    tokens: tuple[TokenRow, ...]
    prompt_length: int
    focus: int
    follows: bool
    limit: int | None
    breakpoints: tuple[Breakpoint, ...]
    branches: tuple[str, ...]
    branch: str
    edits: int
    notes: tuple[str, ...]
    answer: str
    end: End | None
    probabilities: tuple[float | None, ...] = ()
    order: frozenset[tuple[str, str]] = frozenset()
    ordered: frozenset[str] = frozenset()
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def focused(self) -> TokenRow:
        """The token at the focus position."""
        return self.tokens[min(self.focus, len(self.tokens) - 1)]

    def same_place(self, other: Snapshot) -> bool:
        """Whether the run stands at the same stage of the same token in both."""
        return (self.stop.stage, self.stop.token) == (other.stop.stage, other.stop.token)

    def breakpoint_at(self, address: str) -> Breakpoint | None:
        """The first breakpoint that waits at a stage, an enabled one before one that is off."""
        here = [each for each in self.breakpoints if address in each.target.addresses]
        return next((each for each in here if each.enabled), here[0] if here else None)


class SeenStages:
    """Remembers what stops found during one token."""

    def __init__(self) -> None:
        self._token = -1
        self._seen: dict[str, StageSummary] = {}
        self.order = ExecutionOrder()
        self._latest: tuple[int, int | None, str] = (-1, None, "")
        self._sorted: tuple[tuple[Stage, ...], tuple[str, ...], tuple[Stage, ...]] | None = None
        self._answer: tuple[tuple[int, ...], str] = ((), "")

    def answer(self, debugger: Debugger) -> str:
        """The text generated so far. Decoding a long one takes milliseconds, so it is done once a token."""
        ids = debugger.run.generated_ids()
        if ids != self._answer[0]:
            self._answer = (ids, debugger.debuggee.vocabulary.decode(ids))
        return self._answer[1]

    def note(self, stop: Stop, passed: Sequence[str] | None = None) -> dict[str, StageSummary]:
        """Add a stop. Returns everything seen during its token.

        `passed` are the stages that have run for it, where that is known: after a step back others have not run yet.
        """
        if stop.token != self._token or stop.stage.address == "tokenize":
            self._token, self._seen = stop.token, {}
        if passed is not None:
            if not set(self._seen) <= set(passed):
                self._latest = (-1, None, "")
            self._seen = {address: seen for address, seen in self._seen.items() if address in passed}
        numbers = stop.tensor.numbers if stop.tensor else None
        self._seen[stop.stage.address] = StageSummary(
            None if numbers is None else numbers.norm, stop.ms, 0 if numbers is None else numbers.nan + numbers.inf
        )
        self._note_order(stop)
        return dict(self._seen)

    def _note_order(self, stop: Stop) -> None:
        """Of two modules of a layer that were stopped at one after the other, one is done before the other."""
        stage, (token, layer, before) = stop.stage, self._latest
        if stage.layer is None:
            return
        path = path_in_layer(stage)
        if path:
            self.order.see(path)
        if path and before and (token, layer) == (stop.token, stage.layer):
            self.order.note(before, path)
        self._latest = (stop.token, stage.layer, path)

    def in_order(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """The stages with each layer's modules in the order they were seen to complete.

        The module tree only says in which order they were registered. Those not seen yet follow in that order.
        """
        known = tuple(stages)
        listed = self.order.listed
        if self._sorted is None or self._sorted[:2] != (known, listed):
            self._sorted = (known, listed, self._in_order(known, listed))
        return self._sorted[2]

    def _in_order(self, stages: tuple[Stage, ...], listed: Sequence[str]) -> tuple[Stage, ...]:
        ranks: dict[str, int] = {}
        for rank, path in enumerate(listed):
            for prefix in prefixes(path):
                ranks[prefix] = min(rank, ranks.get(prefix, rank))
        unseen = len(listed)

        def key(numbered: tuple[int, Stage]) -> tuple[int, ...]:
            index, stage = numbered
            if stage.layer is None:
                return (index,)
            ranked = (ranks.get(prefix, unseen + index) for prefix in prefixes(path_in_layer(stage)))
            # A module completes after all of its parts.
            return (first[stage.layer], *ranked, _AFTER_ITS_PARTS)

        first: dict[int, int] = {}
        for index, stage in enumerate(stages):
            if stage.layer is not None:
                first.setdefault(stage.layer, index)
        return tuple(stage for _, stage in sorted(enumerate(stages), key=key))


_AFTER_ITS_PARTS = 1 << 40


def snapshot(debugger: Debugger, memory: SeenStages, asked: dict[str, Any] | None = None) -> Snapshot:
    """Describe where a session stands."""
    debuggee, sampling, stop = debugger.debuggee, debugger.debuggee.sampling, debugger.stop
    model_notes = () if debuggee.loaded is None else debuggee.loaded.notes
    prompt_length = len(debuggee.prompt.ids)
    last = prompt_length + stop.token - 1
    return Snapshot(
        model=debuggee.name,
        place=debuggee.place,
        sampling="" if sampling is None else sampling.description,
        seen=memory.note(stop, debugger.run.trace.order(debugger.run.place)),
        stages=memory.in_order(debugger.run.stages.all()),
        layers=len(debuggee.anatomy.layers()),
        stop=stop,
        tokens=debugger.run.tokens(),
        prompt_length=prompt_length,
        focus=last if debugger.focus.position is None else debugger.focus.position,
        follows=debugger.focus.position is None,
        limit=None if sampling is None else sampling.limit,
        breakpoints=debugger.breakpoints.list(),
        branches=tuple(each.name for each in debugger.run.branches),
        branch=debugger.run.branches.current.name,
        edits=sum(each.enabled for each in debugger.run.edits.list()),
        notes=(*model_notes, *debuggee.notes, *debuggee.prompt.notes),
        answer=memory.answer(debugger),
        end=debugger.end,
        probabilities=debugger.run.probabilities(),
        order=memory.order.pairs,
        ordered=frozenset(each for path in memory.order.sequence for each in prefixes(path)),
        asked=asked or {},
    )
