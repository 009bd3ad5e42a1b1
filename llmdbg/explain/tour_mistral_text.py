"""The words of the route through a Mistral model: its own stops, and what differs where another model is loaded.

The figures of Mistral 7B are those of the configuration of Mistral-7B-Instruct-v0.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain.tour_facts import SharingPicture, SpellingPicture, WeightsPicture, WindowPicture
from llmdbg.explain.tour_topics import Topic
from llmdbg.formatting import byte_count, counted, large_number, quote, quote_list, seconds

if TYPE_CHECKING:
    from llmdbg.explain.tour_facts import TourFacts

_BUS = 25e9
"""Bytes a second over PCIe 4.0 with 16 lanes, as measured in practice rather than as specified (31.5e9)."""
_FASTEST_READ = 1e10
"""Bytes a second. Loading that is faster than this can only have mapped the files into memory."""


def about_beginning(facts: TourFacts) -> tuple[str, ...]:
    """The token that a text begins with."""
    what = (
        "It is a special token: not text, but a mark that texts began with in training too. Without it, a model reads "
        "something unfamiliar, and writes worse.",
        "Other special tokens mark who speaks and where an answer ends: with the mark of the end, the model says that "
        "it has finished.",
    )
    if facts.begins_with is None:
        return (
            "A Mistral text begins with the token <s>, the mark of the beginning. This prompt begins without.",
            *what,
        )
    return (f"The first token is not one of your words: {quote(facts.begins_with)} marks the beginning.", *what)


def about_spelling(facts: TourFacts) -> tuple[str, ...]:
    """How a word that is no token of its own is spelled."""
    if not isinstance(facts.picture, SpellingPicture):
        return ("A word that the vocabulary lacks is spelled with several tokens. Your prompt has none.",)
    word, pieces = next((each for each in facts.picture.words if each[0] == "LLM"), facts.picture.words[0])
    texts = quote_list([text for _, text in pieces])
    return (
        f"{quote(word)} has no place in the vocabulary, so it is spelled with several tokens: {texts}.",
        "The vocabulary was made by counting: it began with single characters, and the two tokens that stood side by "
        "side most often in a large amount of text became a new one, again and again, until the list was full. "
        "Frequent words got a token of their own, rare ones did not; nothing is ever unknown, since single characters "
        "and bytes remain.",
        "So a model does not see letters: how many there are in a word is something it has to have learned.",
    )


def about_chat(facts: TourFacts) -> tuple[str, ...]:
    """What the chat template put around the words."""
    what = (
        "A model only continues a text. To make it answer, its training went on with dialogues between such marks: "
        "what follows the last of them is an answer, so that is how it continues.",
    )
    if not facts.chat:
        return (
            "A chat model expects your words between marks: Mistral's are [INST] and [/INST]. This prompt has none.",
            *what,
            "--chat puts a prompt between the marks of the model's own chat template.",
        )
    return (
        "Your words stand between marks that say who speaks: the chat template put them there.",
        *what,
        "Each model has marks of its own, and with those of another it answers worse: its tokenizer brings the "
        "template.",
    )


def about_loading(facts: TourFacts) -> tuple[str, ...]:
    """What was loaded, from which files, and how long it took."""
    model, picture = facts.model, facts.picture
    if model is None:
        return ("Before any of this, the model's weights were loaded.",)
    loading = model.loading
    key = f"Before any of this, the model's {large_number(model.parameters)} weights came into memory: "
    f"{byte_count(model.bytes)}."
    texts = [
        f"Each weight is a number of {model.bytes / max(1, model.parameters):.3g} bytes ({model.dtype}). They are all "
        "that training left behind: the program that runs them is a few hundred lines, the same for every model of "
        "its kind.",
    ]
    if isinstance(picture, WeightsPicture) and picture.files:
        stored = sum(size for _, size in picture.files)
        key = (
            f"Before any of this, the model's {large_number(model.parameters)} weights were read from "
            f"{counted(len(picture.files), 'file')}: {byte_count(stored)}"
            + (f" in {seconds(loading.seconds)}." if loading is not None else ".")
        )
        if loading is not None and loading.bytes > _FASTEST_READ * loading.seconds:
            texts.append(
                "No disk is that fast: the files are only mapped into memory, and each part is read when it is first "
                "needed."
            )
    elif loading is not None and loading.made:
        texts.append("These weights were drawn at random instead of read from files, so the model writes nonsense.")
    return (key, *texts)


def about_device(facts: TourFacts) -> tuple[str, ...]:
    """The move to the GPU: measured where there is one, else what it would be."""
    model = facts.model
    if model is None:
        return ("The weights have to be where the computing is done.",)
    loading = model.loading
    why = (
        "Nearly every weight is needed for each token. A GPU reads its own memory ten to fifty times faster than a CPU "
        "reads main memory, so the weights are copied there once and stay. Only ids go there and only the scores come "
        "back.",
    )
    if loading is not None and "cuda" in loading.device and not loading.made:
        rate = loading.bytes / loading.seconds if loading.seconds else 0
        return (
            f"The weights were moved to the GPU, {loading.device}: {byte_count(loading.bytes)} in "
            f"{seconds(loading.seconds)}, from the file to the GPU's memory.",
            *why,
            f"That is {byte_count(round(rate))} a second, reading the files included: they were read and copied piece "
            "by piece, so the two were not timed apart.",
        )
    if "cuda" in model.device:
        return (f"The weights are on the GPU, {model.device}: {byte_count(model.bytes)}.", *why)
    return (
        f"This run has no GPU: the {byte_count(model.bytes)} of weights stay in main memory, and the CPU computes "
        "with them.",
        *why,
        f"To move {byte_count(model.bytes)} would take about {seconds(model.bytes / _BUS)} at the 25 GB a "
        "second that a usual connection (PCIe 4.0, 16 lanes) carries. This is arithmetic, not a measurement.",
    )


def about_shared_keys(facts: TourFacts) -> tuple[str, ...]:
    """Grouped-query attention, and what it saves."""
    picture = facts.picture
    if not isinstance(picture, SharingPicture):
        return ("Heads may share keys and values, which saves memory: grouped-query attention.",)
    if picture.shared >= picture.heads:
        return (
            f"Here each of the {counted(picture.heads, 'head')} has keys and values of its own. In Mistral, several "
            "heads share them: grouped-query attention.",
            "Keys and values of every position are kept for the tokens to come, so sharing them saves memory.",
        )
    each = ""
    if picture.per_token is not None:
        now = picture.per_token * picture.layers
        full = now * picture.heads // picture.shared
        each = (
            f" Here one position takes {byte_count(now)} in all {counted(picture.layers, 'layer')}; without sharing "
            f"it would take {byte_count(full)}."
        )
    sets = "one set" if picture.shared == 1 else f"{picture.shared} sets"
    return (
        f"{picture.heads} heads read, but they share {sets} of keys and values: grouped-query attention.",
        "Each head still asks a question of its own (its query). Keys and values of every position are kept for the "
        f"tokens to come, so sharing them saves memory.{each}",
        "It also makes each token faster: less has to be read from memory.",
    )


def about_window(facts: TourFacts) -> tuple[str, ...]:
    """The sliding window."""
    window = facts.picture.window if isinstance(facts.picture, WindowPicture) else None
    drawn = "Each line above is a position, and the filled cells are the positions it reads."
    if window is None:
        return (
            "Each position reads from all before it: this model has no sliding window.",
            "The first Mistral 7B had one: a position read only from the last 4,096, so that cost and memory stopped "
            "growing with the text. What is further back still arrives, layer by layer, by way of the positions in "
            "between.",
            drawn,
        )
    return (
        f"Each position reads only from the last {counted(window, 'position')}: a sliding window.",
        "So cost and memory stop growing with the text. What is further back still arrives, layer by layer, by way of "
        "the positions in between.",
        drawn
        + (" This prompt is shorter than the window, so nothing is cut off yet." if facts.tokens <= window else ""),
    )


def what_differs(facts: TourFacts) -> str:
    """What would be different in Mistral 7B, where another model is loaded; empty if nothing is."""
    model = facts.model
    if model is None:
        return ""
    name = model.name
    differs = {
        Topic.PIECES: f"You are seeing {name}, whose list has {model.vocabulary:,} tokens. Mistral 7B's (version 0.3) "
        "has 32,768.",
        Topic.BEGINNING: "" if facts.begins_with == "<s>" else "A Mistral prompt begins with <s>, which has the id 1.",
        Topic.SPELLING: 'Mistral\'s own tokenizer cuts "LLM" into LL and M: each vocabulary was counted on another '
        "text.",
        Topic.CHAT: "Mistral's marks are [INST] before your words and [/INST] after them.",
        Topic.LOADING: "Mistral 7B has 7.2 B weights of 2 bytes: 13.5 GiB, in three files.",
        Topic.DEVICE: f"Mistral 7B's 13.5 GiB would take about {seconds(13.5 * 2**30 / _BUS)} at that speed, and need "
        "a GPU with more.",
        Topic.EMBEDDING: "Mistral 7B's rows have 4,096 numbers.",
        Topic.SHARED_KEYS: "In Mistral 7B, 32 heads share 8 sets of keys and values.",
        Topic.MLP: "Mistral 7B's MLP goes from 4,096 numbers to 14,336 and back.",
        Topic.STREAM: "Mistral 7B has 32 layers.",
    }.get(facts.topic, "")
    return f"You are seeing {name}, not a Mistral. {differs}" if differs and facts.topic != Topic.PIECES else differs
