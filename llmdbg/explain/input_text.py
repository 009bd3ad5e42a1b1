"""The texts of what comes before the layers: the weights, the tokens, the phase, the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import byte_count, counted, listed, percent_in_prose, quote, quote_list, seconds, significant
from llmdbg.models.stages import Phase, StageKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdbg.explain.facts import Facts

_MOST_SPLIT = 3

_FASTEST_READ = 1e10
"""Bytes a second beyond which memory can only have been given a view of a file."""


def about_tokenize(facts: Facts) -> Iterator[str]:
    """What the tokenizer did to this prompt, and what lies in memory already."""
    prompt, model = facts.prompt, facts.model
    yield (
        "A model does not read letters. A tokenizer cuts the text into pieces it knows, tokens, and what the model "
        "is fed is the number of each."
    )
    if facts.here:
        yield from _about_prompt(facts)
    yield from about_loading(facts)
    length = f"all {counted(prompt.tokens, 'token')} go" if prompt.tokens > 1 else "the one token goes"
    if facts.here:
        yield f"Next comes the prefill: {length} through the model in one forward."
    yield f"The vocabulary has {counted(model.vocabulary, 'token')}, and every token the model writes is one of them."


def _about_prompt(facts: Facts) -> Iterator[str]:
    prompt = facts.prompt
    are = (
        "1 of them a special token, which stands"
        if prompt.special == 1
        else f"{prompt.special} of them special tokens, which stand"
    )
    special = f", {are} for no text" if prompt.special else ""
    yield f"Your prompt became {counted(prompt.tokens - prompt.padding, 'token')}{special}."
    if prompt.padding:
        padded = "token of left padding stands" if prompt.padding == 1 else "tokens of left padding stand"
        yield f"{prompt.padding:,} {padded} before them, which a mask hides: {prompt.tokens:,} in all."
    for split in prompt.split[:_MOST_SPLIT]:
        yield f"{quote(split.word)} is not in the vocabulary as one token, so it became {quote_list(split.pieces)}."
    if len(prompt.split) > _MOST_SPLIT:
        yield f"In all, {counted(len(prompt.split), 'word')} of the prompt became several tokens each."
    if facts.model.splits_by is None:
        yield "There is no tokenizer here: the model is fed the bytes of the text."


def about_loading(facts: Facts) -> Iterator[str]:
    """How the weights came to where they are, as far as it was measured."""
    model, loading = facts.model, facts.model.loading
    total = f"the model's {model.parameters:,} weights"
    if loading is None:
        yield f"Before this {total} were brought into memory: {byte_count(model.bytes)}."
        return
    on_gpu = loading.device.startswith("cuda") and "+" not in loading.device
    where = "the GPU's memory" if on_gpu else "memory"
    how = "were drawn at random in" if loading.made else "came from their files into"
    # Main memory may only be given a view of the files, which are read when they are first needed: no speed is known.
    rate = f", {byte_count(round(loading.bytes / loading.seconds))} a second" if on_gpu and not loading.made else ""
    yield f"Before this {total} {how} {where}: {byte_count(loading.bytes)} in {seconds(loading.seconds)}{rate}."
    if not on_gpu and not loading.made and loading.bytes > _FASTEST_READ * loading.seconds:
        yield "No file is read that fast: its parts are read when they are first needed."


def about_phase(facts: Facts) -> str:
    """Which of the two phases the run is in, and what that means for what is seen; empty where nothing runs."""
    if not facts.here or facts.stage.kind is StageKind.TOKENIZE:
        return ""
    tokens = facts.prompt.tokens
    if facts.phase is Phase.PREFILL:
        if facts.fed > 1:
            return f"Prefill: all {tokens} tokens of the prompt go through the model in one forward."
        return "Prefill: the prompt's one token goes through the model."
    newest = tokens + facts.token - 1
    told = f"Decode: only the newest token, at position {newest}, goes through the model"
    if not facts.model.cached:
        return f"{told}."
    kept = "is in the KV cache, where attention reads it" if facts.model.attends else "is in the model's state"
    return f"{told}; what the earlier ones left {kept}."


def about_embed(facts: Facts) -> Iterator[str]:
    """What looking up a vector is."""
    width = facts.model.width if facts.shape is None else facts.shape[-1]
    rows = f"a row of {counted(width, 'learned number')}" if width else "a row of learned numbers"
    yield f"The embedding is a table with {rows} for every token of the vocabulary."
    if facts.here and facts.at is not None:
        position, text = facts.at
        looked = f"The token {quote(text)} at position {position} was looked up"
        if facts.looked_up:
            yield f"{looked}, and its row is now the vector there."
        elif facts.looked_up is False:
            yield f"{looked}, and what is now the vector there was made of its row."
        else:
            yield f"{looked}."
    if width is None or width == facts.model.width:
        yield "From here on the model works with vectors, one for each position: the residual stream."
    else:
        yield (
            f"The layers work with vectors of {counted(facts.model.width or 0, 'number')}: these are brought to that "
            "size first."
        )
    if facts.model.tied:
        yield "This model uses the same table again at the end, to read tokens out of vectors: tied weights."


def engineer_beginning(facts: Facts) -> Iterator[str]:
    """Shapes, the loading and the tokenizer's kind, for engineers."""
    model = facts.model
    if facts.stage.kind is StageKind.TOKENIZE:
        yield f"{model.name}: {model.architecture}, {model.layers} layers, {model.dtype} on {model.device}"
        if model.splits_by is not None:
            yield f"the tokenizer's model is {model.splits_by}{_tokenizer_source(model.splits_by)}"
        if model.loading is not None:
            yield "the seconds are from the first bytes of the weights to the last copy done; imports are not in them"
    elif facts.stage.kind is StageKind.EMBED:
        if facts.looked_up is not False:
            yield f"x[t] = E[id[t]], E of {model.vocabulary:,} rows"
        else:
            yield f"E of {model.vocabulary:,} rows; the output is not E[id[t]] itself: it is scaled or shifted"
        if model.tied:
            yield "the head's weight is this very tensor (Press & Wolf 2017)"


def _tokenizer_source(kind: str) -> str:
    sources = {"BPE": "Sennrich, Haddow & Birch 2016", "Unigram": "Kudo 2018", "WordPiece": "Schuster & Nakajima 2012"}
    return f" ({sources[kind]})" if kind in sources else ""


def about_vector(facts: Facts) -> str:
    """How long the vector at the focus is, and what the stage changed about it; empty where nothing is known."""
    if not facts.here or facts.at is None or facts.norm is None:
        return ""
    position, text = facts.at
    if facts.stage.kind is StageKind.MODULE:
        return f"For {quote(text)} at position {position} it gave a vector that is {significant(facts.norm)} long."
    told = f"The vector of {quote(text)} at position {position} is now {significant(facts.norm)} long."
    if facts.moved is not None and all(each == each for each in facts.moved):  # noqa: PLR0124
        relative, cosine = facts.moved
        told += (
            f" This stage moved it by {percent_in_prose(relative)} of the length it had; the cosine is {cosine:.2f}."
        )
    return told


def about_broken(facts: Facts) -> str:
    """A warning where the output has values that are no numbers."""
    if not facts.here or not facts.not_finite:
        return ""
    if facts.edited:
        return (
            f"{counted(facts.not_finite, 'value')} of the output are NaN or infinite here, where your edit changes it."
        )
    return (
        f"Something is wrong here: {counted(facts.not_finite, 'value')} of the output are NaN or infinite, and so will "
        "be what is computed with them."
    )


def about_edits(facts: Facts) -> str:
    """That the user changed what is here; empty where nobody did."""
    if not facts.here or not facts.edited:
        return ""
    which = f"edit {facts.edited[0]} changes" if len(facts.edited) == 1 else f"edits {listed(facts.edited)} change"
    return f"Your {which} this stage: what is told here is what came of that, and not what the model alone would do."


def about_padding(facts: Facts) -> str:
    """That the position looked at is padding; empty where it is not."""
    return "This position is left padding, which a mask hides from the others." if facts.padding_here else ""
