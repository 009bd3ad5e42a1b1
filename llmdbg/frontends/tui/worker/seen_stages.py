"""What the stops of one token showed, and the order in which a layer's modules were seen to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.worker.execution_order import ExecutionOrder, path_in_layer, prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.models.stages import Stage

_AFTER_ITS_PARTS = 1 << 40


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What a stop at a stage showed, during the current token."""

    norm: float | None
    """L2 norm of the whole output in float32; None if the stage returned no numbers, or only others' are known."""

    ms: float | None
    """How long the stage took, in milliseconds; None if not measured."""

    not_finite: int
    """How many of the output's numbers are NaN or infinite, not counting the -inf of cut tokens."""


def settings_of(sampling: str) -> list[str]:
    """The parts of how tokens are chosen, in words: `temperature 0.8`, `top-k 50`."""
    return sampling.split(" · ") if sampling else []


class SeenStages:
    """Keeps what the stops of one token showed and, for the whole session, the order of modules."""

    def __init__(self) -> None:
        self.order = ExecutionOrder()
        self._token = -1
        self._whose: tuple[int | None, int | None] = (None, None)
        self._seen: dict[str, StageSummary] = {}
        self._latest: tuple[int, int | None, str] = (-1, None, "")
        self._sorted: tuple[tuple[Stage, ...], tuple[str, ...], tuple[Stage, ...]] | None = None
        self._answer: tuple[tuple[int, ...], str] = ((), "")
        self._sampling, self._changed = "", frozenset[str]()

    def answer(self, debugger: Debugger) -> str:
        """The text generated so far. Decoding a long one takes milliseconds, so it is done once a token."""
        ids = debugger.run.generated_ids()
        if ids != self._answer[0]:
            self._answer = (ids, debugger.debuggee.vocabulary.decode(ids))
        return self._answer[1]

    def changed_settings(self, sampling: str) -> frozenset[str]:
        """Which parts of how tokens are chosen, in words, are not as they were before the last change."""
        before, self._sampling = self._sampling, sampling
        if before and sampling != before:
            self._changed = frozenset(settings_of(sampling)) - frozenset(settings_of(before))
        return self._changed

    def note(self, stop: Stop, passed: Sequence[str] | None = None) -> dict[str, StageSummary]:
        """Add a stop. Returns everything seen during its token, by address.

        `passed` are the addresses of the stages that have run for this token; None if unknown. After a step back, the
        others have not run yet.
        """
        if stop.token != self._token or stop.stage.address == "tokenize":
            self._token, self._seen = stop.token, {}
        if passed is not None:
            if not set(self._seen) <= set(passed):
                self._latest = (-1, None, "")
            self._seen = {address: seen for address, seen in self._seen.items() if address in passed}
        if (whose := (stop.lane, stop.rank)) != self._whose:
            # What others' values were says nothing about these.
            self._whose = whose
            self._seen = {address: StageSummary(None, seen.ms, 0) for address, seen in self._seen.items()}
        numbers = stop.tensor.telling if stop.tensor else None
        summary = StageSummary(
            None if numbers is None else numbers.norm, stop.ms, 0 if numbers is None else numbers.nan + numbers.inf
        )
        if stop.stage.is_fine:
            # It has a row only while the run stands there.
            return {**self._seen, stop.stage.address: summary}
        self._seen[stop.stage.address] = summary
        self._note_order(stop)
        return dict(self._seen)

    def _note_order(self, stop: Stop) -> None:
        """Of two modules of a layer at which the run stopped one after the other, the first completes first."""
        stage, (token, layer, before) = stop.stage, self._latest
        if stage.layer is None:
            return
        path = path_in_layer(stage)
        if path:
            self.order.see(path)
        if path and before and (token, layer) == (stop.token, stage.layer):
            self.order.note(before, path)
        self._latest = (stop.token, stage.layer, path)

    def note_ran(self, addresses: Iterable[str]) -> None:
        """Note the order in which stages of one token have run, as somebody else has observed it."""
        latest = "", ""
        for address in addresses:
            layer, _, path = address.partition(".")
            if path and latest[0] == layer:
                self.order.note(latest[1], path)
            if path:
                latest = layer, path

    def in_order(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """The stages with each layer's modules in the order in which they were seen to complete.

        The module tree only says in which order they were registered. Those not seen yet follow in that order.
        """
        known = tuple(stages)
        listed = self.order.listed
        if self._sorted is None or self._sorted[:2] != (known, listed):
            self._sorted = (known, listed, _in_order(known, listed))
        return self._sorted[2]


def _in_order(stages: tuple[Stage, ...], listed: Sequence[str]) -> tuple[Stage, ...]:
    ranks: dict[str, int] = {}
    for rank, path in enumerate(listed):
        for prefix in prefixes(path):
            ranks[prefix] = min(rank, ranks.get(prefix, rank))
    unseen = len(listed)
    first: dict[int, int] = {}
    for index, stage in enumerate(stages):
        if stage.layer is not None:
            first.setdefault(stage.layer, index)

    def key(numbered: tuple[int, Stage]) -> tuple[int, ...]:
        index, stage = numbered
        if stage.layer is None:
            return (index,)
        ranked = (ranks.get(prefix, unseen + index) for prefix in prefixes(path_in_layer(stage)))
        # A module completes after all of its parts.
        return (first[stage.layer], *ranked, _AFTER_ITS_PARTS)

    return tuple(stage for _, stage in sorted(enumerate(stages), key=key))
