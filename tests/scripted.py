"""A debuggee without a model: a list of stage events, played back. It is all that the debugger may ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from llmdbg.engine.debuggee import ArmedStages, Capability, Clock, Editor, SamplingFacts, Timeline, Vocabulary
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import EventHandler, StageEvent, always_suspend
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.models.anatomy import Anatomy
from llmdbg.models.spec import LoadedModel
from llmdbg.models.stages import SAMPLE, TOKENIZE, Phase, Stage, StageKind
from llmdbg.models.tokens import Prompt, Token

WORDS = ("the", "cat", "sat", "on", "a", "mat", ".", "!")
LAYERS = 3
PROMPT = Prompt((0, 1), "the cat")
MLP = Stage(StageKind.MODULE, "0.mlp", "layers.0.mlp", layer=0, depth=2)
EMBED, LOGITS = Stage(StageKind.EMBED, "embed"), Stage(StageKind.LOGITS, "logits")


class Words:
    """A vocabulary of eight words."""

    size: int | None = len(WORDS)

    def token(self, id: int) -> Token:
        return Token(id, WORDS[id], WORDS[id], special=False)

    def text(self, id: int) -> str:
        return WORDS[id]

    def id_of(self, text: str) -> int | None:
        return WORDS.index(text) if text in WORDS else None

    def split(self, text: str) -> list[int]:
        return [WORDS.index(each) for each in text.split() if each in WORDS]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(WORDS[id] for id in ids)


@dataclass
class ScriptedTimeline:
    """The ids that have been chosen so far."""

    ids: list[int] = field(default_factory=list)
    overrides: dict[int, TokenOverrides] = field(default_factory=dict)
    settings: tuple[tuple[int, GenerationSettings], ...] = ()
    bytes: int = 0
    forks: bool = False

    def settings_at(self, token: int) -> GenerationSettings:
        assert self.settings, f"nobody may ask for the settings of token {token}: there are none"
        return next(settings for since, settings in reversed(self.settings) if since <= token)

    def fork(self, token: int) -> Timeline:
        assert self.forks, f"nobody may fork at token {token}: this debuggee cannot"
        kept = {at: each for at, each in self.overrides.items() if at < token}
        return ScriptedTimeline(self.ids[:token], kept, self.settings, forks=True)

    def differing(self) -> tuple[int, ...]:
        return ()

    def fingerprints(self) -> dict[int, int]:
        return {}

    def not_finite_since(self) -> int | None:
        return None


class ScriptedStops:
    """Which events of the script are handed over."""

    def __init__(self, *, edits: bool) -> None:
        self._edits = edits
        self.edited: frozenset[str] = frozenset()
        self.editor: Editor | None = None
        self.armed: frozenset[str] = frozenset()
        self.handler: EventHandler = always_suspend
        self.interrupted = False

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        self.armed, self.handler = frozenset(addresses), handler

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        assert not addresses or self._edits, "nobody may edit: this debuggee cannot"
        self.edited, self.editor = frozenset(addresses), editor

    def capture_kernels(self, addresses: Collection[str]) -> None:
        assert not addresses, "there are no kernels here"

    def interrupt(self) -> None:
        self.interrupted = True

    def forget_interrupt(self) -> None:
        self.interrupted = False


class NoClock:
    """Nothing takes any time here."""

    def elapsed(self, address: str) -> float | None:
        return None

    def lap(self, address: str) -> Callable[[], float | None]:
        return lambda: None

    def began(self, address: str) -> bool:
        return False

    def token_milliseconds(self) -> float:
        return 0.0


class ScriptedDebuggee:
    """Plays `script` back; with `goes_back` it can begin again at any token it has come to.

    It can do what is in `able` too. Its stages are those of the script.
    """

    def __init__(
        self,
        script: Sequence[StageEvent],
        *,
        goes_back: bool = False,
        counts_tokens: bool = True,
        able: Collection[Capability] = (),
        name: str = "a script",
    ) -> None:
        stages = tuple(dict.fromkeys(each.stage for each in script))
        can = {Capability.TOKENS: counts_tokens, Capability.GO_BACK: goes_back, **dict.fromkeys(able, True)}
        self.capabilities = frozenset(each for each, has in can.items() if has)
        self.name, self.place = name, "nowhere"
        self.anatomy = Anatomy(stages, {}, None)
        self.prompt = PROMPT
        self.vocabulary: Vocabulary = Words()
        self.loaded: LoadedModel | None = None
        samples = Capability.SAMPLING in self.capabilities
        self.settings: GenerationSettings | None = GenerationSettings() if samples else None
        self.stops: ArmedStages = (stops := ScriptedStops(edits=Capability.EDIT in self.capabilities))
        self.clock: Clock = NoClock()
        self._stops = stops
        self.timeline: Timeline = ScriptedTimeline(
            settings=() if self.settings is None else ((0, self.settings),),
            forks=Capability.FORK in self.capabilities,
        )
        self.processors: tuple[Stage, ...] = ()
        self.sampling: SamplingFacts | None = SamplingFacts("as written", samples=False, limit=None)
        self.notes: tuple[str, ...] = ()
        self.cache: Any = None
        self.begun = 0
        self._script = tuple(script)
        self._token = 0

    def untouched(self, tokens: int) -> tuple[list[int], list[int]]:
        return [event.chosen for event in self._script if event.chosen is not None][:tokens], [0] * tokens

    @property
    def generated(self) -> tuple[int, ...]:
        return tuple(self.timeline.ids[: self._token])

    def known_timeline(self, ids: Sequence[int], settings: tuple[tuple[int, GenerationSettings], ...]) -> Timeline:
        assert Capability.FORK in self.capabilities, "nobody may make a timeline: this debuggee cannot branch"
        return ScriptedTimeline(list(ids), settings=settings, forks=True)

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        assert token == 0 or Capability.GO_BACK in self.capabilities
        self.begun += 1
        for recorded in self._script:
            if recorded.token < token:
                continue
            event = replace(recorded)
            self._token = event.token
            if event.chosen is not None:
                event.chosen = self._choice(event)
                event.output = torch.tensor([event.chosen])
            if event.stage.address in self._stops.edited and self._stops.editor is not None:
                self._stops.editor(event)
            wanted = event.stage.kind is StageKind.TOKENIZE or (
                event.stage.address in self._stops.armed and self._stops.handler(event)
            )
            if wanted or event.ended_by or self._stops.interrupted:
                self._stops.interrupted = False
                yield event
            if event.chosen is not None:
                del self.timeline.ids[event.token :]
                self.timeline.ids.append(event.chosen)

    def _choice(self, event: StageEvent) -> int:
        """The id that the script says, or the one forced, or the likeliest that is not banned."""
        assert event.chosen is not None
        asked = self.timeline.overrides.get(event.token, TokenOverrides())
        if asked.force is not None:
            return asked.force
        return event.chosen if event.chosen not in asked.ban else min(set(range(len(WORDS))) - asked.ban)


def layer(index: int) -> Stage:
    return Stage(StageKind.LAYER, str(index), layer=index)


def script(
    ids: Sequence[int] = (2, 3, 4, 5, 6), *, layers: int = LAYERS, module: Stage | None = None
) -> list[StageEvent]:
    """The events of generating `ids`. A layer's output grows with its number and the token's.

    `module` is a stage inside the first layer.
    """
    events = [StageEvent(TOKENIZE, Phase.PREFILL, 0, torch.tensor([PROMPT.ids]))]
    for token, id in enumerate(ids):
        phase, fed = (Phase.DECODE, 1) if token else (Phase.PREFILL, len(PROMPT.ids))
        events.append(StageEvent(EMBED, phase, token, torch.ones(1, fed, 4)))
        if module is not None:
            events.append(StageEvent(module, phase, token, torch.full((1, fed, 4), 10.0 * token + 0.5)))
        events += [
            StageEvent(layer(index), phase, token, torch.full((1, fed, 4), 10.0 * token + index))
            for index in range(layers)
        ]
        logits = torch.zeros(1, len(WORDS))
        logits[0, id] = 5.0
        trail = ((LOGITS, logits),)
        events.append(StageEvent(LOGITS, phase, token, logits, trail=trail))
        ended_by = "eos" if token == len(ids) - 1 else None
        events.append(
            StageEvent(SAMPLE, phase, token, torch.tensor([id]), (logits,), trail=trail, chosen=id, ended_by=ended_by)
        )
    return events
