"""Everything the screen shows at a stop, as one frozen value made on the engine thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.breakpoints import Breakpoint
    from llmdbg.debugger.session import Session
    from llmdbg.debugger.stop import End, Stop, TokenRow
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a stage when the run stopped there during the present token."""

    norm: float | None
    ms: float | None
    not_finite: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stop and what surrounds it.

    `seen` says what earlier stops of this token found, by address. `focus` is the position the statistics describe,
    `follows` whether it is simply the last one. `probabilities` are those of the generated tokens, None where nobody
    looked. `limit` is how many tokens were asked for, None where unknown; `answer` is the text generated so far, and
    `asked` what each pane in view asked for, by its name.
    """

    model: str
    place: str
    sampling: str
    stages: tuple[Stage, ...]
    layers: int
    stop: Stop
    seen: dict[str, Seen]
    tokens: tuple[TokenRow, ...]
    prompt_length: int
    focus: int
    follows: bool
    limit: int | None
    breakpoints: tuple[Breakpoint, ...]
    notes: tuple[str, ...]
    answer: str
    end: End | None
    probabilities: tuple[float | None, ...] = ()
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


class Memory:
    """Remembers what stops found during one token."""

    def __init__(self) -> None:
        self._token = -1
        self._seen: dict[str, Seen] = {}
        self._order: list[str] = []
        self._latest: tuple[int, int | None, str] = (-1, None, "")
        self._sorted: tuple[tuple[Stage, ...], int, tuple[Stage, ...]] | None = None
        self._answer: tuple[tuple[int, ...], str] = ((), "")

    def answer(self, session: Session) -> str:
        """The text generated so far. Decoding a long one takes milliseconds, so it is done once a token."""
        ids = session.generated_ids()
        if ids != self._answer[0]:
            self._answer = (ids, session.vocabulary.decode(ids))
        return self._answer[1]

    def note(self, stop: Stop) -> dict[str, Seen]:
        """Add a stop. Returns everything seen during its token."""
        if stop.token != self._token or stop.stage.address == "tokenize":
            self._token, self._seen = stop.token, {}
        numbers = stop.tensor.numbers if stop.tensor else None
        self._seen[stop.stage.address] = Seen(
            None if numbers is None else numbers.norm, stop.ms, 0 if numbers is None else numbers.nan + numbers.inf
        )
        self._note_order(stop)
        return dict(self._seen)

    def _note_order(self, stop: Stop) -> None:
        """Put a module seen for the first time behind the one seen before it in the same layer, or else in front."""
        stage, (token, layer, before) = stop.stage, self._latest
        if stage.layer is None:
            return
        path = _inside(stage)
        if path and path not in self._order:
            follows = (token, layer) == (stop.token, stage.layer) and before in self._order
            self._order.insert(self._order.index(before) + 1 if follows else 0, path)
        self._latest = (stop.token, stage.layer, path)

    def in_order(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """The stages with each layer's modules in the order they were seen to complete.

        The module tree only says in which order they were registered. Those not seen yet follow in that order.
        """
        known = tuple(stages)
        if self._sorted is None or self._sorted[:2] != (known, len(self._order)):
            self._sorted = (known, len(self._order), self._in_order(known))
        return self._sorted[2]

    def _in_order(self, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        ranks: dict[str, int] = {}
        for rank, path in enumerate(self._order):
            for prefix in _prefixes(path):
                ranks[prefix] = min(rank, ranks.get(prefix, rank))
        unseen = len(self._order)

        def key(numbered: tuple[int, Stage]) -> tuple[int, ...]:
            index, stage = numbered
            if stage.layer is None:
                return (index,)
            ranked = (ranks.get(prefix, unseen + index) for prefix in _prefixes(_inside(stage)))
            # A module completes after all of its parts.
            return (first[stage.layer], *ranked, _AFTER_ITS_PARTS)

        first: dict[int, int] = {}
        for index, stage in enumerate(stages):
            if stage.layer is not None:
                first.setdefault(stage.layer, index)
        return tuple(stage for _, stage in sorted(enumerate(stages), key=key))


_AFTER_ITS_PARTS = 1 << 40


def _inside(stage: Stage) -> str:
    """A module's path within its layer; empty for the layer itself."""
    return stage.address.partition(".")[2]


def _prefixes(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def snapshot(session: Session, memory: Memory, asked: dict[str, Any] | None = None) -> Snapshot:
    """Describe where a session stands."""
    from llmdbg.engine.settings import describe_sampling

    loaded, config, stop = session.loaded, session.engine.config, session.stop
    prompt_length = len(session.prompt.ids)
    last = prompt_length + stop.token - 1
    limit = getattr(config, "max_length", None)
    return Snapshot(
        model=loaded.name,
        place=f"{loaded.device} {loaded.dtype}",
        sampling="" if config is None else describe_sampling(config),
        seen=memory.note(stop),
        stages=memory.in_order(session.stages()),
        layers=len(session.anatomy.layers()),
        stop=stop,
        tokens=session.tokens(),
        prompt_length=prompt_length,
        focus=last if session.focus is None else session.focus,
        follows=session.focus is None,
        limit=None if limit is None else max(1, limit - prompt_length),
        breakpoints=session.breakpoints.list(),
        notes=(*loaded.notes, *session.engine.notes, *session.prompt.notes),
        answer=memory.answer(session),
        end=session.end,
        probabilities=session.probabilities(),
        asked=asked or {},
    )
