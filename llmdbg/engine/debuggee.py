"""The debuggee protocol: what the debugger needs of whatever it debugs.

A `generate()` of ours is one debuggee; a user's own program, a vLLM engine, tensor-parallel ranks and a recording are
others. The debugger asks for capabilities and never for a class: what a debuggee cannot do is refused in one line.

- `events(token)` is a generator of stage events. It is suspended wherever the debuggee stands, and closing it puts the
  debuggee back as it was.
- Between two events the debugger says what it wants to see: `stops.arm(addresses, handler)`. The handler runs inside
  the debuggee and decides, without a switch, whether to suspend.
- A debuggee belongs to the thread that first asks for an event.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from llmdbg.engine.stage_event import EventHandler, StageEvent, always_suspend
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.token_overrides import TokenOverrides
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.stages import Stage
    from llmdbg.models.tokens import Prompt, Token

Editor = Callable[[StageEvent], None]
"""Changes the output of a stage event. Runs inside the forward."""


class Capability(StrEnum):
    """What a debuggee may be able to do. The value completes "NAME cannot …"."""

    TOKENS = "say which token it is producing"
    SAMPLING = "change how a token is chosen"
    EDIT = "have its values edited"
    GO_BACK = "go back"
    FORK = "branch"
    MODEL = "show its modules and weights"
    LINES = "stop at source lines"
    OPS = "stop at single operations"


@dataclass(frozen=True, slots=True)
class SamplingFacts:
    """How a debuggee chooses its tokens."""

    description: str
    """In a few words: `greedy`, `temperature 0.8 · top-k 40`."""
    samples: bool
    """Whether tokens are drawn at random."""
    limit: int | None
    """The most tokens it generates, None where that is not known."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Settings of logits processors by name: `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`."""


class Vocabulary(Protocol):
    """What each id stands for."""

    def token(self, id: int) -> Token: ...
    def text(self, id: int) -> str: ...
    def id_of(self, text: str) -> int | None: ...
    def split(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


class Clock(Protocol):
    """Times stages in milliseconds, without the time spent suspended."""

    def elapsed(self, address: str) -> float | None:
        """Milliseconds since a stage that is being visited began, None where that was not seen."""

    def lap(self, address: str) -> Callable[[], float | None]:
        """Note that a stage is over, without waiting for the device; the result waits, and gives its milliseconds."""

    def token_milliseconds(self) -> float:
        """Milliseconds from the beginning of the present token's forward to where the debuggee stands."""


class ArmedStages(Protocol):
    """Where a debuggee may be suspended. Addresses that it does not have are ignored."""

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        """Call `handler` at exactly these stages from now on, and suspend where it returns True."""

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Let `editor` change the output of these stages from now on, before any handler sees it.

        It is asked when the past is run again, too: it must do the same for the same stage and token.
        """

    def capture_kernels(self, addresses: Collection[str]) -> None:
        """From the next arming on, events of these attentions carry what their kernels were called with."""

    def interrupt(self) -> None:
        """Suspend at the next stage that can be suspended at. Safe from any thread."""


class Timeline(Protocol):
    """One line of generated tokens."""

    ids: list[int]
    """The generated ids, those after the present stop included where someone has gone back."""
    overrides: dict[int, TokenOverrides]
    """Forced and banned tokens, by generated token."""
    settings: tuple[tuple[int, GenerationSettings], ...]
    """From which token on which settings hold; empty where a debuggee has none."""

    def settings_at(self, token: int) -> GenerationSettings:
        """The settings that hold while `token` is produced."""

    def fork(self, token: int) -> Timeline:
        """Another timeline that shares everything before `token`'s forward. The run must have been closed."""

    def differing(self) -> tuple[int, ...]:
        """The tokens that came out differently when they were run again, since the last time of asking."""

    def fingerprints(self) -> dict[int, int]:
        """A hash of the bits of the raw logits of each token that was chosen."""

    @property
    def bytes(self) -> int:
        """Bytes kept for going back."""


class Debuggee(Protocol):
    """What is being debugged."""

    capabilities: frozenset[Capability]
    name: str
    """What a header calls it, such as the model's name."""
    place: str
    """Where and in what precision it runs: `cpu float32`."""
    anatomy: Anatomy
    """Its stages and, where it has a live model, their modules."""
    prompt: Prompt
    """What it is fed before it generates; no ids where it has no prompt."""
    vocabulary: Vocabulary
    loaded: LoadedModel | None
    """The live model, None without `Capability.MODEL`."""
    settings: GenerationSettings | None
    """The settings that the user opened it with, None without `Capability.SAMPLING`."""
    stops: ArmedStages
    clock: Clock

    @property
    def timeline(self) -> Timeline:
        """The line of tokens it is on."""

    @timeline.setter
    def timeline(self, timeline: Timeline) -> None:
        """Go on with another one: only between two runs, and only with `Capability.FORK`."""

    @property
    def processors(self) -> tuple[Stage, ...]:
        """The logits processors of this run in the order they act; known from the first event on."""

    @property
    def sampling(self) -> SamplingFacts | None:
        """How it chooses tokens, None where that is not known; known from the first event on."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it runs; known from the first event on."""

    @property
    def generated(self) -> tuple[int, ...]:
        """The ids generated so far, without the one being chosen."""

    @property
    def cache(self) -> Any:
        """The KV cache of the run as it is now, None where there is none (yet)."""

    def known_timeline(self, ids: Sequence[int], settings: tuple[tuple[int, GenerationSettings], ...]) -> Timeline:
        """A line of tokens that are known and have not been run, as a saved session has it. Needs `Capability.FORK`."""

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield a stage event for every suspension; each is valid until the next is asked for.

        The run begins with generated token `token`, which needs `Capability.GO_BACK` after the first time. From 0 the
        first event is always `tokenize`. The last event has `ended_by` set, armed or not. Raises LlmdbgError.
        """


@runtime_checkable
class Verifiable(Protocol):
    """A debuggee that can run without the debugger, to prove that the debugger changes nothing."""

    def untouched(self, tokens: int) -> tuple[list[int], list[int]]:
        """Generate `tokens` tokens from the prompt with no loop or hook of ours. No run may be under way.

        Returns the generated ids, and for each a hash of the bits of its raw logits, as `Timeline.fingerprints` has it.
        """


def require(debuggee: Debuggee, *capabilities: Capability) -> None:
    """Raise CommandError, in one line, for the first capability that a debuggee lacks."""
    for each in capabilities:
        if each not in debuggee.capabilities:
            raise CommandError(f"{debuggee.name} cannot {each.value}")


def live_model(debuggee: Debuggee) -> LoadedModel:
    """The model of a debuggee. Raises CommandError where it has none, as a recording has not."""
    require(debuggee, Capability.MODEL)
    assert debuggee.loaded is not None
    return debuggee.loaded
