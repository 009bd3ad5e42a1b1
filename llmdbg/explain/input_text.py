"""The texts about what comes before the layers (weights, tokens, phase, embedding), and about vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.formatting import byte_count, counted, listed, percent_in_prose, quote, quote_list, seconds, significant
from llmdbg.models.stages import Phase, StageKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdbg.explain.facts import StageFacts

_MOST_SPLIT = 3
_MANY_TIMES = 2
_DIRECTIONS = (
    (0.999, "it still points the same way"),
    (0.9, "it points almost the same way as before"),
    (0.5, "it has turned, and part of its old direction is left"),
    (-0.5, "little of its old direction is left"),
    (-math.inf, "it now points nearly the opposite way"),
)
"""The least cosine of before and after, and what to say of the direction."""
_FASTEST_READ = 1e10
"""Bytes a second. Loading that is faster than this can only have mapped the files into memory."""


def about_tokenize(facts: StageFacts) -> Iterator[str]:
    """What the tokenizer did to this prompt, how the weights were loaded, and what comes next."""
    prompt, model = facts.prompt, facts.model
    yield (
        "A model does not read letters. A tokenizer splits the text into pieces it knows, called tokens, and the model "
        "is fed the number of each."
    )
    if facts.here:
        yield from _about_prompt(facts)
    yield from _about_loading(facts)
    if facts.here:
        fed = f"all {counted(prompt.tokens, 'token')} go" if prompt.tokens > 1 else "the one token goes"
        yield f"Next comes the prefill: {fed} through the model in one forward pass."
    yield f"The vocabulary has {counted(model.vocabulary, 'token')}, and every token the model writes is one of them."


def _about_prompt(facts: StageFacts) -> Iterator[str]:
    prompt = facts.prompt
    yield f"Your prompt became {counted(prompt.tokens - prompt.padding, 'token')}."
    if prompt.special == 1:
        yield "1 of them is a special token, which stands for a role rather than for text."
    elif prompt.special:
        yield f"{prompt.special} of them are special tokens, which stand for roles rather than for text."
    if prompt.padding:
        come = "token of left padding comes" if prompt.padding == 1 else "tokens of left padding come"
        yield f"{prompt.padding:,} {come} before them, hidden by a mask: {prompt.tokens:,} in all."
    for split in prompt.split[:_MOST_SPLIT]:
        yield f"{quote(split.word)} is not in the vocabulary as one token, so it became {quote_list(split.pieces)}."
    if len(prompt.split) > _MOST_SPLIT:
        yield f"In all, {counted(len(prompt.split), 'word')} of the prompt became several tokens each."
    if facts.model.splits_by is None:
        yield "This model has no tokenizer: it is fed the bytes of the text."


def _about_loading(facts: StageFacts) -> Iterator[str]:
    """How the weights got into memory, as far as it was measured."""
    model, loading = facts.model, facts.model.loading
    if not model.parameters:
        return
    weights = f"the model's {model.parameters:,} weights"
    if loading is None:
        yield f"Before that, {weights} were loaded into memory: {byte_count(model.bytes)}."
        return
    on_gpu = loading.device.startswith("cuda") and "+" not in loading.device
    where = "the GPU's memory" if on_gpu else "memory"
    how = "drawn at random in" if loading.made else "loaded from their files into"
    # In main memory the files may only be mapped, and are read when they are first needed: the speed is not known.
    rate = f", {byte_count(round(loading.bytes / loading.seconds))} a second" if on_gpu and not loading.made else ""
    yield f"Before that, {weights} were {how} {where}: {byte_count(loading.bytes)} in {seconds(loading.seconds)}{rate}."
    if not on_gpu and not loading.made and loading.bytes > _FASTEST_READ * loading.seconds:
        yield "No disk is that fast: the files are only mapped into memory, and each part is read when it is needed."


def about_phase(facts: StageFacts) -> str:
    """Which of the two phases the run is in, and what goes through the model in it; empty if nothing does."""
    if not facts.here or facts.stage.kind is StageKind.TOKENIZE:
        return ""
    tokens = facts.prompt.tokens
    if facts.phase is Phase.PREFILL:
        if facts.fed < tokens:
            last = facts.first + facts.fed - 1
            where = f"position {last} goes" if facts.fed == 1 else f"positions {facts.first} to {last} go"
            return f"Prefill: of the prompt's {tokens} tokens, {where} through the model in this forward pass."
        if facts.fed > 1:
            return f"Prefill: all {tokens} tokens of the prompt go through the model in one forward pass."
        return "Prefill: the prompt's one token goes through the model."
    text = f"Decode: only the newest token, at position {facts.first}, goes through the model"
    if not facts.model.cached:
        return f"{text}."
    if facts.model.attends:
        return f"{text}; the keys and values of the earlier ones are in the KV cache, where attention reads them."
    return f"{text}; what it needs from the earlier ones is kept in its state."


def about_embed(facts: StageFacts) -> Iterator[str]:
    """What looking up a vector is."""
    width = facts.model.width if facts.shape is None else facts.shape[-1]
    rows = f"a row of {counted(width, 'learned number')}" if width else "a row of learned numbers"
    yield f"The embedding is a table with {rows} for every token of the vocabulary."
    if facts.here and facts.at is not None:
        position, text = facts.at
        looked_up = f"The token {quote(text)} at position {position} was looked up"
        if facts.looked_up:
            yield f"{looked_up}, and its row is now the vector there."
        elif facts.looked_up is False:
            yield f"{looked_up}, and the vector there was computed from its row."
        else:
            yield f"{looked_up}."
    if width is None or width == facts.model.width:
        yield "From here on the model works with vectors, one for each position: the residual stream."
    else:
        yield (
            f"The layers work with vectors of {counted(facts.model.width or 0, 'number')}, so these are first brought "
            "to that size."
        )
    if facts.model.tied:
        yield "This model uses the same table again at the end to turn vectors back into tokens: tied weights."


def engineer_input(facts: StageFacts) -> Iterator[str]:
    """The model, its tokenizer and the embedding, for engineers."""
    model = facts.model
    if facts.stage.kind is StageKind.TOKENIZE:
        yield f"{model.name}: {model.architecture}, {counted(model.layers, 'layer')}, {model.dtype} on {model.device}"
        if model.splits_by:
            yield f"tokenizer: {model.splits_by}{_tokenizer_source(model.splits_by)}"
        if model.loading is not None:
            yield "loading time: from the first bytes of the weights until the last copy is done, without imports"
    elif facts.stage.kind is StageKind.EMBED:
        if facts.looked_up is not False:
            yield f"x[t] = E[id[t]], E with {model.vocabulary:,} rows"
        else:
            yield f"E has {model.vocabulary:,} rows; the output is not E[id[t]] itself: it is scaled or shifted"
        if model.tied:
            yield "tied weights: the output head's weight is this same tensor (Press & Wolf 2017)"


def _tokenizer_source(kind: str) -> str:
    sources = {"BPE": "Sennrich, Haddow & Birch 2016", "Unigram": "Kudo 2018", "WordPiece": "Schuster & Nakajima 2012"}
    return f" ({sources[kind]})" if kind in sources else ""


def about_vector(facts: StageFacts) -> str:
    """How long the vector at the focus is, and how the stage changed it; empty if that is not known."""
    if not facts.here or facts.at is None or facts.norm is None:
        return ""
    position, text = facts.at
    if facts.stage.kind is StageKind.MODULE:
        return f"For {quote(text)} at position {position}, its output is a vector of length {significant(facts.norm)}."
    now = f"The vector of {quote(text)} at position {position} now has length {significant(facts.norm)}."
    if facts.moved is None or not all(map(math.isfinite, facts.moved)):
        return now
    relative, cosine = facts.moved
    by = (
        f"{percent_in_prose(relative)} as long as"
        if relative < _MANY_TIMES
        else f"{significant(relative)} times as long as"
    )
    points = next(words for least, words in _DIRECTIONS if cosine >= least)
    scale = "where 1 is the same direction and 0 one that has nothing in common with it"
    return f"{now} This stage changed it by a vector {by} it was: {points} (cosine {cosine:.2f}, {scale})."


def about_broken(facts: StageFacts) -> str:
    """A warning if the output has values that are NaN or infinite; empty if it has none."""
    if not facts.here or not facts.not_finite:
        return ""
    are = "is" if facts.not_finite == 1 else "are"
    values = f"{counted(facts.not_finite, 'value')} of the output {are} NaN or infinite"
    if facts.edited:
        return f"{values} here, at a stage that your edit changes."
    return f"Something is wrong here: {values}, and this spreads to whatever is computed from it."


def about_edits(facts: StageFacts) -> str:
    """That the user's edits change this stage; empty if none does."""
    if not facts.here or not facts.edited:
        return ""
    which = f"edit {facts.edited[0]} changes" if len(facts.edited) == 1 else f"edits {listed(facts.edited)} change"
    return f"Your {which} this stage: the numbers here show the result, not what the model would do by itself."


def about_padding(facts: StageFacts) -> str:
    """That the focus is on a padding position; empty if it is not."""
    return "This position is left padding, which a mask hides from the others." if facts.padding_here else ""
