"""Holding the numbers and words of an explanation against the live session, worked out here on their own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.stage_event import main_tensor
from llmdbg.explain.explanation import Explanation
from llmdbg.explain.facts import StageFacts
from llmdbg.models.attentions import attentions
from llmdbg.models.stages import StageKind

_QUOTED = re.compile(r'"((?:[^"]|"(?=[^ .,;:?)]))*)"')
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?%?")
_SAYINGS = {"100%", "0", "1"}
"""`add up to 100%`, `counted from 0`, `below 1`: what is said of every run."""


def numbers_of(text: str) -> list[str]:
    """The numbers a paragraph speaks of, as written; those inside a model's words are not its own."""
    return [match[0] for match in _NUMBER.finditer(_QUOTED.sub('""', text))]


def words_of(text: str) -> list[str]:
    """The quoted words of a paragraph."""
    return _QUOTED.findall(text)


def check(session: Debugger, explanation: Explanation) -> None:
    """Assert that every number and every word of the plain text is one of this run's."""
    values, shares, words = set(_written(_numbers(session))), set(_percentages(_numbers(session))), set(_words(session))
    for paragraph in explanation.plain:
        for number in numbers_of(_READ.sub("", paragraph)):  # those are checked in pairs
            plain = number.replace(",", "")
            known = plain in (shares if number.endswith("%") else values) or number in _SAYINGS
            assert known, (number, paragraph)
        for word in words_of(paragraph):
            assert word in words, (word, paragraph)
        _check_pairs(session, paragraph)


_SAID = re.compile(r'(?:would say|or else|likeliest is|then|runner-up was) "(.*?)" (?:\(|with )([\d.]+)%')
_READ = re.compile(r'"([^"]*)" at (?:position )?(\d+)(?:: | \()([\d.]+)%')


def _check_pairs(session: Debugger, paragraph: str) -> None:
    """Assert that a token stands beside its own probability, and a position beside its own token and share."""
    probs = [scores[0].double().softmax(-1) for _, scores in session.run.event.trail[-1:]] or [
        *_lens_probs_here(session)
    ]
    for word, percent in _SAID.findall(paragraph):
        likely = [float(each[id]) for each in probs for id in each.topk(3).indices if _text(session, id) == word]
        assert any(f"{percent}%" in set(_percentages([prob])) for prob in likely), (word, percent, paragraph)
    for word, position, percent in _READ.findall(paragraph):
        assert session.run.tokens()[int(position)].text == word, paragraph
        share = [*_of_attention(session)][int(position)]
        assert f"{percent}%" in set(_percentages([share])), (position, percent, paragraph)


def _text(session: Debugger, id: torch.Tensor) -> str:
    return session.debuggee.vocabulary.text(int(id))


def _lens_probs_here(session: Debugger) -> Iterator[torch.Tensor]:
    if session.run.event.stage.kind in (StageKind.EMBED, StageKind.LAYER, StageKind.NORM):
        yield from _lens_probs(session)


def _written(values: Iterable[float]) -> Iterator[str]:
    """Every way in which the texts may write these values."""
    for value in values:
        yield from (f"{value:.3g}", f"{value:g}", f"{value:.2f}", f"{value:.1f}")
        if float(value).is_integer():
            yield str(int(value))


def _percentages(values: Iterable[float]) -> Iterator[str]:
    """Every way in which the texts may write these shares."""
    for value in values:
        if value > 1 and float(value).is_integer():
            continue  # a count
        yield from (f"{100 * value:.0f}%", f"{100 * value:.1f}%")
        if 0 < value < 0.001:
            yield "0.1%"
        if 0.99 < value < 1:
            yield "99.9%"


def _numbers(session: Debugger) -> Iterator[float]:
    """What can be counted or computed where the session stands, without the explanations' own code."""
    model, event, prompt = session.inspector.model, session.run.event, session.debuggee.prompt
    config = model.config.get_text_config(decoder=True)
    yield len(session.debuggee.anatomy.layers())
    yield sum(parameter.numel() for parameter in model.parameters())
    stored = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    yield from (stored, stored / 2**10, stored / 2**20, stored / 2**30)
    yield model.get_input_embeddings().weight.shape[0]
    yield from (
        len(prompt.ids),
        len(prompt.ids) - prompt.padding,
        prompt.padding,
        sum(session.debuggee.vocabulary.token(id).special for id in prompt.ids),
    )
    loading = session.inspector.loaded.loading
    yield from () if loading is None else (loading.seconds,)
    yield session.inspector.focus_position()
    yield from () if event.stage.layer is None else (event.stage.layer,)
    for name in ("num_attention_heads", "num_key_value_heads", "num_local_experts", "num_experts_per_tok"):
        value = getattr(config, name, None)
        yield from (value,) if isinstance(value, int) else ()
    yield from (config.temperature,) if getattr(config, "temperature", None) else ()
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"):
        value = None if session.debuggee.sampling is None else session.debuggee.sampling.values.get(name)
        yield from (value,) if isinstance(value, (int, float)) else ()
    module = session.debuggee.anatomy.modules.get(event.stage.address)
    if module is not None:
        yield sum(parameter.numel() for parameter in module.parameters())
        yield from (size for parameter in module.parameters() for size in parameter.shape)
    yield from _of_output(session)
    yield from _of_choice(session)
    yield from _of_lens(session)
    yield from _of_attention(session)


def _of_output(session: Debugger) -> Iterator[float]:
    output = main_tensor(session.run.event.output)
    if output is None or not output.is_floating_point() or session.run.event.trail:
        return
    yield from output.shape
    vector = session.focus.vector(session.run.event)
    if vector is None:
        return
    yield float(vector.double().norm())
    first, _ = session.inspector.forward_positions()
    for each in session.run.event.args:
        if isinstance(each, torch.Tensor) and each.shape == output.shape:
            before = each[0, session.inspector.focus_position() - first].double()
            yield float((vector.double() - before).norm() / before.norm())
            yield float(torch.nn.functional.cosine_similarity(vector.double(), before, dim=0))


def _of_choice(session: Debugger) -> Iterator[float]:
    trail = [scores[0].double() for _, scores in session.run.event.trail]
    probs = [scores.softmax(-1) for scores in trail]
    for before, after in zip((probs[:1] + probs)[: len(probs)], probs, strict=True):
        for leader in (int(after.argmax()), int(before.argmax())):
            yield from (float(before[leader]), float(after[leader]))
    left = [int((scores != -torch.inf).sum()) for scores in trail]
    yield from left
    yield from (before - after for before, after in pairwise(left))
    if not probs:
        return
    overrides = session.debuggee.timeline.overrides.get(session.run.event.token)
    yield from probs[-1].topk(2).values.tolist()
    for id in () if overrides is None else overrides.ban:
        trail[-1] = trail[-1].index_fill(0, torch.tensor([id]), -torch.inf)
    last = trail[-1].softmax(-1)
    yield from last.topk(2).values.tolist()
    entropy = float(torch.special.entr(last).sum())
    yield from (entropy, math.exp(entropy))
    chosen = session.run.event.chosen
    if chosen is not None:
        other = last.clone()
        other[chosen] = 0
        lead = float(last[chosen] - other.max())
        yield from (float(probs[0][chosen]), float(last[chosen]), float(other.max()), lead, 100 * lead)
        yield int((trail[-1] > trail[-1][chosen]).sum()) + 1


def _of_lens(session: Debugger) -> Iterator[float]:
    """The two likeliest tokens of this vector, by the model's own final norm and head called here."""
    for probs in _lens_probs_here(session):
        yield from probs.topk(2).values.tolist()


def _lens_probs(session: Debugger) -> Iterator[torch.Tensor]:
    vector, model = session.focus.vector(session.run.event), session.inspector.model
    norm, head = session.debuggee.anatomy.modules["norm"], model.get_output_embeddings()
    with torch.no_grad():
        assert vector is not None
        normed = vector if session.run.event.stage.kind is StageKind.NORM else norm.forward(vector[None])[0]
        yield head.forward(normed[None])[0].float().softmax(-1)


def _of_attention(session: Debugger) -> Iterator[float]:
    """The mean over the heads of this layer's weights, as an eager copy of the model gives them out."""
    layer = session.run.event.stage.layer
    if layer is None:
        return
    weights: Any = eager_weights(session)
    if weights is None:
        return
    first, _ = session.inspector.forward_positions()
    if len(weights) != len(session.debuggee.anatomy.layers()):
        weights = dict(zip((each.layer for each in attentions(session.debuggee.anatomy)), weights, strict=True))
        if layer not in weights:
            return
    row = weights[layer][0, :, session.inspector.focus_position() - first].double().mean(0)
    yield from row.tolist()
    yield weights[layer].shape[1]


def eager_weights(session: Debugger) -> tuple[torch.Tensor, ...] | dict[int | None, torch.Tensor] | None:
    """Every layer's attention weights (1, heads, queries, keys) in the present token's forward, None where none are."""
    import copy

    live = session.inspector.model
    # Made anew: a deep copy would take the debugger's hooks along.
    model = type(live)(copy.deepcopy(live.config)).eval()
    model.load_state_dict(live.state_dict())
    try:
        model.set_attn_implementation("eager")
    except (ValueError, KeyError, AttributeError):
        return None
    ids = torch.tensor([[*session.debuggee.prompt.ids, *session.run.generated_ids()[: session.run.event.token]]])
    with torch.no_grad():
        try:
            found = model(ids, output_attentions=True, use_cache=False).attentions
        except (AttributeError, TypeError, ValueError):
            return None
    if not found:
        return None
    first, length = session.inspector.forward_positions()
    return tuple(each[:, :, first : first + length, : first + length] for each in found)


def _words(session: Debugger) -> Iterator[str]:
    """Every word the text may quote: the sequence's, the likeliest ones', names of parts."""
    event = session.run.event
    rows = session.run.tokens()
    yield from (row.text for row in rows)
    pieces = [row.text.strip() for row in rows]
    yield from ("".join(pieces[i:j]) for i in range(len(pieces)) for j in range(i + 2, min(len(pieces), i + 8) + 1))
    for _, scores in event.trail:
        yield from map(session.debuggee.vocabulary.text, scores[0].topk(2).indices.tolist())
    if event.chosen is not None:
        yield session.debuggee.vocabulary.text(event.chosen)
    for probs in _lens_probs_here(session):
        yield from map(session.debuggee.vocabulary.text, probs.topk(2).indices.tolist())
    module = session.debuggee.anatomy.modules.get(event.stage.address)
    if module is not None:
        yield from (name for name, _ in module.named_children())
        yield type(module).__name__
    yield event.stage.address.rpartition(".")[2]


def run_numbers(facts: StageFacts) -> tuple[object, ...]:
    """What another prompt or another layer has to change."""
    return (facts.norm, facts.moved, facts.guesses, facts.entropy, facts.choice, facts.prompt, facts.reads)
