"""The words of the tour's stops: a key sentence each, and a few more for whoever wants them.

Each stop can be understood by somebody who has only read what a token is. Numbers are of this run, and what is not
known is left out. The texts have to fit a terminal of 80x24 beside their picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain import tour_mistral_text as mistral
from llmdbg.explain.facts import ModuleRole
from llmdbg.explain.glossary import terms_in
from llmdbg.explain.tour_chances_text import (
    about_cache,
    about_choice,
    about_ending,
    about_scores,
    about_settings,
)
from llmdbg.explain.tour_facts import (
    GrowthPicture,
    LengthsPicture,
    ProductPicture,
    ReadingPicture,
    StripsPicture,
    TablePicture,
    TourFacts,
    TourPage,
)
from llmdbg.explain.tour_routes import MISTRAL
from llmdbg.explain.tour_topics import Topic
from llmdbg.formatting import counted, percent_in_prose, quote, quote_list, significant

if TYPE_CHECKING:
    from collections.abc import Callable

Words = tuple[str, ...]
"""The key sentence, and then the others."""

_MOST_NAMED = 3


def page(number: int, of: int, title: str, facts: TourFacts) -> TourPage:
    """The page of a stop, mentioning only what the facts hold."""
    key, *plain = (text for text in _ABOUT[facts.topic](facts) if text)
    note = mistral.what_differs(facts) if facts.route == MISTRAL and not facts.is_mistral else ""
    return TourPage(number, of, title, key, tuple(plain), note, terms_in(" ".join((key, *plain))), facts)


def between_stops(number: int, of: int) -> TourPage:
    """What stands there while the run is between two stops of the tour."""
    key = "The run stands between two stops of the tour: n or Enter goes on to the next."
    if number == of:
        key = "The run is past the last stop of the tour: N goes back to it."
    return TourPage(number, of, "", key, ())


def _pieces(facts: TourFacts) -> Words:
    several = facts.tokens != 1
    became = f"{facts.tokens:,} pieces, each with a number" if several else "one piece, with a number"
    size = None if facts.model is None else facts.model.vocabulary
    listed = f"a fixed list of {size:,} pieces" if size else "a fixed list of pieces"
    if facts.model is not None and facts.model.splits_by is None:
        return (
            f"A model reads no letters, only numbers: your text became {became}.",
            "This model comes without a tokenizer, so each byte of the text is one token, and its id is the byte.",
        )
    return (
        f"A model reads no letters, only numbers. A tokenizer cut the prompt into {became}.",
        f"A piece is called a token, its number an id: its place in {listed}, the vocabulary. The ids are all "
        "that the model gets, and every token it writes comes from the same list.",
        "There are more pieces than words, since only frequent words have a place of their own: the others are "
        "spelled with several. Punctuation and line breaks (⏎) are tokens too, and the space before a word belongs "
        "to the word's token.",
    )


def _marks(facts: TourFacts) -> Words:
    if not facts.special:
        return (
            "Some tokens are not text but marks, such as one for the beginning or for the end. Your prompt has none.",
            "They are called special tokens. Chat models need them: their training texts had marks where a text "
            "begins, who speaks and where an answer ends. A chat template puts them around your words (`--chat`); the "
            "mark of the end is how a model says that it has finished.",
        )
    are = "is" if len(facts.special) == 1 else "are"
    return (
        f"Some tokens are not text but marks: {quote_list(facts.special[:_MOST_NAMED])} {are} here "
        "to tell the model where the parts of the text begin and end.",
        "They are called special tokens. The model's training texts had them where a text begins, where another "
        "speaker begins and where an answer ends, so it has learned what comes after each. "
        + ("The chat template put them around your words, and may put an instruction before these. " * facts.chat)
        + "Without such marks a model goes on with your text instead of answering it.",
        "The model writes them too: with the mark of the end it says that it has finished.",
    )


def _embedding(facts: TourFacts) -> Words:
    picture, model = facts.picture, facts.model
    width = picture.width if isinstance(picture, TablePicture) else None if model is None else model.width
    numbers = counted(width, "number") if width else "numbers"
    return (
        f"Each id is looked up in a table, the embedding. From here on, its row of {numbers} stands for the token.",
        "Nobody chose the numbers: they were learned in training, and tokens that are used alike have rows that are "
        "alike. A row of numbers is called a vector; from now on, each position of the text has one.",
        "Above are the rows of the prompt's last tokens, a cell for each number: ░▒▓█ for positive and ,-=X for "
        "negative ones, the fuller the larger."
        if isinstance(picture, TablePicture)
        else "",
    )


def _product(facts: TourFacts) -> Words:
    picture = facts.picture
    if not isinstance(picture, ProductPicture):
        return (
            "Nearly all that a model does is multiply and add: numbers of a vector times learned weights, summed up.",
        )
    return (
        f"Nearly all that a model does is multiply and add: each of the vector's {counted(picture.count, 'number')} "
        "times a weight, all summed, makes one new number.",
        f"Weights were learned in training and never change while a model runs. Those of `{facts.address}`, in its "
        f"first layer, have {counted(picture.rows, 'row')}: each makes one number, and all of them a new vector. "
        f"This is a matrix product. Above is row {picture.row}, which made the largest number for the last position.",
        "Most models first bring the vector to a common size, with a norm: so its numbers are not those of the "
        "embedding.",
    )


def _attention(facts: TourFacts) -> Words:
    picture = facts.picture
    found = ""
    if isinstance(picture, ReadingPicture) and picture.pieces:
        most = max(picture.pieces, key=lambda each: each.share)
        found = (
            f" Here the last one, {quote(facts.last)}, reads most from {quote(most.text)} at position {most.position}: "
            f"{percent_in_prose(most.share)}."
        )
    heads = (
        f"{picture.heads} times side by side, in heads that look for different things; the bars show their mean"
        if (isinstance(picture, ReadingPicture) and picture.heads > 1)
        else "in heads that look for different things"
    )
    return (
        f"Attention is how a position learns of the others: it reads from itself and those before it.{found}",
        "Matrix products give each position a query (what it looks for), a key (what it offers) and a value (what it "
        "hands over). The "
        "better a query fits a key, the more of that value is read; the shares add up to 100%. "
        f"This happens {heads}.",
        "It never reads from later positions: while the model writes, there are none yet. In later layers much of the "
        "reading often goes to the very first token, where heads look when nothing fits.",
    )


def _state(_: TourFacts) -> Words:
    return (
        "This model has no attention here: it reads the positions in order and keeps what it needs in a state of fixed "
        "size.",
        "So what an earlier position knew reaches a later one only through that state. It takes the same space "
        "however long the text is.",
        "The strips above are the vector of the last position before and after.",
    )


def _mlp(facts: TourFacts) -> Words:
    part, weights = facts.part, facts.layer_weights
    share = ""
    if part is not None and part.weights is not None and weights:
        share = f" {percent_in_prose(part.weights / weights)} of this layer's weights are here."
    if part is not None and part.role is ModuleRole.MIXTURE:
        experts = (
            "" if part.experts is None else f" Of {part.experts[0]} experts, each position uses {part.experts[1]}."
        )
        return (
            f"Then each position is processed by itself, by a few of several MLPs: a mixture of experts.{experts}",
            "Attention has brought in what other positions hold; the MLPs work on it. A router decides which of them, "
            f"so that a model can know more without computing more.{share}",
        )
    sizes = ""
    if part is not None and part.widens is not None:
        narrow, wide = part.widens
        sizes = f": {narrow:,} numbers become {wide:,}, and those {narrow:,} again"
    inside = ""
    if isinstance(facts.picture, StripsPicture) and len(facts.picture.strips) > 2:
        inside = ' In the strip "inside" each cell is a pattern, and only the fullest matter much for this token.'
    return (
        f"Then each position is processed by itself, in an MLP{sizes}.",
        "Attention has brought in what other positions hold; the MLP (multi-layer perceptron) works on it and looks at "
        "no other position. It compares the vector with many learned patterns, keeps what fits, and adds what usually "
        f"follows from that: much of what a model knows is stored here.{share}{inside}",
    )


def _stream(facts: TourFacts) -> Words:
    layers = None if facts.model is None else facts.model.layers
    picture = facts.picture
    explained = (
        "The bars are lengths of vectors: how large their numbers are, taken together (the square root of the sum "
        "of their squares)."
    )
    if isinstance(picture, LengthsPicture) and picture.adds_up:
        explained += " They need not add up like numbers, since vectors may point in different directions."
    attends = facts.model is None or facts.model.attends
    layer = "A layer, attention and an MLP together," if attends else "A layer"
    parts = ": attention adds what it read elsewhere, the MLP what it made of it" * attends
    return (
        f"{layer} does not replace the vector but adds to it. The vector that all layers read and add to is the "
        "residual stream.",
        f"It is like a notebook handed from layer to layer{parts}. "
        f"This model has {counted(layers or 0, 'layer')}, of the same build, each with weights of its own.",
        explained if isinstance(picture, LengthsPicture) else "",
    )


def _length(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else significant(value)


def _growth(facts: TourFacts) -> Words:
    picture = facts.picture
    grown, forms = "", ""
    if isinstance(picture, GrowthPicture) and len(picture.rows) > 1:
        first, last = picture.rows[0], picture.rows[-1]
        grown = f": its length went from {_length(first[1])} to {_length(last[1])}"
        said = [(address, text) for address, _, text, _ in picture.rows if text is not None]
        if said:
            final = said[-1][1]
            leads = next(address for address, text in said if text == final)
            after = "only after the last layer" if leads == said[-1][0] else f"for the first time after layer {leads}"
            own = said[0][1] == facts.last
            forms = (
                f"{' At first it is still the token itself that is read back.' * own} In the end it says "
                f"{quote(final)}, which leads {after}."
            )
    return (
        f"Every layer has added its part to the vector of the last position{grown}.",
        "The bars are the vector's length after each layer. The token beside them is what the model would say if it "
        "stopped there: the logit lens does early what the next stop does at the end. The first layers have little "
        f"idea of what comes next.{forms}"
        if not (isinstance(picture, GrowthPicture) and picture.no_lens)
        else "The bars are the vector's length after each layer.",
    )


_ABOUT: dict[Topic, Callable[[TourFacts], Words]] = {
    Topic.PIECES: _pieces,
    Topic.MARKS: _marks,
    Topic.BEGINNING: mistral.about_beginning,
    Topic.SPELLING: mistral.about_spelling,
    Topic.CHAT: mistral.about_chat,
    Topic.LOADING: mistral.about_loading,
    Topic.DEVICE: mistral.about_device,
    Topic.EMBEDDING: _embedding,
    Topic.PRODUCT: _product,
    Topic.SHARED_KEYS: mistral.about_shared_keys,
    Topic.ATTENTION: _attention,
    Topic.WINDOW: mistral.about_window,
    Topic.STATE: _state,
    Topic.MLP: _mlp,
    Topic.STREAM: _stream,
    Topic.GROWTH: _growth,
    Topic.SCORES: about_scores,
    Topic.SETTINGS: about_settings,
    Topic.CHOICE: about_choice,
    Topic.ENDING: about_ending,
    Topic.CACHE: about_cache,
}
