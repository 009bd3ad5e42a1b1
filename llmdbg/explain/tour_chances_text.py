"""The words of the tour's stops after the layers: scores, settings, the choice, the end, the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain.tour_facts import CachePicture, ChoicePicture, EndingPicture, ScoresPicture, SettingsPicture
from llmdbg.formatting import byte_count, counted, listed, percent_in_prose, quote, quote_list

if TYPE_CHECKING:
    from llmdbg.explain.tour_facts import TourFacts


def about_scores(facts: TourFacts) -> tuple[str, ...]:
    """How the last vector becomes a score and a probability for every token."""
    picture = facts.picture
    tokens = "every token" if facts.model is None else f"every one of the {counted(facts.model.vocabulary, 'token')}"
    best = ""
    if isinstance(picture, ScoresPicture):
        first = picture.chances[0]
        best = f" The best is {quote(first.text)}."
    return (
        f"The last position's vector is compared with {tokens} of the vocabulary, which gives each a score, its "
        f"logit.{best}",
        "A last matrix product does it, with a row of weights for each token: the higher the score, the likelier the "
        "token comes next. Softmax turns scores into probabilities: each is made positive (e to the power of the "
        "score) and divided by the sum of all, so that together they are 100%.",
        "Only the last position is asked, since the question is what comes after "
        f"{quote(facts.last)}. This list is all that the model itself says: choosing from it is up to the settings.",
    )


def about_settings(facts: TourFacts) -> tuple[str, ...]:
    """What temperature, top-k and top-p do to the probabilities."""
    picture = facts.picture
    key = f"Before a token is chosen, this run's settings change the probabilities: {facts.sampling}."
    if isinstance(picture, SettingsPicture) and picture.supposed:
        key = (
            "Settings can change the probabilities before a token is chosen. This run uses none, so here is what "
            f"{picture.after} would do."
        )
    return (
        key,
        "Temperature divides the scores before softmax: below 1 the likely tokens gain and the text gets more "
        "predictable, above 1 the unlikely ones gain. Top-k keeps only the k likeliest tokens, top-p the likeliest "
        "until their probabilities add up to p. What is cut cannot be chosen, and what is left adds up to 100% again.",
        "In a new run: --temperature 1.5, --top-k 5 or --top-p 0.9." if not facts.samples else "",
    )


def about_choice(facts: TourFacts) -> tuple[str, ...]:
    """How the token was chosen, and why another run may choose another."""
    picture = facts.picture
    if not isinstance(picture, ChoicePicture):
        return ("Here the next token is chosen, and appended to the text.",)
    chosen, given = quote(picture.chosen), next(each.after for each in picture.chances if each.chosen)
    chance = percent_in_prose(given)
    if picture.forced:
        key = (
            f"This token was forced by you: {chosen}, "
            + (f"to which the scores gave {chance}." if given else "which the settings had cut.")
            + " It is appended to the text."
        )
        why = (
            f"Left to itself, this run {'takes the likeliest token' if picture.greedy else 'draws one at random'}. "
            "The model does not know the difference: it reads this token like any other, and all that follow depend "
            "on it."
        )
    elif picture.greedy:
        key = f"The likeliest token is taken (greedy decoding): {chosen}, with {chance}. It is appended to the text."
        why = (
            "Greedy decoding gives the same answer every time. Sampling, the other way, draws the token at random, "
            "each as often as its probability says: so the same prompt can give different answers, and one different "
            "token changes all that follow. The random numbers follow from a seed (--seed): the same seed repeats the "
            "run."
        )
    else:
        key = (
            f"One token is drawn at random, each as often as its probability says: {chosen} ({chance}). It is appended."
        )
        why = (
            "So the same prompt can give different answers: another draw, another token, and all that follow depend "
            "on it. The random numbers follow from a seed (--seed): the same seed repeats the run. With --greedy the "
            "likeliest is always taken."
        )
    banned = ""
    if picture.banned and not picture.forced:
        banned = f"You banned {quote_list(picture.banned)} here, so the choice was among the others."
    return (
        key,
        banned,
        why,
        "The model has now said one token. For the next one, it runs again with this one at the end of its text.",
    )


def about_ending(facts: TourFacts) -> tuple[str, ...]:
    """When a generation stops."""
    picture = facts.picture
    if not isinstance(picture, EndingPicture):
        return ("So it goes on, a token at a time, until the model writes its mark of the end or a limit is reached.",)
    ends = (
        f" It is one of the tokens: {listed([quote(text) for text, _ in picture.ends], 'or')}." if picture.ends else ""
    )
    limits = []
    if picture.tokens[1] is not None:
        limits.append(f"{counted(picture.tokens[1], 'token')} have been written (-n)")
    if picture.context[1] is not None:
        limits.append(f"all of its {counted(picture.context[1], 'position')} are taken, the model's context")
    reached = f" Otherwise it stops when {listed(limits, 'or')}." if limits else ""
    return (
        "So it goes on, a token at a time, until the model itself says that it has finished, or a limit is reached.",
        (
            f"To finish, it writes its mark of the end (EOS, end of sequence).{ends} Like any token it has a "
            f"probability at every step, and once it is chosen, nothing more is generated.{reached}"
        )
        if picture.ends
        else f"This model has no mark of the end that would stop it.{reached}",
        "There is no draft: each token is chosen from what the text so far makes likely, and is never taken back.",
    )


def about_cache(facts: TourFacts) -> tuple[str, ...]:
    """Why the second token costs so much less than the first."""
    picture = facts.picture
    all_of = facts.tokens + 1
    if not isinstance(picture, CachePicture) or not picture.kept or picture.fed > 1:
        return (
            f"For the second token, all {all_of:,} positions go through the model again: this one keeps nothing.",
            "Most models keep the keys and values of earlier positions in a KV cache, so that only the newest goes "
            "through.",
        )
    if facts.model is not None and not facts.model.attends:
        return (
            "For the second token, only one new position goes through the model: its state holds what came before.",
            f"The first token took {counted(facts.tokens, 'position')} at once (the prefill), each later one takes a "
            "single position (decode). That is why a model is slow to begin and then quick. The state does not grow "
            "with the text.",
        )
    size = "" if picture.bytes is None else f" So far that is {byte_count(picture.bytes)}"
    each = "" if picture.per_token is None else f", {byte_count(picture.per_token)} for each position"
    return (
        f"For the second token, only the new position goes through the model, not all {all_of:,}: the KV cache has "
        "kept the others.",
        "An earlier position never changes, since it reads nothing that comes later. So every layer keeps its key and "
        f"its value, and attention reads them there.{size}{each}{'.' if size else ''}",
        f"The first token took {counted(facts.tokens, 'position')} at once (the prefill); each later one takes a "
        "single position (decode). That is why the second token comes so much faster than the first: the price is "
        "memory.",
    )
