"""What a stop of the tour shows of this run: a picture as frozen values, and everything its text may mention.

`debugger/inspection/tour_numbers.py` and `tour_chances.py` fill the pictures, `frontends/tour_drawing/` draws them.
Texts of tokens are as the vocabulary has them; probabilities and shares are from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmdbg.explain.facts import ModelFacts, ModuleFacts
from llmdbg.explain.tour_topics import Topic


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of the prompt."""

    position: int
    """Its position, from 0."""
    id: int
    """Its id."""
    text: str
    """Its text; for a special token, its name."""
    special: bool
    """Whether it is a special token."""
    share: float = 0.0
    """How much of it the last position reads; 0 where that is not the question."""


@dataclass(frozen=True, slots=True)
class PiecesPicture:
    """The prompt, token by token."""

    pieces: tuple[Piece, ...]
    """All of them, or the last ones of a long prompt."""
    earlier: int = 0
    """How many come before them."""
    only_special: bool = False
    """Whether the special ones are what it is about."""


@dataclass(frozen=True, slots=True)
class SpellingPicture:
    """How words are spelled with tokens."""

    words: tuple[tuple[str, tuple[tuple[int, str], ...]], ...]
    """Each word, with the id and text of its tokens."""


@dataclass(frozen=True, slots=True)
class WeightsPicture:
    """What the weights are, and how they came here."""

    files: tuple[tuple[str, int], ...]
    """Name and bytes of each file of weights; empty if they are not known."""
    kinds: tuple[tuple[str, int], ...]
    """What the weights are for, and their bytes in memory."""
    seconds: float | None
    """How long loading took; None if it was not measured."""


@dataclass(frozen=True, slots=True)
class TrafficPicture:
    """Bytes that go to where the computing is done, and come back."""

    weights: int
    """The weights, once."""
    prompt: int
    """The prompt's ids, once."""
    token: int
    """The id of each further token."""
    scores: int
    """The scores that come back for each token."""


@dataclass(frozen=True, slots=True)
class TablePicture:
    """The rows of the embedding's table that the prompt's last tokens were looked up in."""

    rows: tuple[tuple[int, str, tuple[float, ...]], ...]
    """Id, text and the first numbers of each row."""
    looked_up: int
    """The id of the last token."""
    width: int
    """How many numbers a row has in all."""


@dataclass(frozen=True, slots=True)
class ProductPicture:
    """One number of a matrix product: the input vector times one row of the weights, summed."""

    terms: tuple[tuple[int, float, float], ...]
    """Index, input and weight of the largest products, the largest first."""
    count: int
    """How many products there are in all."""
    others: float
    """The sum of all other products."""
    bias: float | None
    """What is added at the end; None without a bias."""
    row: int
    """Which row of the weights, and which number of the output."""
    rows: int
    """How many rows there are."""
    computed: float
    """The number that the model computed."""

    @property
    def total(self) -> float:
        """The sum of all products and the bias."""
        return sum(x * w for _, x, w in self.terms) + self.others + (self.bias or 0.0)


@dataclass(frozen=True, slots=True)
class ReadingPicture:
    """What the last position reads, token by token, on average over the heads of the first attention."""

    pieces: tuple[Piece, ...]
    """The tokens with their shares, or the last ones of a long prompt."""
    earlier: int
    """How many come before them."""
    earlier_share: float
    """How much of those is read."""
    heads: int
    """How many heads there are."""


@dataclass(frozen=True, slots=True)
class SharingPicture:
    """How heads share keys and values."""

    heads: int
    """Heads that read."""
    shared: int
    """Heads of keys and values."""
    per_token: int | None
    """Bytes that one position adds to the KV cache in this layer; None if unknown."""
    layers: int
    """How many layers there are."""


@dataclass(frozen=True, slots=True)
class WindowPicture:
    """How far back each position reads."""

    pieces: tuple[str, ...]
    """The last positions' tokens."""
    first: int
    """The position of the first of them."""
    window: int | None
    """How many positions a position reads, itself included; None for all of them."""


@dataclass(frozen=True, slots=True)
class StripsPicture:
    """Vectors on their way through a module."""

    strips: tuple[tuple[str, tuple[float, ...]], ...]
    """What each vector is, and its numbers."""


@dataclass(frozen=True, slots=True)
class LengthsPicture:
    """Lengths of vectors."""

    rows: tuple[tuple[str, float], ...]
    """What each is, and its length."""
    adds_up: bool
    """Whether the vectors in between were found to add up to the last one."""


@dataclass(frozen=True, slots=True)
class GrowthPicture:
    """The residual stream after each layer."""

    rows: tuple[tuple[str, float, str | None, float | None], ...]
    """After which stage, the vector's length, and the token that the lens predicts there with its probability."""
    no_lens: str
    """Why nothing is predicted; empty if something is."""


@dataclass(frozen=True, slots=True)
class Chance:
    """A token that may come next."""

    text: str
    """Its text."""
    before: float
    """Its probability before any setting."""
    after: float
    """Its probability afterwards; 0 if it is cut."""
    score: float
    """Its raw score, the logit."""
    chosen: bool = False
    """Whether it was chosen."""


@dataclass(frozen=True, slots=True)
class ScoresPicture:
    """The likeliest next tokens."""

    chances: tuple[Chance, ...]
    """The likeliest first."""
    others: float
    """What all other tokens have together."""
    left: int
    """How many tokens may be chosen."""


@dataclass(frozen=True, slots=True)
class SettingsPicture:
    """The distribution before and after the settings."""

    chances: tuple[Chance, ...]
    """The likeliest before any setting, in that order, and what leads afterwards."""
    others: tuple[float, float]
    """What all other tokens have together, before and after."""
    left: int
    """How many tokens may still be chosen."""
    after: str
    """What was done, in a few words: `temperature 0.8 · top-k 5`."""
    supposed: bool
    """Whether that is only supposed, since this run has no settings."""


@dataclass(frozen=True, slots=True)
class ChoicePicture:
    """The draw, and the token that it appends."""

    chances: tuple[Chance, ...]
    """The tokens from the likeliest on, the chosen one among them."""
    others: float
    """What all other tokens have together."""
    before: tuple[str, ...]
    """The last tokens before it."""
    chosen: str
    """The token."""
    greedy: bool
    """Whether the likeliest is always taken."""
    forced: bool = False
    """Whether the user forced the token."""
    banned: tuple[str, ...] = ()
    """The tokens that the user banned from this choice."""


@dataclass(frozen=True, slots=True)
class EndingPicture:
    """What can end the generation."""

    ends: tuple[tuple[str, float], ...]
    """The tokens that end it, and their probabilities here."""
    tokens: tuple[int, int | None]
    """How many tokens have been generated, and how many may be; None without a limit."""
    context: tuple[int, int | None]
    """How many positions there are, and how many the model was built for; None without a limit."""


@dataclass(frozen=True, slots=True)
class CachePicture:
    """What the KV cache spares."""

    kept: int
    """How many positions are kept."""
    fed: int
    """How many positions go through the model now."""
    layers: int
    """Through how many layers."""
    bytes: int | None
    """What is kept in all; None without a cache to read."""
    per_token: int | None
    """What a position adds; None if that is not known."""


TourPicture = (
    PiecesPicture
    | SpellingPicture
    | WeightsPicture
    | TrafficPicture
    | TablePicture
    | ProductPicture
    | ReadingPicture
    | SharingPicture
    | WindowPicture
    | StripsPicture
    | LengthsPicture
    | GrowthPicture
    | ScoresPicture
    | SettingsPicture
    | ChoicePicture
    | EndingPicture
    | CachePicture
)


@dataclass(frozen=True, slots=True)
class TourFacts:
    """Everything that the text of a stop may mention."""

    topic: Topic
    """What the stop is about."""
    route: str
    """The route."""
    address: str
    """The stage."""
    model: ModelFacts | None
    """The model; None for a debuggee without one."""
    is_mistral: bool
    """Whether it is of Mistral's architecture."""
    tokens: int
    """How many tokens the prompt has."""
    special: tuple[str, ...]
    """The names of the special tokens in the prompt, each once, in their order."""
    begins_with: str | None
    """The special token that the prompt begins with; None if it begins with text."""
    chat: bool
    """Whether a chat template was put around the prompt, as far as its special tokens show."""
    last: str
    """The last token of the prompt."""
    part: ModuleFacts | None = None
    """The module that runs the stage."""
    layer_weights: int | None = None
    """How many weights the whole layer around that module has; None if it is in none."""
    sampling: str = ""
    """How tokens are chosen, in a few words."""
    samples: bool = False
    """Whether tokens are drawn at random."""
    picture: TourPicture | None = None
    """The picture; None if there is nothing to draw."""
    not_drawn: str = ""
    """Why there is no picture; empty if there is one."""


@dataclass(frozen=True, slots=True)
class TourPage:
    """One stop of the tour: one thing, said and shown."""

    number: int
    """Which stop it is, from 1; 0 before the first."""
    of: int
    """How many there are."""
    title: str
    """The stop's title; empty between two stops."""
    key: str
    """The one thing, in a sentence or two. The model's words are in double quotes, unsafe to display."""
    plain: tuple[str, ...]
    """Paragraphs for anybody."""
    note: str = ""
    """On the route of a model that is not the one loaded: what would be different there. Empty if nothing is."""
    terms: tuple[str, ...] = ()
    """The names of the glossary entries that the texts mention."""
    facts: TourFacts | None = field(default=None)
    """What all of it was made from; None between two stops."""
