"""The texts about what comes after the layers: turning vectors into scores, the sampling settings, and the choice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.explain.endings import last_token
from llmdbg.formatting import counted, likeliest, listed, percent_in_prose, quote, quote_list, significant
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdbg.explain.facts import ChoiceFacts, ProcessorFacts, StageFacts


def about_guess(facts: StageFacts) -> str:
    """What the model would say if it stopped here, by the logit lens; empty if the lens was not asked."""
    if not facts.guesses or facts.stage.kind not in (StageKind.EMBED, StageKind.LAYER, StageKind.NORM):
        return ""
    first, *others = facts.guesses
    text = f"If the model stopped here, it would say {quote(first.text)} ({percent_in_prose(first.prob)})"
    text += f", or else {quote(others[0].text)} ({percent_in_prose(others[0].prob)})" if others else ""
    if facts.stage.kind is StageKind.NORM:
        return f"{text}."
    text += ": that is what the logit lens shows."
    if facts.stage.kind is StageKind.EMBED and facts.model.tied and facts.at is not None and first.text == facts.at[1]:
        text += " It reads back the token itself, since one table is used at both ends: no layer has worked on it yet."
    return text


def about_norm(facts: StageFacts) -> Iterator[str]:
    """What the final norm is."""
    yield "The final norm brings the vectors to a common size, so that the output head can compare them with tokens."


def about_logits(facts: StageFacts) -> Iterator[str]:
    """How the output head turns the last vector into probabilities, and what they are."""
    tokens = counted(facts.model.vocabulary, "token")
    yield (
        f"The output head gives every one of the vocabulary's {tokens} a score, its logit: the higher, the likelier it "
        "comes next. Softmax turns the scores into probabilities that add up to 100%."
    )
    if facts.guesses:
        first, *others = facts.guesses
        text = f"The likeliest is {quote(first.text)} with {percent_in_prose(first.prob)}"
        second = f", then {quote(others[0].text)} with {percent_in_prose(others[0].prob)}" if others else ""
        yield f"{text}{second}."
        if facts.entropy is not None:
            equal = significant(math.exp(facts.entropy))
            yield (
                f"The entropy is {significant(facts.entropy)} nats: the model is as undecided as between {equal} "
                "equally likely tokens."
            )


_PROCESSORS = {
    "temperature": "Temperature divides the scores: below 1, the likeliest tokens gain; above 1, the others do.",
    "top_k": "Top-k keeps the likeliest tokens, a fixed number of them, and cuts the rest.",
    "top_p": "Top-p keeps the likeliest tokens until their probabilities add up to a given share, and cuts the rest.",
    "min_p": "Min-p cuts the tokens that are far less likely than the likeliest one.",
    "repetition_penalty": "A repetition penalty changes the scores of tokens that are already in the sequence: above "
    "1, it lowers them; below 1, it raises them.",
}

_SHOWN_NAMES = {"top_k": "top-k", "top_p": "top-p", "min_p": "min-p", "repetition_penalty": "repetition penalty"}


def about_processor(facts: StageFacts) -> Iterator[str]:
    """What a logits processor does, and what this one did."""
    name = facts.stage.address.partition(".")[2]
    yield _PROCESSORS.get(
        name.rstrip("_0123456789") if name not in _PROCESSORS else name,
        f"{quote(name)} is a logits processor: it may change the scores before a token is chosen. It has no text of "
        "its own here.",
    )
    if facts.processor is not None:
        yield _effect(facts.processor)


def _effect(step: ProcessorFacts) -> str:
    """What a processor did, in one or two sentences."""
    name = _SHOWN_NAMES.get(step.name, step.name)
    if step.setting is not None:
        name = f"{name} {step.setting:g}"
    name = name[0].upper() + name[1:]
    before, after = percent_in_prose(step.before), percent_in_prose(step.after)
    fell = "" if step.deposed is None else f" {_fall(*step.deposed)}"
    cut = f"{name} cut {counted(step.cut, 'token')}, and {step.left:,} may still be chosen." if step.cut else ""
    if before == after:
        return f"{cut}{fell}" if cut else f"{name} left the likeliest token, {quote(step.leader)}, as likely as before."
    way = "likelier" if step.after > step.before else "less likely"
    change = f"made {quote(step.leader)} {way}: {before} became {after}."
    return f"{cut} This {change}{fell}" if step.cut else f"{name} {change}{fell}"


def _fall(text: str, before: float, after: float) -> str:
    what = "was cut" if after == 0 else f"fell to {percent_in_prose(after)}"
    return f"Before it, {quote(text)} led with {percent_in_prose(before)}, and {what}."


def about_choice(facts: StageFacts) -> Iterator[str]:
    """How the next token was chosen, and why this one."""
    choice = facts.choice
    if choice is None:
        yield (
            "Here the next token is chosen. Greedy decoding takes the one with the highest score; sampling draws one "
            "at random, each as often as its probability says."
        )
        return
    yield from _how_chosen(choice, has_settings=bool(facts.steps))
    for step in facts.steps:
        yield _effect(step)
    if facts.steps and choice.raw is not None and not choice.forced and math.isfinite(choice.prob):
        yield (
            f"Without these settings the model gave {quote(choice.text)} {percent_in_prose(choice.raw)}, with them "
            f"{percent_in_prose(choice.prob)}."
        )
    yield from _lens_history(choice)
    yield _what_comes(choice)


def _how_chosen(choice: ChoiceFacts, *, has_settings: bool) -> Iterator[str]:
    chosen = quote(choice.text)
    if choice.forced:
        yield f"You forced {chosen}."
        if choice.prob == 0:
            yield "The sampling settings had cut it."
        else:
            yield f"The scores gave it {percent_in_prose(choice.prob)}, which makes it {likeliest(choice.rank)}."
        if choice.raw is not None and has_settings:
            yield f"Without any settings the model gave it {percent_in_prose(choice.raw)}."
        if not choice.greedy:
            yield "A token was drawn as well but not used, so that the draws after it stay the same."
        return
    if choice.banned:
        yield f"You banned {quote_list(choice.banned)} here, so the choice was among the others."
        if (leader := choice.banned_leader) is not None:
            yield f"The likeliest was {quote(leader.text)} with {percent_in_prose(leader.prob)}, but it was banned."
    how = "Greedy decoding took the highest score" if choice.greedy else "Sampling drew one token at random"
    rank = likeliest(choice.rank)
    if not math.isfinite(choice.prob):
        yield f"The next token is {chosen}, which means nothing: its score is NaN."
        return
    yield f"{how}: the next token is {chosen}, {rank} at {percent_in_prose(choice.prob)}."
    other = choice.runner_up
    if other is None:
        return
    if other.prob <= choice.prob:
        lead = f"{significant(100 * (choice.prob - other.prob))} percentage points behind"
        yield f"The runner-up was {quote(other.text)} with {percent_in_prose(other.prob)}, {lead}."
    else:
        text = f"The likeliest was {quote(other.text)} with {percent_in_prose(other.prob)}"
        yield f"{text}." if choice.greedy else f"{text}, but sampling can pick a less likely one."


def _lens_history(choice: ChoiceFacts) -> Iterator[str]:
    """After which layer the token first led, by the logit lens, and from where on it stayed ahead."""
    if choice.led is None or not choice.asked_layers:
        return
    if not choice.led:
        yield f"By the logit lens, {quote(choice.text)} led after none of the layers."
        return
    stayed = _stayed_from(choice)
    first = choice.led[0]
    if stayed is None:
        yield f"By the logit lens, it led after {_layers(choice.led)}, but not after the last one."
    elif first == choice.asked_layers[-1]:
        yield f"By the logit lens, it led only after the last layer, {first}."
    elif stayed == first:
        yield f"By the logit lens, it first led after layer {first} and stayed ahead from there on."
    else:
        yield f"By the logit lens, it first led after layer {first} and stayed ahead from layer {stayed} on."


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
    if choice.ended_by is not None:
        return last_token(choice.ended_by, choice.ended_with)
    return "The chosen token is appended, and the model runs again to produce the next one."


def engineer_sampling(facts: StageFacts) -> Iterator[str]:
    """The formulas of the scores, the processors and the choice, and the papers they come from."""
    kind, name = facts.stage.kind, facts.stage.address.partition(".")[2]
    if kind is StageKind.LOGITS:
        yield f"p = softmax(logits) over {facts.model.vocabulary:,} tokens, in float32, at the last position"
        if facts.model.tied:
            yield "tied weights: the output head is the embedding's tensor (Press & Wolf 2017)"
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
        how = "argmax(scores)" if facts.choice.greedy else "multinomial(softmax(scores)), from the seeded random stream"
        yield f"forced by you; not used: {how}" if facts.choice.forced else how
    if facts.guesses and kind in (StageKind.EMBED, StageKind.LAYER, StageKind.NORM):
        yield "logit lens (nostalgebraist 2020): softmax(head(norm(x))) of this vector, checked against the logits"
    elif facts.no_lens and kind in (StageKind.EMBED, StageKind.LAYER):
        yield f"no lens: {facts.no_lens}"
