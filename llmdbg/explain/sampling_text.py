"""The texts of what comes behind the layers: reading tokens out of vectors, the sampling settings, and the choice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.formatting import counted, listed, percent_in_prose, quote, quote_list, significant
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdbg.explain.facts import ChoiceFacts, Facts, ProcessorFacts


def about_guess(facts: Facts) -> str:
    """What the model would say if it stopped here, by the lens."""
    if not facts.guesses or facts.stage.kind not in (StageKind.EMBED, StageKind.LAYER, StageKind.NORM):
        return ""
    first, *others = facts.guesses
    told = f"If the model stopped here, it would say {quote(first.text)} ({percent_in_prose(first.prob)})"
    told += f", or else {quote(others[0].text)} ({percent_in_prose(others[0].prob)})." if others else "."
    return told if facts.stage.kind is StageKind.NORM else f"{told} That is the logit lens."


def about_norm(facts: Facts) -> Iterator[str]:
    """What the final norm is."""
    yield "The final norm brings the vectors to a common size, so that the output head can compare them with tokens."


def about_logits(facts: Facts) -> Iterator[str]:
    """What the head made of the last vector."""
    tokens = counted(facts.model.vocabulary, "token")
    yield (
        f"The output head gives every one of the vocabulary's {tokens} a score, its logit: the higher, the likelier it "
        "comes next. Softmax turns the scores into probabilities that make up 100% together."
    )
    if facts.guesses:
        first, *others = facts.guesses
        told = f"The likeliest is {quote(first.text)} with {percent_in_prose(first.prob)}"
        yield (
            f"{told}, then {quote(others[0].text)} with {percent_in_prose(others[0].prob)}." if others else f"{told}."
        )
        if facts.entropy is not None:
            equal = significant(math.exp(facts.entropy))
            yield (
                f"The entropy is {significant(facts.entropy)} nats: as undecided as between {equal} tokens that are "
                "equally likely."
            )


_PROCESSORS = {
    "temperature": "Temperature divides the scores: below 1 the likeliest tokens gain, above 1 the others do.",
    "top_k": "Top-k keeps the likeliest tokens and cuts the rest.",
    "top_p": "Top-p keeps the likeliest tokens until they make up a given share together, and cuts the rest.",
    "min_p": "Min-p cuts the tokens that are far less likely than the likeliest one.",
    "repetition_penalty": "A repetition penalty changes the scores of tokens that are in the sequence already: above 1 "
    "it lowers them, below 1 it raises them.",
}

_SHOWN_NAMES = {"top_k": "top-k", "top_p": "top-p", "min_p": "min-p", "repetition_penalty": "repetition penalty"}


def about_processor(facts: Facts) -> Iterator[str]:
    """What a logits processor is for, and what this one did."""
    name = facts.stage.address.partition(".")[2]
    yield _PROCESSORS.get(
        name.rstrip("_0123456789") if name not in _PROCESSORS else name,
        f"{quote(name)} is a logits processor: it may change the scores before a token is chosen. It has no text of "
        "its own here.",
    )
    if facts.processor is not None:
        yield _effect(facts.processor)


def _effect(step: ProcessorFacts) -> str:
    """What a processor did, in one sentence."""
    name = _SHOWN_NAMES.get(step.name, step.name)
    if step.setting is not None:
        name = f"{name} {step.setting:g}"
    name = name[0].upper() + name[1:]
    told = f"{name} cut {counted(step.cut, 'token')}, and {step.left:,} may still be chosen" if step.cut else name
    if percent_in_prose(step.before) == percent_in_prose(step.after):
        return (
            f"{told}." if step.cut else f"{told} left the likeliest token, {quote(step.leader)}, as likely as it was."
        )
    way = "likelier" if step.after > step.before else "less likely"
    change = f"{quote(step.leader)} {way}: {percent_in_prose(step.before)} became {percent_in_prose(step.after)}"
    return f"{told}, which made {change}." if step.cut else f"{told} made {change}."


def about_choice(facts: Facts) -> Iterator[str]:
    """Why the chosen token won."""
    choice = facts.choice
    if choice is None:
        yield (
            "Here the next token is chosen. Greedy decoding takes the one with the highest score; sampling draws one "
            "at random, each as often as its probability says."
        )
        return
    yield from _how_chosen(choice)
    for step in facts.steps:
        yield _effect(step)
    if facts.steps and choice.raw is not None and not choice.forced and math.isfinite(choice.prob):
        yield (
            f"Before these settings the model itself held {quote(choice.text)} at {percent_in_prose(choice.raw)}, "
            f"after them at {percent_in_prose(choice.prob)}."
        )
    yield from _lens_history(choice)
    yield _what_comes(choice)


def _how_chosen(choice: ChoiceFacts) -> Iterator[str]:
    chosen = quote(choice.text)
    if choice.forced:
        yield f"You forced {chosen}."
        if choice.prob == 0:
            yield "The sampling settings had cut it."
        else:
            yield f"The scores gave it {percent_in_prose(choice.prob)}, number {choice.rank} in likelihood."
        if choice.raw is not None:
            yield f"Before any setting the model itself held it at {percent_in_prose(choice.raw)}."
        return
    if choice.banned:
        yield f"You banned {quote_list(choice.banned)} here, so the choice was among the others."
    how = "Greedy decoding took the highest score" if choice.greedy else "Sampling drew one token at random"
    rank = "the likeliest" if choice.rank == 1 else f"number {choice.rank} in likelihood"
    if not math.isfinite(choice.prob):
        yield f"The next token is {chosen}, and that means nothing: its score is NaN, no number."
        return
    yield f"{how}: the next token is {chosen}, {rank} at {percent_in_prose(choice.prob)}."
    other = choice.runner_up
    if other is None:
        return
    if other.prob <= choice.prob:
        behind = significant(100 * (choice.prob - other.prob))
        yield f"The runner-up was {quote(other.text)} with {percent_in_prose(other.prob)}, {behind} points behind."
    else:
        told = f"The likeliest was {quote(other.text)} with {percent_in_prose(other.prob)}"
        why = "it was banned" if other.text in choice.banned else "a draw may take another"
        yield f"{told}, but {why}." if other.text in choice.banned or not choice.greedy else f"{told}."


def _lens_history(choice: ChoiceFacts) -> Iterator[str]:
    """When the token first led, by the lens, and from where on it stayed ahead."""
    if choice.led is None or not choice.asked_layers:
        return
    if not choice.led:
        yield f"By the logit lens {quote(choice.text)} led after none of the layers."
        return
    stayed = _stayed_from(choice)
    first = choice.led[0]
    if stayed is None:
        yield (f"By the logit lens it led after {_layers(choice.led)}, but not after the last one.")
    elif stayed == first:
        yield f"By the logit lens it first led after layer {first}, and stayed ahead from there on."
    else:
        yield f"By the logit lens it first led after layer {first}, and stayed ahead from layer {stayed} on."


def _layers(led: tuple[int, ...]) -> str:
    if len(led) > 4:
        return f"{len(led)} layers, the first of them layer {led[0]}"
    return f"layer{'s' if len(led) > 1 else ''} {listed(led)}"


def _stayed_from(choice: ChoiceFacts) -> int | None:
    stayed = None
    for layer in reversed(choice.asked_layers):
        if choice.led is None or layer not in choice.led:
            break
        stayed = layer
    return stayed


def _what_comes(choice: ChoiceFacts) -> str:
    endings = {
        "eos": "With it the model ends its answer.",
        "length": "It is the last token: the length asked for is reached.",
        "context": "It is the last token: the model's context is full.",
    }
    if choice.ended_by in endings:
        return endings[choice.ended_by]
    return "The chosen token is appended, and the model runs again to produce the next."


def engineer_choosing(facts: Facts) -> Iterator[str]:
    """Formulas and sources of the scores, the processors and the choice."""
    kind, name = facts.stage.kind, facts.stage.address.partition(".")[2]
    if kind is StageKind.LOGITS:
        yield f"p = softmax(logits) over {facts.model.vocabulary:,} tokens, in float32, at the last position"
        if facts.model.tied:
            yield "tied weights: the head is the embedding's tensor (Press & Wolf 2017)"
    sources = {
        "temperature": "logits / T",
        "top_k": "logits below the k-th largest become -inf (Fan, Lewis & Dauphin 2018)",
        "top_p": "the tail beyond the smallest set with sum p >= P becomes -inf (Holtzman et al. 2019)",
        "min_p": "logits with p < min_p * max(p) become -inf (Nguyen et al. 2024)",
        "repetition_penalty": "logits of seen ids: / X where positive, * X where negative (Keskar et al. 2019)",
    }
    if kind is StageKind.PROCESSOR and name in sources:
        yield f"transformers' processor: {sources[name]}"
    if kind is StageKind.SAMPLE and facts.choice is not None:
        yield "argmax(scores)" if facts.choice.greedy else "multinomial(softmax(scores)), from the seeded random stream"
    if facts.guesses and kind in (StageKind.EMBED, StageKind.LAYER, StageKind.NORM):
        yield "logit lens (nostalgebraist 2020): softmax(head(norm(x))) of this vector, checked against the logits"
    elif facts.no_lens and kind in (StageKind.EMBED, StageKind.LAYER):
        yield f"no lens: {facts.no_lens}"
