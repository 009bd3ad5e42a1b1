"""Records a debuggee's run: what to arm, and what to do at each stage. It never suspends, and changes no bit."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.lockstep import InLockstep
from llmdbg.models.stages import ANY_PROCESSOR, Phase, StageKind
from llmdbg.traces.choices import choice
from llmdbg.traces.live_header import header_of, plain, prompt_of
from llmdbg.traces.rank_recording import RankRecording, opened_together
from llmdbg.traces.records import TokenRecord
from llmdbg.traces.tensor_files import Keep
from llmdbg.traces.writer import TraceWriter

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.traces.records import StageLayouts


class RunRecording:
    """Records a debuggee that stands at an event, from there on, into a new or empty folder.

    `typed`, `chat` and `system` are the prompt as the user gave it. `by_rank`: where several ranks run it, each
    records into a folder of its own, and tells rank 0 at the end of each token what it alone holds. Raises UsageError
    for a folder that is not empty, and TraceError where it cannot be written; of ranks, on all at once.

    >>> events = debuggee.events()
    >>> first = next(events)
    >>> recording = RunRecording(debuggee, Path("run"))
    >>> debuggee.stops.arm(recording.addresses, recording.handler)
    >>> recording.passed(first)
    >>> for event in events: ...
    >>> recording.close()
    """

    def __init__(
        self,
        debuggee: Debuggee,
        folder: Path,
        keep: Keep | None = None,
        *,
        typed: str | None = None,
        chat: bool = False,
        system: str | None = None,
        by_rank: bool = False,
    ) -> None:
        self._debuggee = debuggee
        prompt = prompt_of(debuggee, typed=typed, chat=chat, system=system)
        header = header_of(debuggee, prompt=prompt, tensors=str(keep or Keep()))
        if by_rank and isinstance(debuggee, InLockstep):
            self.writer = opened_together(debuggee, folder, header, keep)
            self._ranks: RankRecording | None = RankRecording(debuggee, self.writer)
        else:
            self.writer = TraceWriter(folder, header, keep)
            self._ranks = None
        self.addresses = frozenset(each.address for each in debuggee.anatomy.stages) | {ANY_PROCESSOR.address}
        self._prompt_length = len(prompt.ids)
        self._size = (1, self._prompt_length)
        self._token, self._phase = -1, Phase.PREFILL
        self._span: tuple[int, int] | None = None
        self._positions: Tensor | None = None
        self._random: Tensor | None = None
        self._settings: dict[str, Any] | None = None
        self._generators = _generators(debuggee)

    def handler(self, event: StageEvent) -> bool:
        """Record a stage, and go on. Runs inside the forward."""
        self.passed(event)
        return False

    def passed(self, event: StageEvent) -> None:
        """Record a stage that has just run. A token is complete with the event of its id, or the next token's first."""
        stage = event.stage
        if event.token != self._token:
            self._begin(event)
        self._span = event.span or self._span
        if stage.kind is not StageKind.MODULE:
            self._note(event)
        size = (1, 1) if event.trail else self._size
        if self._ranks is None:
            self._write(event, size, None)
        else:
            layouts = self._ranks.layouts(event)
            kept = self._ranks.attempt(lambda: self._write(event, size, layouts), dict[str, "Tensor"]())
            self._ranks.passed(event, kept, size)
        if event.chosen is not None:
            self._end_token(event, event.chosen)

    def _write(self, event: StageEvent, size: tuple[int, int], layouts: StageLayouts | None) -> dict[str, Tensor]:
        """Record a stage. Returns the whole tensors that are kept of it, by their whole names."""
        return self.writer.stage(
            event.stage,
            event.output,
            token=event.token,
            phase=event.phase,
            batch=size[0],
            length=size[1],
            ms=self._debuggee.clock.lap(event.stage.address),
            inputs=(event.args, event.kwargs),
            layouts=layouts,
        )

    def close(self) -> None:
        """End the recording."""
        self.writer.close()

    def _begin(self, event: StageEvent) -> None:
        self._end_without_choice(event.token)
        self._token, self._phase, self._span = event.token, event.phase, None
        self._positions = self._random = None
        self._size = (1, self._prompt_length if event.phase is Phase.PREFILL else 1)

    def _note(self, event: StageEvent) -> None:
        """Note what the forward runs over, its positions, and the random state before the choice."""
        kind = event.stage.kind
        if kind is StageKind.EMBED:
            self._note_size(event)
        elif kind is StageKind.LAYER and event.stage.layer == 0 and self._positions is None:
            self._note_positions(event)
        elif kind is StageKind.LOGITS:
            self._random = self._random_state()

    def _note_size(self, event: StageEvent) -> None:
        """What the forward runs over, by what the embedding was given: ids (batch, length)."""
        given = event.args[0] if event.args else event.output
        shape: tuple[int, ...] = tuple(getattr(given, "shape", ()))
        if len(shape) >= 2:
            self._size = (int(shape[0]), int(shape[1]))

    def _note_positions(self, event: StageEvent) -> None:
        given = event.kwargs.get("position_ids")
        if isinstance(given, torch.Tensor) and given.dim() == 2 and len(given) == 1:
            self._positions = given[0].clone()

    def _random_state(self) -> Tensor | None:
        states = [generator.get_state() for generator in self._generators]
        return fingerprint_of(torch.cat(states)) if states else None

    def _end_without_choice(self, before: int) -> None:
        """End the tokens before this one of which nobody saw a choice, as a training step makes none."""
        if self._ranks is not None:
            self._ranks.forget()
        for index in range(self.writer.tokens, before):
            known = TokenRecord(index, self._phase)
            if index == self._token:
                known = replace(known, first_position=self._first_position(), length=self._size[1])
            self.writer.token(known)

    def _first_position(self) -> int:
        """Where in the sequence the current forward begins."""
        return self._prompt_length + self._token - self._size[1] if self._span is None else self._span[0]

    def _end_token(self, event: StageEvent, chosen: int) -> None:
        timeline, token = self._debuggee.timeline, event.token
        text_of = self._debuggee.vocabulary.text
        scores, prob = choice([(stage.address, each) for stage, each in event.trail], chosen, text_of)
        settings = plain(asdict(timeline.settings_at(token))) if timeline.settings else {}
        changed, self._settings = settings != self._settings, settings
        overrides = timeline.overrides.get(token)
        positions = None if self._positions is None else tuple(self._positions.tolist())
        end = self.writer.token if self._ranks is None else self._ranks.end_token
        end(
            TokenRecord(
                index=token,
                phase=event.phase,
                id=chosen,
                text=text_of(chosen),
                prob=prob,
                scores=scores,
                settings=settings if changed else {},
                force=None if overrides is None else overrides.force,
                ban=() if overrides is None else tuple(sorted(overrides.ban)),
                random_state=None if self._random is None else int(self._random),
                positions=positions,
                first_position=self._first_position(),
                length=self._size[1],
                ms=round(self._debuggee.clock.token_milliseconds(), 3),
                ended_by=event.ended_by,
                ended_with=event.ended_with,
            )
        )


def _generators(debuggee: Debuggee) -> tuple[torch.Generator, ...]:
    if debuggee.loaded is None:
        return ()
    devices = {parameter.device for parameter in debuggee.loaded.model.parameters()}
    gpus = sorted({device.index for device in devices if device.type == "cuda"})
    return (torch.default_generator, *(torch.cuda.default_generators[index] for index in gpus))
