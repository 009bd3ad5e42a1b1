"""The debuggee protocol: what the debugger needs of whatever it debugs.

Our own `generate()` is one; a user's program, a vLLM engine, tensor-parallel ranks and a recording are others. The
debugger checks capabilities and never a class: what a debuggee cannot do is refused in one line.

- `events(token)` is a generator of stage events. It yields at every suspension, and closing it restores the debuggee.
- Between two events the debugger arms stages: `stops.arm(addresses, handler)`. The handler runs inside the debuggee and
  decides, without a greenlet switch, whether to suspend.
- A debuggee belongs to the thread that first asks for an event.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from llmdbg.engine.stage_event import EventHandler, StageEvent, always_suspend
from llmdbg.errors import UnableError
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from types import FrameType

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
    GRADIENTS = "stop at gradients"


@dataclass(frozen=True, slots=True)
class SamplingFacts:
    """How a debuggee chooses its tokens."""

    description: str
    """In a few words, every processor that runs included: `greedy`, `temperature 0.8 · top-k 40`."""
    samples: bool
    """Whether tokens are drawn at random."""
    limit: int | None
    """The most tokens it generates; None if unknown."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Settings of logits processors by name: `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`."""
    before_temperature: tuple[str, ...] = ()
    """The stages of the logits processors that run before the temperature, in order."""
    from_temperature: tuple[str, ...] = ()
    """The stages of those that run from the temperature on, in order."""


@dataclass(frozen=True, slots=True)
class RequestBlocks:
    """What one of several requests has of a cache in blocks."""

    positions: int
    """How many positions it has there after the current forward."""
    blocks: tuple[int, ...]
    """Its blocks, in order of its positions."""


@dataclass(frozen=True, slots=True)
class PagedCache:
    """A KV cache in blocks, whose keys and values lie as its kernels want them and are not read."""

    owner: str
    """Whose blocks they are."""
    blocks: tuple[int, ...]
    """The blocks of this sequence, in order of its positions; none where `requests` has those of each."""
    block_size: int
    """How many positions a block holds."""
    total: int
    """How many blocks there are for all sequences."""
    shared: tuple[int, ...] = ()
    """Those of the blocks that more than one request of the current forward has."""
    requests: tuple[RequestBlocks, ...] = ()
    """The requests of the current forward, by lane, where none is chosen."""


class Vocabulary(Protocol):
    """Maps token ids to text and back."""

    size: int | None
    """Every id is below it; None if that is not known."""

    def token(self, id: int) -> Token:
        """The token of an id."""

    def text(self, id: int) -> str:
        """The text of an id, its leading space included."""

    def id_of(self, text: str) -> int | None:
        """The id of the one token whose text this is; None if there is none."""

    def split(self, text: str) -> list[int]:
        """The ids that `text` is tokenized into, without special tokens around them."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of several ids together, without special tokens."""


class Clock(Protocol):
    """Times stages in milliseconds, without the time spent suspended."""

    def elapsed(self, address: str) -> float | None:
        """Milliseconds since a running stage began; None if its start was not seen."""

    def lap(self, address: str) -> Callable[[], float | None]:
        """Note the end of a stage without waiting for the device; the result waits, and returns its milliseconds."""

    def began(self, address: str) -> bool:
        """Whether a stage at which nothing was suspended was seen to begin while the current token was produced."""

    def token_milliseconds(self) -> float:
        """Milliseconds from the start of the current token's forward to the current event."""


class ArmedStages(Protocol):
    """The stages where a debuggee may suspend. Ignores addresses that it does not have."""

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        """Call `handler` at exactly these stages from now on, and suspend where it returns True."""

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Let `editor` change the output of these stages from now on, before any handler sees it.

        Replays call it too: it must do the same for the same stage and token.
        """

    def capture_kernels(self, addresses: Collection[str]) -> None:
        """From the next `arm` on, fill `kernel_calls` in the events of these attentions."""

    def interrupt(self) -> None:
        """Suspend at the next possible stage. Safe from any thread."""

    def forget_interrupt(self) -> None:
        """Suspend for no `interrupt` that has met no stage so far."""


class Timeline(Protocol):
    """One sequence of generated tokens."""

    ids: list[int]
    """The generated ids; after going back, those beyond the current stop too."""
    overrides: dict[int, TokenOverrides]
    """Forced and banned tokens, by generated token."""
    settings: tuple[tuple[int, GenerationSettings], ...]
    """The settings and the token from which each applies; empty without `Capability.SAMPLING`."""

    def settings_at(self, token: int) -> GenerationSettings:
        """The settings in effect while `token` is produced."""

    def fork(self, token: int) -> Timeline:
        """A timeline that shares everything before `token`'s forward. The run must have been closed."""

    def differing(self) -> tuple[int, ...]:
        """The tokens that came out differently when rerun, since the last call."""

    def fingerprints(self) -> dict[int, int]:
        """A hash of the bits of the raw logits, by generated token, for each token that was chosen."""

    def not_finite_since(self) -> int | None:
        """The first chosen token whose raw or processed logits gave no probabilities (NaN, inf, all -inf)."""

    @property
    def bytes(self) -> int:
        """Bytes kept for going back."""


class Debuggee(Protocol):
    """What is being debugged."""

    capabilities: frozenset[Capability]
    name: str
    """Its name in headers and messages, such as the model's name."""
    place: str
    """Where and in what precision it runs: `cpu float32`."""
    anatomy: Anatomy
    """Its stages and, with a live model, their modules."""
    vocabulary: Vocabulary
    loaded: LoadedModel | None
    """The live model; None without `Capability.MODEL`."""
    settings: GenerationSettings | None
    """The settings it was opened with; None without `Capability.SAMPLING`."""
    stops: ArmedStages
    clock: Clock

    @property
    def prompt(self) -> Prompt:
        """The prompt; no ids if it has none. A program may read one after the other."""

    @property
    def timeline(self) -> Timeline:
        """The current timeline."""

    @timeline.setter
    def timeline(self, timeline: Timeline) -> None:
        """Continue with another one: only between two runs, and only with `Capability.FORK`."""

    @property
    def processors(self) -> tuple[Stage, ...]:
        """The stages of this run's logits processors in order; known from the first event on."""

    @property
    def sampling(self) -> SamplingFacts | None:
        """How it chooses tokens, None if unknown; known from the first event on."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should know about how it runs; known from the first event on."""

    @property
    def generated(self) -> tuple[int, ...]:
        """The ids generated so far, without the one being chosen."""

    @property
    def cache(self) -> Any:
        """The KV cache of the current run as it is now; None if there is none (yet)."""

    def known_timeline(self, ids: Sequence[int], settings: tuple[tuple[int, GenerationSettings], ...]) -> Timeline:
        """A timeline of known tokens that have not been run, as from a saved session. Needs `Capability.FORK`."""

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield a stage event at every suspension; each is valid until the next one.

        The run starts with generated token `token`; any run after the first needs `Capability.GO_BACK`. From 0 the
        first event is always `tokenize`. The last event has `ended_by` set, armed or not. Raises LlmdbgError.
        """


@runtime_checkable
class Verifiable(Protocol):
    """A debuggee that can run without the debugger, to prove that the debugger changes nothing."""

    def untouched(self, tokens: int) -> tuple[list[int], list[int]]:
        """Generate `tokens` tokens from the prompt with no loop or hook of ours. No run may be active.

        Returns the generated ids, and for each a hash of the bits of its raw logits, as in `Timeline.fingerprints`.
        """


@runtime_checkable
class Reopenable(Protocol):
    """A debuggee that can be opened once more, to run beside itself or with another model in its place."""

    def reopened(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings) -> Debuggee:
        """Another debuggee of the same kind; nothing runs yet. Raises PromptError."""


@runtime_checkable
class HasFrames(Protocol):
    """A debuggee whose Python frames can be read while it is suspended."""

    def frames(self) -> Sequence[FrameType]:
        """The Python frames of the suspended run, innermost first; none if nothing is suspended."""


@runtime_checkable
class ComputesGradients(Protocol):
    """A debuggee that may go on into backward."""

    computes_gradients: bool
    """Whether the forward that runs, or the newest one, records what backward needs."""


@runtime_checkable
class Limited(Protocol):
    """A debuggee that says why it cannot do what it cannot."""

    def why_not(self, capability: Capability) -> str:
        """The reason, as what follows a colon."""


@runtime_checkable
class OwnForwards(Protocol):
    """A debuggee whose forwards cover other positions than a prompt's, and then one at a time."""

    def forward_positions(self, token: int) -> tuple[int, int]:
        """The first position that `token`'s forward covers, and how many it covers."""


def require(debuggee: Debuggee, *capabilities: Capability, instead: str = "") -> None:
    """Raise UnableError, in one line, for the first that a debuggee lacks; `instead` says what does work, if any."""
    for each in capabilities:
        if each not in debuggee.capabilities:
            why = f": {debuggee.why_not(each)}" if isinstance(debuggee, Limited) else ""
            raise UnableError(f"{printable(debuggee.name)} cannot {each.value}{why}{instead and f'; {instead}'}")


def live_model(debuggee: Debuggee) -> LoadedModel:
    """The model of a debuggee. Raises UnableError if it has none, like a recording."""
    require(debuggee, Capability.MODEL)
    assert debuggee.loaded is not None
    return debuggee.loaded
