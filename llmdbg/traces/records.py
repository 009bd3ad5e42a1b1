"""What a recording holds, as frozen values. Reading them needs NumPy, and neither torch nor transformers.

A recording is a run's header, a record for every token, and a record for every stage of every token. The files are
described in `docs/trace-format.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llmdbg.engine.layout import REPLICATED, Layout
from llmdbg.models.stages import Phase, Stage, StageKind
from llmdbg.probes.value_statistics import ValueStatistics

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
"""The version of the format, increased whenever an older reader could misread what is written."""


@dataclass(frozen=True, slots=True)
class StageEntry:
    """A stage of the recorded run."""

    kind: StageKind
    """What sort of place it is."""
    address: str
    """How a person names it, and how records name it."""
    module: str | None = None
    """The dotted path in the module tree; None for a stage that no module runs."""
    module_class: str | None = None
    """The class of that module, without its package."""
    layer: int | None = None
    """The number of its decoder layer, from 0; None outside the layers."""
    depth: int = 1
    """As `Stage.depth`."""

    @property
    def stage(self) -> Stage:
        """The stage by itself."""
        return Stage(self.kind, self.address, self.module, self.layer, self.depth)


@dataclass(frozen=True, slots=True)
class ParameterIdentity:
    """Which weight a parameter or buffer is, without its values."""

    name: str
    """Its dotted name in the model."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Without `torch.`."""
    hash: int | None = None
    """A signed 64-bit hash of its bits (`engine/fingerprints.py`); None if it was not in memory."""
    tied_to: str | None = None
    """The first name of the same tensor, where it has several; None for that first one."""


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """What the model was fed at the start, and how it was made."""

    ids: tuple[int, ...] = ()
    """The ids, padding included."""
    tokens: tuple[str, ...] = ()
    """The text of each id; empty if the run had no tokenizer."""
    special: tuple[bool, ...] = ()
    """Whether each id is a special token; empty if that is not known."""
    mask: tuple[int, ...] = ()
    """The attention mask: 1 for each id that is seen, 0 for padding."""
    typed: str | None = None
    """The text as the user gave it; None if only the ids are known."""
    rendered: str | None = None
    """The text that was cut into tokens, after the chat template; None if only the ids are known."""
    chat: bool = False
    """Whether the text went through the chat template."""
    system: str | None = None
    """The system message, if there was one."""
    left_pad: int = 0
    """How many of the first ids are padding."""
    notes: tuple[str, ...] = ()
    """Sentences about how the text was tokenized."""


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What a recorded run was: everything that does not change from token to token."""

    stages: tuple[StageEntry, ...]
    """The stages that were known when the run began, in the order in which they complete."""
    format: int = FORMAT
    """The version of the format."""
    written_by: str = ""
    """Which program wrote it, and its version: `llmdbg 0.2`."""
    created: str = ""
    """When, in ISO 8601."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions by package: `python`, `torch`, `transformers` and so on."""
    platform: str = ""
    """The operating system and processor."""
    threads: int | None = None
    """How many threads torch computed with."""
    device: str = ""
    """Where the model was, several joined by +."""
    gpus: tuple[str, ...] = ()
    """The product names of the GPUs among them."""
    dtype: str = ""
    """The dtype of the weights."""
    attn: str = ""
    """The attention implementation; `none` for a model without a choice of them."""
    model: str = ""
    """The model's name."""
    model_class: str = ""
    """The class of the model."""
    config: dict[str, Any] = field(default_factory=dict)
    """The model's configuration."""
    context_length: int | None = None
    """How many positions the model was built for."""
    vocabulary_size: int | None = None
    """How many ids it has embeddings for."""
    weights: tuple[ParameterIdentity, ...] = ()
    """Its parameters and persistent buffers; empty if they were not recorded."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The generation settings that were given."""
    sampling: dict[str, Any] = field(default_factory=dict)
    """How tokens were chosen in effect: `description`, `samples`, `limit`, `values`."""
    generation_config: dict[str, Any] = field(default_factory=dict)
    """The model's own generation config."""
    prompt: PromptRecord = field(default_factory=PromptRecord)
    """What the model was fed at the start."""
    tensors: str = "none"
    """Which whole tensors were kept: `none`, `last`, `all`, `inputs`, or addresses."""
    ranks: tuple[str, ...] = ()
    """The device of each rank, in their order; empty if one process ran it."""
    notes: tuple[str, ...] = ()
    """Sentences about how it ran, or how it was recorded."""
    rows_per_shard: int = 32_768
    """How many rows each file of a table holds, but for the last."""


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A token that could have come next."""

    id: int
    """The token."""
    text: str
    """Its text."""
    logit: float
    """Its score."""
    prob: float
    """Its probability, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class ScoresRecord:
    """The scores after the raw logits or after one processor."""

    address: str
    """The stage."""
    candidates: tuple[CandidateRecord, ...] = ()
    """The likeliest tokens, the likeliest first; none that is cut."""
    entropy: float | None = None
    """Shannon's, in nats."""
    left: int | None = None
    """How many tokens are not cut: scores above minus infinity."""
    cut: int = 0
    """How many tokens this processor has cut."""


@dataclass(frozen=True, slots=True)
class RankChoice:
    """How a rank chose a token, where it did so otherwise than rank 0."""

    rank: int
    """Its number, from 0."""
    id: int
    """The token that it chose."""
    text: str
    """Its text."""
    prob: float | None = None
    """Its probability where it was chosen, from 0 to 1."""
    scores: tuple[ScoresRecord, ...] = ()
    """As `TokenRecord.scores`."""


@dataclass(frozen=True, slots=True)
class UnequalRecord:
    """What should have been equal on all ranks at a stage and was not."""

    row: int
    """Which of the token's rows, from 0."""
    found: tuple[str, ...]
    """Sentences that name the rank and the value, the first one first."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token, and the forward that produced it."""

    index: int
    """It counts generated tokens, from 0; without `generate()`, forwards."""
    phase: Phase = Phase.DECODE
    """`prefill` for the forward over the prompt."""
    id: int | None = None
    """The token that was chosen; None if no choice was seen."""
    text: str | None = None
    """Its text."""
    prob: float | None = None
    """Its probability where it was chosen, from 0 to 1."""
    scores: tuple[ScoresRecord, ...] = ()
    """The candidates at the raw logits and after each processor, in order."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings in force; empty where they are those of the token before."""
    force: int | None = None
    """The id that the user forced."""
    ban: tuple[int, ...] = ()
    """The ids that the user banned."""
    random_state: int | None = None
    """A hash of the random generators' state before the choice; None if it was not recorded."""
    positions: tuple[int, ...] | None = None
    """The position ids of the forward; None if they were not seen."""
    first_position: int | None = None
    """The place in the sequence of the forward's first position; None if not known."""
    length: int | None = None
    """Over how many positions the forward ran."""
    ms: float | None = None
    """Milliseconds that the forward and the choice took."""
    ended_by: str | None = None
    """Why generation ended with it; None if it went on."""
    ended_with: str | None = None
    """As `StageEvent.ended_with`."""
    first_row: int = 0
    """The first of its rows in the table of stages."""
    rows: int = 0
    """How many rows it has there."""
    first_rank_row: int = 0
    """The first of its rows in the table of ranks."""
    rank_rows: int | None = None
    """How many rows it has there; None where it was not recorded what each rank held."""
    ranks: tuple[RankChoice, ...] = ()
    """The ranks that chose it otherwise than rank 0, or from other scores."""
    unequal: tuple[UnequalRecord, ...] = ()
    """What should have been equal on all ranks and was not, by stage."""

    @property
    def entropy(self) -> float | None:
        """Of the distribution it was chosen from, in nats."""
        return self.scores[-1].entropy if self.scores else None


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """What is known of each position of a tensor."""

    hashes: np.ndarray[Any, Any]
    """A hash of each position's bits: (positions,) int64."""
    sketch: np.ndarray[Any, Any]
    """A projection of each position's vector (`sketch.py`): (positions, 16) float32."""


class PositionSource(Protocol):
    """Where the hashes and sketches of a record are: in memory, or in a file until they are asked for."""

    def read(self) -> Positions:
        """Read them. Raises TraceError."""


@dataclass(frozen=True, slots=True)
class KnownPositions:
    """A source of what is in memory."""

    positions: Positions
    """What `read` returns."""

    def read(self) -> Positions:
        """What is known of each position."""
        return self.positions


@dataclass(frozen=True, slots=True)
class StageLayouts:
    """How the tensors of a stage lie on the ranks, in order; None of one of which that is not known."""

    takes: tuple[Layout | None, ...] = ()
    """Those among its positional arguments."""
    returns: tuple[Layout | None, ...] = ()
    """Those of its output."""


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """What one rank alone held of a stage's main output: its part, or its own copy where that was not rank 0's."""

    rank: int
    """Its number, from 0."""
    shape: tuple[int, ...]
    """Of what it held."""
    dtype: str
    """Without `torch.`."""
    device: str
    """The rank's."""
    statistics: ValueStatistics | None
    """Over what it held; None where they were not recorded."""
    hash: int | None
    """Of its bits; None where it was not recorded."""


@dataclass(frozen=True, slots=True)
class NotFiniteRecord:
    """Values that are not finite of one rank alone, of what a sum over all ranks has been made of."""

    rank: int
    """Its number, from 0."""
    in_sum: bool
    """Whether they are in what the rank added; else in its part of what the stage was given."""
    nan: int
    """How many are NaN."""
    inf: int
    """How many are infinite."""


@dataclass(frozen=True, slots=True)
class RanksRecord:
    """What was recorded of the ranks at a stage."""

    held: tuple[HeldRecord, ...] = ()
    """Of each rank where the main output is split; else of those whose own is not rank 0's."""
    not_finite: tuple[NotFiniteRecord, ...] = ()
    """Of the ranks that have any."""
    unequal: tuple[str, ...] = ()
    """What should have been equal and was not, in sentences."""


@dataclass(frozen=True, slots=True, eq=False)
class StageRecord:
    """What a stage returned for a token. Of several tensors, all but `tensors` is about the first."""

    token: int
    """The token that was being produced."""
    address: str
    """The stage."""
    phase: Phase
    """Of the forward."""
    shape: tuple[int, ...]
    """Of its output."""
    dtype: str
    """Of its output, without `torch.`."""
    device: str = "cpu"
    """Of its output."""
    statistics: ValueStatistics | None = None
    """Over the whole output; None for an empty one, or where they were not recorded."""
    hash: int | None = None
    """A hash of the output's bits that does not depend on its layout; None if it was not recorded."""
    positions: int = 0
    """How many positions have a hash and a sketch."""
    by_position: bool = True
    """Whether these are positions of the sequence; else they are rows of the last dimension."""
    input_width: int | None = None
    """How wide the vectors are that it was given; None if not one tensor with a vector for each position."""
    ms: float | None = None
    """Milliseconds that the stage took; None if not measured."""
    call: int = 0
    """Which call of the stage in this forward, from 0: a module may run several times."""
    tensors: tuple[str, ...] = ()
    """The names of the whole tensors that were kept: `output`, `output.1`, `input.hidden_states`."""
    source: PositionSource | None = None
    """Where `position_hashes` and `sketch` come from; None if they were not recorded."""
    layouts: StageLayouts | None = None
    """How its tensors lie on the ranks; None if each holds all of them, or one process ran it."""
    ranks: RanksRecord | None = None
    """What each rank held; None where that was not recorded, as of a token that was interrupted."""

    @property
    def layout(self) -> Layout | None:
        """How its main output lies on the ranks; None where that is not known."""
        if self.layouts is None:
            return REPLICATED
        return self.layouts.returns[0] if self.layouts.returns else None

    @property
    def is_split(self) -> bool:
        """Whether each rank held a part of its main output only."""
        return self.layout is not None and self.layout.is_split

    @property
    def position_hashes(self) -> np.ndarray[Any, Any] | None:
        """A hash of each position's bits: (positions,) int64; None if they were not recorded. Raises TraceError."""
        return None if self.source is None else self.source.read().hashes

    @property
    def sketch(self) -> np.ndarray[Any, Any] | None:
        """A projection of each position: (positions, 16) float32; None if not recorded. Raises TraceError."""
        return None if self.source is None else self.source.read().sketch
