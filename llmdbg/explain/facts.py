"""What an explanation may mention: this run's own words and numbers, as plain frozen values.

`debugger/inspection/explaining.py` fills them. What was not asked for or cannot be known is left out (None, or empty),
and so is the sentence about it. Texts of tokens are as the vocabulary has them; probabilities and shares are from 0
to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmdbg.models.spec import LoadingFacts
from llmdbg.models.stages import Phase, Stage


class ModuleRole(StrEnum):
    """What a module is for. `OTHER` has no text of its own."""

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
    """The model that runs."""

    name: str
    """How it is called in headers and messages."""
    architecture: str
    """The model's class name."""
    layers: int
    """How many decoder layers it has."""
    parameters: int
    """How many weights it has; 0 if that is not known."""
    bytes: int
    """What the weights take in memory; 0 if that is not known."""
    dtype: str
    """The dtype of the weights, without `torch.`."""
    device: str
    """The device, or several joined by +."""
    vocabulary: int
    """How many rows the embedding has."""
    width: int | None
    """The width of the residual stream; None if the configuration does not give it."""
    context: int | None
    """The number of positions it was built for; None if it has no such limit."""
    tied: bool
    """Whether the embedding and the output head are the same tensor."""
    head: bool
    """Whether there is an output head at all."""
    splits_by: str | None
    """The kind of tokenizer, such as `BPE`; empty if that was not recorded, None without a tokenizer."""
    attends: bool
    """Whether any module is an attention."""
    cached: bool
    """Whether earlier positions are kept in a cache."""
    loading: LoadingFacts | None
    """How the weights were loaded; None if llmdbg did not load them."""


@dataclass(frozen=True, slots=True)
class SplitWord:
    """A word of the prompt that no single token stands for."""

    word: str
    """Without the space before it."""
    pieces: tuple[str, ...]
    """The texts of the tokens it became."""


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """The prompt as tokens."""

    tokens: int
    """How many there are, padding included."""
    special: int
    """How many of them are special tokens."""
    padding: int
    """How many of the first ones are masked padding."""
    split: tuple[SplitWord, ...]
    """Words that became several tokens; filled only at `tokenize`."""


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What was found out about a module from the module itself."""

    name: str
    """The last part of its address."""
    class_name: str
    """The name of its class."""
    role: ModuleRole
    """What it is for."""
    parts: tuple[str, ...]
    """The names of the modules directly inside it."""
    weights: int | None
    """How many weights it has, those of the modules inside included; None if that is not known."""
    sizes: tuple[int, int] | None = None
    """How many numbers a projection takes and gives; None for other modules."""
    fused: tuple[tuple[str, int], ...] = ()
    """Of a projection that is several in one, the name of each and how many numbers it gives, in order."""
    heads: tuple[int, int] | None = None
    """Query heads, and heads of keys and values; None if it is not an attention or the configuration has none."""
    window: int | None = None
    """How many positions an attention's sliding window spans; None without one."""
    experts: tuple[int, int] | None = None
    """How many experts there are, and how many each position uses; None without experts."""
    checked: str | None = None
    """The formula that its own output was checked against; None if none matched."""
    formula: str | None = None
    """A formula inferred only from its parts and their sizes; None if none can be."""
    widens: tuple[int, int] | None = None
    """How wide vectors are outside and inside an MLP; None if that is not known."""
    tried: bool = True
    """Whether its own forward could be tried out; not that of a recorded module."""


@dataclass(frozen=True, slots=True)
class PredictedToken:
    """A token and its probability."""

    text: str
    """The token's text."""
    prob: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class AttentionFacts:
    """What an attention reads from, on average over its heads."""

    layer: int | None
    """The number of its layer; None outside the layers."""
    position: int
    """The position that reads."""
    heads: int
    """How many heads there are."""
    read: tuple[tuple[int, str, float], ...]
    """Position, token and share of what is read, the largest share first."""
    first: float
    """The share of the first position."""


@dataclass(frozen=True, slots=True)
class ProcessorFacts:
    """What one logits processor did."""

    name: str
    """The last part of its address: `top_p`."""
    setting: float | None
    """The value of its setting; None if that is not known."""
    leader: str
    """The likeliest token after it."""
    before: float
    """That token's probability before it."""
    after: float
    """That token's probability after it."""
    cut: int
    """How many tokens it cut."""
    left: int
    """How many tokens may still be chosen."""
    deposed: tuple[str, float, float] | None = None
    """The token that led before it, with its probability before and after; None if that is still the likeliest."""


@dataclass(frozen=True, slots=True)
class ChoiceFacts:
    """How a token was chosen."""

    text: str
    """The token."""
    prob: float
    """Its probability in the distribution it was chosen from."""
    rank: int | None
    """Its rank there, 1 for the likeliest; None if that was not recorded."""
    raw: float | None
    """Its probability before any processor; None if it was not measured."""
    greedy: bool
    """Whether the highest score is always taken."""
    runner_up: PredictedToken | None
    """The likeliest other token that might have been chosen; None if there is none."""
    forced: bool
    """Whether the user forced the token."""
    banned: tuple[str, ...]
    """The tokens that the user banned here."""
    led: tuple[int, ...] | None
    """The layers after which the logit lens had the token as the likeliest; None without a lens."""
    asked_layers: tuple[int, ...]
    """The layers that the lens was asked about."""
    ended_by: str | None
    """Why generation ends with this token, as a stop's `ended_by`; None if it does not."""
    banned_leader: PredictedToken | None
    """The likeliest token of all, as likely as without the ban, if the user banned it; None otherwise."""
    ended_with: str | None
    """The stop string or stopping criterion, as a stop's `ended_with`; None otherwise."""


@dataclass(frozen=True, slots=True)
class StageFacts:
    """Everything that is known about one stage. Numbers that are NaN or infinite are left out."""

    stage: Stage
    """The stage that is explained."""
    here: bool
    """Whether the run stands at this stage. If not, nothing of this run is mentioned."""
    phase: Phase
    """The phase the run is in."""
    token: int
    """The generated token that is being produced, from 0."""
    model: ModelFacts
    """The model that runs."""
    prompt: PromptFacts
    """What it was given."""
    first: int
    """The first position that goes through the model in this forward."""
    fed: int
    """How many do."""
    at: tuple[int, str] | None = None
    """The position and token that the numbers describe."""
    shape: tuple[int, ...] | None = None
    """The shape of the stage's output."""
    dtype: str | None = None
    """The dtype of the stage's output."""
    norm: float | None = None
    """The length of the vector at `at`."""
    not_finite: int = 0
    """How many values of the output are NaN or infinite."""
    edited: tuple[int, ...] = ()
    """The numbers of the user's edits that change this stage's input or output."""
    looked_up: bool | None = None
    """Whether the embedding's output is the row of its table itself; None if that is not known."""
    padding_here: bool = False
    """Whether the position at `at` is padding."""
    ms: float | None = None
    """How long the stage took, in milliseconds."""
    moved: tuple[float, float] | None = None
    """The relative change and the cosine between the stage's input and output at `at`."""
    part: ModuleFacts | None = None
    """The module that runs the stage."""
    guesses: tuple[PredictedToken, ...] = ()
    """The likeliest next tokens: by the lens before `logits`, by the scores from there on."""
    no_lens: str = ""
    """Why there is no lens; empty if there is one."""
    entropy: float | None = None
    """The entropy of the scores, in nats; None before there are any."""
    left: int | None = None
    """How many tokens may still be chosen; None before there are scores."""
    reads: AttentionFacts | None = None
    """What the attention of this layer reads from."""
    processor: ProcessorFacts | None = None
    """What this stage did to the scores; None if it is not a processor."""
    steps: tuple[ProcessorFacts, ...] = ()
    """What every processor so far did to the scores."""
    choice: ChoiceFacts | None = None
    """How the token was chosen; None before `sample`."""
