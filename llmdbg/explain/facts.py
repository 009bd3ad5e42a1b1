"""What an explanation may speak of: this run's own words and numbers, as plain frozen values.

Whoever fills them (`debugger/explaining.py`) leaves out what was not asked for or cannot be known: the sentence about
it is then left out as well. Texts of tokens are as the vocabulary has them; probabilities and shares are from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmdbg.models.spec import LoadingFacts
from llmdbg.models.stages import Phase, Stage


class ModuleRole(StrEnum):
    """What a module is for. `OTHER` is honest: no text of its own."""

    ATTENTION = "attention"
    MLP = "MLP"
    NORM = "norm"
    PROJECTION = "projection"
    ROTARY = "rotary position"
    ROUTER = "router"
    EXPERTS = "experts"
    MIXTURE = "mixture of experts"
    DROPOUT = "dropout"
    ACTIVATION = "activation"
    STATE_SPACE = "state-space model"
    RECURRENT = "recurrent part"
    CONVOLUTION = "convolution"
    TABLE = "table"
    LAYER = "layer"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that runs. `width` is that of the residual stream; None is what the configuration does not say.

    `tied` is whether embedding and output head are one tensor, `head` whether there is an output head at all, `attends`
    whether any module is an attention; `cached` says that earlier positions are kept in a cache.
    """

    name: str
    architecture: str
    layers: int
    parameters: int
    bytes: int
    dtype: str
    device: str
    vocabulary: int
    width: int | None
    context: int | None
    tied: bool
    head: bool
    splits_by: str | None
    attends: bool
    cached: bool
    loading: LoadingFacts | None


@dataclass(frozen=True, slots=True)
class SplitWord:
    """A word of the prompt that no one token stands for, and the texts of the tokens it became."""

    word: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """The prompt: how many tokens, special ones among them, and masked padding in front; words that were split."""

    tokens: int
    special: int
    padding: int
    split: tuple[SplitWord, ...]


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What was found out about a module by asking it.

    `parts` are the names of the modules inside, `weights` how many numbers it has learned, `sizes` what a projection
    takes and gives, `heads` query heads and heads of keys and values, `widens` how wide vectors are outside and inside
    an MLP. `checked` is the formula that its output was held against, `formula` one that only its parts and their sizes
    speak for.
    """

    name: str
    class_name: str
    role: ModuleRole
    parts: tuple[str, ...]
    weights: int
    sizes: tuple[int, int] | None = None
    heads: tuple[int, int] | None = None
    window: int | None = None
    experts: tuple[int, int] | None = None
    checked: str | None = None
    formula: str | None = None
    widens: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class PredictedToken:
    """A token and its probability."""

    text: str
    prob: float


@dataclass(frozen=True, slots=True)
class AttentionFacts:
    """What an attention's heads read from, on average: (position, text, share), largest first, and the first's share.

    `position` is the one that reads.
    """

    layer: int | None
    position: int
    heads: int
    read: tuple[tuple[int, str, float], ...]
    first: float


@dataclass(frozen=True, slots=True)
class ProcessorFacts:
    """What one logits processor did: `setting` is its value, None where unknown.

    `leader` is the likeliest token after it, `before` and `after` that token's probabilities; `cut` tokens were
    excluded, `left` may still be chosen.
    """

    name: str
    setting: float | None
    leader: str
    before: float
    after: float
    cut: int
    left: int


@dataclass(frozen=True, slots=True)
class ChoiceFacts:
    """A token that was chosen. `raw` is its probability before any processor, None where nobody looked.

    `runner_up` is the likeliest other token. `forced` and `banned` are what the user made of the choice. `led` are the
    layers where the lens held it the likeliest, of `layers` that were asked, None where there is no lens.
    """

    text: str
    prob: float
    rank: int
    raw: float | None
    greedy: bool
    runner_up: PredictedToken | None
    forced: bool
    banned: tuple[str, ...]
    led: tuple[int, ...] | None
    asked_layers: tuple[int, ...]
    ended_by: str | None


@dataclass(frozen=True, slots=True)
class StageFacts:
    """Everything about one stage. `here` says that the run stands there: else nothing of this run is told.

    `at` is the position and text of the token that the numbers are of; `shape` is that of the stage's output; `norm`
    the length of the vector at `at`; `moved` the relative change and cosine of what the stage did to it. `guesses` are
    what comes next by the lens before `logits` and by the scores from there on; `entropy` in nats, `left` the tokens
    that may still be chosen, both of the scores. `edited` are the numbers of the user's edits that change this stage's
    output or input here, `looked_up` whether the embedding gave its table's own row, None where that is not known;
    `padding_here` says that the position at `at` is padding. What is not finite (NaN, infinite) is left out, but for
    `not_finite`, which counts it.
    """

    stage: Stage
    here: bool
    phase: Phase
    token: int
    model: ModelFacts
    prompt: PromptFacts
    fed: int
    at: tuple[int, str] | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    norm: float | None = None
    not_finite: int = 0
    edited: tuple[int, ...] = ()
    looked_up: bool | None = None
    padding_here: bool = False
    ms: float | None = None
    moved: tuple[float, float] | None = None
    part: ModuleFacts | None = None
    guesses: tuple[PredictedToken, ...] = ()
    no_lens: str = ""
    entropy: float | None = None
    left: int | None = None
    reads: AttentionFacts | None = None
    processor: ProcessorFacts | None = None
    steps: tuple[ProcessorFacts, ...] = ()
    choice: ChoiceFacts | None = None
