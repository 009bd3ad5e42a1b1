"""Recorded stages as events. Tensors are read when they are looked at, and only those that were kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from llmdbg.engine.stage_event import ScoresTrail, StageEvent
from llmdbg.errors import TraceError
from llmdbg.formatting import printable
from llmdbg.models.stages import StageKind
from llmdbg.traces.replay.known import KnownOutput

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.stages import Stage
    from llmdbg.traces.reader import Trace
    from llmdbg.traces.records import StageRecord, TokenRecord

_MOST_VALUES = 4096


_READ_LATE = ("output", "args", "kwargs", "trail")
_PLAIN = {
    each.name: each.default
    for each in fields(StageEvent)
    if each.name not in _READ_LATE and each.default is not MISSING
}
"""What an event has of itself, as a live one has it where there is nothing."""


class RecordedEvent(StageEvent):
    """A stage of a recording. `output`, `args`, `kwargs` and `trail` are read from its files at the first look."""

    __slots__ = ("_kept", "_read", "damage")

    def __init__(self, known: KnownOutput, kept: KeptTensors, token: TokenRecord | None, *, ends: bool) -> None:
        """`ends` says that the token ends here."""
        record = known.record
        self._kept: KeptTensors | None = kept
        self._read: dict[str, Any] = {}
        self.damage = ""
        """Why tensors that were kept cannot be read, once they have been looked at; empty if they can."""
        for name, usual in _PLAIN.items():
            setattr(self, name, usual)
        self.stage, self.phase, self.token, self.ms = known.stage, record.phase, record.token, record.ms
        self.known = known
        self.chosen = known.chosen
        ended_by = token.ended_by if token is not None and ends else None
        self.ended_by = None if ended_by is None else printable(ended_by)
        self.ended_with = token.ended_with if token is not None and ends else None

    def release(self) -> None:
        """Drop every tensor, so that a kept event keeps none alive."""
        self._kept, self._read = None, {}

    def _look(self, what: str, read: Callable[[KeptTensors], Any], nothing: Any) -> Any:
        if what not in self._read:
            try:
                self._read[what] = nothing if self._kept is None else read(self._kept)
            except TraceError as error:
                self._read[what], self.damage = nothing, str(error)
                assert self._kept is not None
                self._kept.damage = self._kept.damage or self.damage
        return self._read[what]

    @property
    def output(self) -> Any:
        """What the module returned, as far as it was kept; None if nothing was."""
        return self._look("output", lambda kept: kept.output(self.known), None)

    @property
    def args(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The positional arguments that were kept, None for any other before them."""
        return tuple(self._look("inputs", lambda kept: kept.inputs(self.known), ((), {}))[0])

    @property
    def kwargs(self) -> dict[str, Any]:  # type: ignore[override]
        """The keyword arguments that were kept."""
        return dict(self._look("inputs", lambda kept: kept.inputs(self.known), ((), {}))[1])

    @property
    def last(self) -> Tensor | None:
        """The vector (width,) of the last position, where that is what was kept."""
        found: Tensor | None = self._look("last", lambda kept: kept.last(self.known), None)
        return found

    @property
    def trail(self) -> ScoresTrail:  # type: ignore[override]
        """The scores from the raw logits on, if those of every stage since were kept; else empty."""
        return tuple(self._look("trail", lambda kept: kept.trail(self.known), ()))


class KeptTensors:
    """The whole tensors of a recording, on the CPU, in the form in which a live event has them."""

    def __init__(self, trace: Trace, prompt: tuple[int, ...], stage_of: Callable[[str], Stage]) -> None:
        self._trace = trace
        self._prompt = prompt
        self._stage_of = stage_of
        self.damage = ""
        """Why the first tensor that could not be read cannot; empty if all could so far."""

    def output(self, known: KnownOutput) -> Any:
        """What a stage returned; ids, which are always known, too. None if it was not kept."""
        import torch

        record = known.record
        if known.stage.kind is StageKind.TOKENIZE:
            return torch.tensor([self._prompt])
        if known.chosen is not None and math.prod(record.shape) == 1:
            return torch.full(record.shape, known.chosen)
        if record.tensors == ("last",):
            return self._whole_from_last(record)
        named = {name: path for name in record.tensors if (path := name.split("."))[0] == "output"}
        return _built({tuple(path[1:]): self._tensor(record, name) for name, path in named.items()})

    def inputs(self, known: KnownOutput) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A stage's arguments, positional and by name."""
        record = known.record
        names = [name for name in record.tensors if name.startswith("input.")]
        built = _built({tuple(name.split(".")[1:]): self._tensor(record, name) for name in names}, keyed=True)
        given: dict[str, Any] = {} if built is None else built
        positional = {int(name): value for name, value in given.items() if _is_number(name)}
        count = max(positional, default=-1) + 1
        return tuple(positional.get(at) for at in range(count)), {
            name: value for name, value in given.items() if not _is_number(name)
        }

    def trail(self, known: KnownOutput) -> ScoresTrail:
        """The scores (1, vocabulary) float32 after the raw logits and each processor so far."""
        token = known.record.token
        found = []
        for step in known.scores:
            record = self._trace.stage(token, step.address)
            scores = None if record is None or "output" not in record.tensors else self._tensor(record, "output")
            if scores is None or scores.dim() != 2 or len(scores) != 1:
                return ()
            found.append((self._stage_of(step.address), scores.float()))
        return tuple(found)

    def last(self, known: KnownOutput) -> Tensor | None:
        """The vector of the last position alone, where that is what was kept."""
        return self._tensor(known.record, "last") if known.record.tensors == ("last",) else None

    def _whole_from_last(self, record: StageRecord) -> Tensor | None:
        """The output, where its one position is all there is."""
        vector = self._tensor(record, "last") if record.positions == 1 else None
        if vector is None or vector.numel() != math.prod(record.shape):
            return None
        return vector.reshape(record.shape)

    def _tensor(self, record: StageRecord, name: str) -> Tensor | None:
        return self._trace.tensor(record.token, record.address, name, record.call)


def _is_number(name: str) -> bool:
    return name.isdecimal() and name.isascii() and int(name[:5]) < _MOST_VALUES and len(name) < 5


def _built(named: Mapping[tuple[str, ...], Any], *, keyed: bool = False) -> Any:
    """Tuples and dicts from the paths to their tensors; None for none. `keyed`: the outermost is a dict."""
    if not named:
        return None
    if () in named:
        return named[()]
    parts: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, value in named.items():
        parts.setdefault(path[0], {})[path[1:]] = value
    children = {name: _built(inner) for name, inner in parts.items()}
    if keyed or not all(map(_is_number, children)):
        return children
    by_place = {int(name): child for name, child in children.items()}
    return tuple(by_place.get(at) for at in range(max(by_place) + 1))
