"""A recording as a debuggee: what a run was, token by token and stage by stage, without its model.

It can be read at any token, in any order. What was not recorded is not there: events carry the numbers that are known
(`StageEvent.known`) and those tensors that were kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from llmdbg.engine.debuggee import Capability, Editor, SamplingFacts
from llmdbg.engine.stage_event import EventHandler, StageEvent, always_suspend
from llmdbg.errors import CommandError, TraceError
from llmdbg.formatting import printable
from llmdbg.models.anatomy import Anatomy
from llmdbg.models.stages import ANY_PROCESSOR, SAMPLE, TOKENIZE, Phase, Stage, StageKind
from llmdbg.models.tokens import Prompt
from llmdbg.traces.records import RanksRecord, StageRecord
from llmdbg.traces.replay.choices import read_choices
from llmdbg.traces.replay.events import KeptTensors, RecordedEvent
from llmdbg.traces.replay.known import KnownOutput
from llmdbg.traces.replay.vocabulary import RecordedVocabulary
from llmdbg.traces.soundness import damage

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import ArmedStages, Clock, Timeline, Vocabulary
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.token_overrides import TokenOverrides
    from llmdbg.models.spec import LoadedModel
    from llmdbg.traces.reader import Trace
    from llmdbg.traces.records import TokenRecord

RECORDING = "recording"
"""`ended_by` of the last event of a recording that goes no further than its run did."""
_LONGEST_NAME = 60  # characters


class RecordedTimeline:
    """The recorded tokens. All are known from the start, so that any can be gone to."""

    def __init__(self, ids: list[int], overrides: dict[int, TokenOverrides], not_finite_since: int | None) -> None:
        self.ids = ids
        self.overrides = overrides
        self.settings: tuple[tuple[int, GenerationSettings], ...] = ()
        self._not_finite_since = not_finite_since

    def settings_at(self, token: int) -> NoReturn:
        """Nobody may ask: there are none."""
        raise CommandError(f"the settings of token {token} cannot be changed: this is a recording")

    def fork(self, token: int) -> NoReturn:
        """Nobody may fork a recording."""
        raise CommandError(f"a recording cannot branch at token {token}")

    def differing(self) -> tuple[int, ...]:
        """None: what is read twice is the same."""
        return ()

    def fingerprints(self) -> dict[int, int]:
        """None: logits are not run again."""
        return {}

    def not_finite_since(self) -> int | None:
        """The first token whose scores gave no probabilities."""
        return self._not_finite_since

    @property
    def bytes(self) -> int:
        """Nothing is kept in memory for going back."""
        return 0


class RecordedStops:
    """Which recorded stages are handed over."""

    def __init__(self) -> None:
        self._armed: frozenset[str] = frozenset()
        self._handler: EventHandler = always_suspend
        self._interrupted = False

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        """Call `handler` at exactly these stages from now on."""
        self._armed, self._handler = frozenset(addresses), handler

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Nothing can be edited, and nobody may ask for it."""

    def capture_kernels(self, addresses: Collection[str]) -> None:
        """No kernel runs."""

    def interrupt(self) -> None:
        """Suspend at the next stage."""
        self._interrupted = True

    def forget_interrupt(self) -> None:
        """Suspend for no `interrupt` that has met no stage so far."""
        self._interrupted = False

    def suspends(self, event: StageEvent) -> bool:
        """Ask the handler, if the stage is armed. A pending interrupt suspends too."""
        stage = event.stage
        armed = stage.address in self._armed
        armed = armed or (stage.kind is StageKind.PROCESSOR and ANY_PROCESSOR.address in self._armed)
        wanted = armed and self._handler(event)
        interrupted, self._interrupted = self._interrupted, False
        return wanted or interrupted


class RecordedClock:
    """Nothing runs here; events say how long their stages took."""

    def elapsed(self, _address: str) -> float | None:
        """Not known."""
        return None

    def lap(self, _address: str) -> Callable[[], float | None]:
        """Not known."""
        return lambda: None

    def began(self, address: str) -> bool:
        """Nothing was seen to begin."""
        return False

    def token_milliseconds(self) -> float:
        """Nothing takes any time."""
        return 0.0


class RecordedRun:
    """Reads a recording as the run that it was. Whatever is damaged ends it before the damage, and a note says so."""

    def __init__(self, trace: Trace) -> None:
        """Raises TraceError for a recording whose stages cannot be read."""
        self._trace = trace
        self._header = header = trace.header
        choices = read_choices(trace)
        named = {entry.address: _harmless(entry.stage) for entry in trace.entries}
        stages = [*named.values()]
        self._stages = named | {each.address: each for each in (TOKENIZE, SAMPLE)}
        self._count = len(choices.ids)
        self._damage = choices.damage
        self._unsound = () if choices.damage else damage(trace)
        ids = [id for id in choices.ids if id is not None]
        counts = len(ids) == self._count
        # Without choices there are no tokens to go back to but the first forward, which is token 0.
        can = {Capability.GO_BACK, *((Capability.TOKENS,) if counts else ())}
        self.capabilities: frozenset[Capability] = frozenset(can)
        self.name = f"recording of {_name(header.model)}"
        self.place = printable(" ".join(each for each in (header.device, header.dtype) if each))
        self.anatomy = Anatomy(_in_order(stages), {}, header.context_length)
        self.processors = tuple(each for each in stages if each.kind is StageKind.PROCESSOR)
        record = header.prompt
        self.prompt = Prompt(record.ids, record.rendered or "", record.notes, max(0, record.left_pad))
        self.vocabulary: Vocabulary = RecordedVocabulary(
            record, choices.texts, header.vocabulary_size, header.generation_config
        )
        self.loaded: LoadedModel | None = None
        self.settings: GenerationSettings | None = None
        self.stops: ArmedStages = (stops := RecordedStops())
        self._stops = stops
        self.clock: Clock = RecordedClock()
        self.sampling = _sampling(header.sampling)
        self.cache: Any = None
        self._timeline: Timeline = RecordedTimeline(ids if counts else [], choices.overrides, choices.not_finite_since)
        self._kept = KeptTensors(trace, record.ids, lambda address: self._stages[address])
        self._token = 0

    @property
    def timeline(self) -> Timeline:
        """The recorded tokens."""
        return self._timeline

    @timeline.setter
    def timeline(self, timeline: Timeline) -> None:
        self._timeline = timeline

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noted when it was recorded, and where it is damaged."""
        ends = (f"{self._damage}: the replay ends before that",) if self._damage else ()
        values = (f"{self._kept.damage}: the values in it cannot be shown",) if self._kept.damage else ()
        # The same may be found twice.
        return tuple(dict.fromkeys((*self._header.notes, *ends, *values, *self._unsound)))

    @property
    def generated(self) -> tuple[int, ...]:
        """The ids chosen before the current token."""
        return tuple(self._timeline.ids[: self._token])

    def why_not(self, capability: Capability) -> str:
        """Why a recording cannot do something."""
        if capability is Capability.MODEL:
            return "no model is in a recording"
        if capability in (Capability.TOKENS, Capability.GO_BACK):
            return "no choices of tokens were recorded"
        return "what was recorded stays as it is"

    def known_timeline(self, ids: Sequence[int], settings: tuple[tuple[int, GenerationSettings], ...]) -> NoReturn:
        """A recording has one timeline. Raises CommandError."""
        raise CommandError(f"a recording has its own {len(ids)} tokens" if settings else "a recording cannot branch")

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield the recorded stages that are armed, from the first of `token` on. Raises TraceError if that is damaged.

        The last event has `ended_by` set: as the run had ended, or `recording` where the recording ends before it.
        """
        self._token = token
        if token == 0:
            yield self._beginning()
        here = self._read(token)
        if not here and token == 0 and self._damage:
            raise TraceError(self._damage)
        while here:
            after = self._following(token + 1)
            for event in here[:-1]:
                if self._stops.suspends(event):
                    yield event
            last = here[-1]
            if last.ended_by is None and not after:
                last.ended_by = RECORDING
            if self._stops.suspends(last) or last.ended_by is not None:
                yield last
            if last.ended_by is not None:
                return
            here, token = after, token + 1
            self._token = token

    def _following(self, token: int) -> list[StageEvent]:
        """The events of the token after one, none if they are damaged, which is noted, or if there are none."""
        try:
            return self._read(token)
        except TraceError as error:
            self._damage = self._damage or str(error)
            return []

    def _read(self, token: int) -> list[StageEvent]:
        """The events of a token in order, but for `tokenize`; empty if there are none."""
        if token > self._count or (token == self._count and self._damage):
            return []
        of_token = self._trace.tokens[token] if token < self._count else None
        records = [each for each in self._trace.stages(token) if each.address != TOKENIZE.address]
        chose = of_token is not None and of_token.id is not None
        if of_token is not None and chose and all(each.address != SAMPLE.address for each in records):
            records.append(StageRecord(token, SAMPLE.address, of_token.phase, (1,), "int64"))
        return [self._event(each, of_token, ends=at == len(records) - 1) for at, each in enumerate(records)]

    def _event(self, record: StageRecord, token: TokenRecord | None, *, ends: bool) -> StageEvent:
        stage = self._stages[record.address]
        if not (record.dtype.isprintable() and record.device.isprintable()):
            record = replace(record, dtype=printable(record.dtype), device=printable(record.device))
        known = KnownOutput(stage, record, self._header)
        if token is not None:
            at = next((i for i, step in enumerate(token.scores) if step.address == stage.address), None)
            chooses = stage.kind is StageKind.SAMPLE
            until = len(token.scores) if chooses else 0 if at is None else at + 1
            known = replace(
                known,
                scores=token.scores[:until],
                chosen=token.id if chooses else None,
                prob=token.prob if chooses else None,
                length=token.length,
            )
        return RecordedEvent(known, self._kept, token, ends=ends)

    def _beginning(self) -> StageEvent:
        """The event that the prompt has been cut into tokens, recorded or not."""
        shape = (1, len(self.prompt.ids))
        record = StageRecord(0, TOKENIZE.address, Phase.PREFILL, shape, "int64", ranks=self._ranks_at_beginning())
        known = KnownOutput(TOKENIZE, record, self._header)
        return RecordedEvent(known, self._kept, None, ends=False)

    def _ranks_at_beginning(self) -> RanksRecord | None:
        """What was recorded of the ranks there; None if nothing was, or it is damaged, which its stages will say."""
        try:
            found = self._trace.stage(0, TOKENIZE.address) if self._header.ranks else None
        except TraceError:
            return None
        return None if found is None else found.ranks


def _name(model: str) -> str:
    shown = printable(model or "a program")
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"


def _in_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Every stage but the processors, `tokenize` first and `sample` last, whether recorded or not."""
    inner = (each for each in stages if each.kind not in (StageKind.TOKENIZE, StageKind.SAMPLE, StageKind.PROCESSOR))
    return (TOKENIZE, *inner, SAMPLE)


def _sampling(written: Mapping[str, Any]) -> SamplingFacts | None:
    """How tokens were chosen; None if the recording does not say, or says it in another form."""
    try:
        found = msgspec.convert(dict(written), SamplingFacts)
    except (msgspec.ValidationError, OverflowError, TypeError):
        return None
    return replace(found, description=printable(found.description))


def _harmless(stage: Stage) -> Stage:
    """A stage whose names, which are the model's own in a live run, are shown as they are."""
    return replace(
        stage, address=printable(stage.address), module=None if stage.module is None else printable(stage.module)
    )
