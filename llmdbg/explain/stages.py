"""The explanation of a stage, made from its facts, and a one-sentence summary of what has just happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain import input_text, layer_text, sampling_text
from llmdbg.explain.explanation import Explanation
from llmdbg.explain.facts import ModuleRole
from llmdbg.explain.glossary import terms_in
from llmdbg.formatting import counted, likeliest, milliseconds, percent, quote
from llmdbg.models.stages import WHOLE_MODEL, Stage, StageKind, gradient_of, line_parts, op_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdbg.explain.facts import StageFacts
    from llmdbg.probes.candidates import Candidates, ChosenToken

_ABOUT: dict[StageKind, Callable[[StageFacts], Iterator[str]]] = {
    StageKind.TOKENIZE: input_text.about_tokenize,
    StageKind.EMBED: input_text.about_embed,
    StageKind.LAYER: layer_text.about_layer,
    StageKind.MODULE: layer_text.about_module,
    StageKind.NORM: sampling_text.about_norm,
    StageKind.LOGITS: sampling_text.about_logits,
    StageKind.PROCESSOR: sampling_text.about_processor,
    StageKind.SAMPLE: sampling_text.about_choice,
    StageKind.LINE: layer_text.about_line,
    StageKind.OP: layer_text.about_op,
    StageKind.GRADIENT: layer_text.about_gradient,
}


_OUTPUT_VECTORS = (
    ModuleRole.ATTENTION,
    ModuleRole.MLP,
    ModuleRole.MIXTURE,
    ModuleRole.STATE_SPACE,
    ModuleRole.RECURRENT,
    ModuleRole.NORM,
)


def explained(facts: StageFacts) -> Explanation:
    """Explain a stage, mentioning only what the facts hold."""
    texts = [*_ABOUT[facts.stage.kind](facts)]
    role = None if facts.part is None else facts.part.role
    has_vector = facts.stage.kind in (StageKind.LAYER, StageKind.NORM) or role in _OUTPUT_VECTORS
    texts += [sampling_text.about_guess(facts), input_text.about_vector(facts) if has_vector else ""]
    texts += [input_text.about_padding(facts), input_text.about_edits(facts), input_text.about_broken(facts)]
    texts.append(input_text.about_phase(facts))
    plain = tuple(text for text in texts if text)
    return Explanation(title_of(facts), plain, tuple(_engineer(facts)), terms_in(" ".join(plain)), facts)


def title_of(facts: StageFacts) -> str:
    """A stage's name and what happens there, for people."""
    stage = facts.stage
    names = {
        StageKind.TOKENIZE: "tokenize: text becomes tokens",
        StageKind.EMBED: "embed: tokens become vectors",
        StageKind.LAYER: f"layer {stage.layer} of {facts.model.layers}",
        StageKind.NORM: "the final norm",
        StageKind.LOGITS: "logits: a score for every token",
        StageKind.SAMPLE: "sample: a token is chosen",
    }
    if stage.kind in names:
        return names[stage.kind]
    if stage.kind is StageKind.PROCESSOR:
        return f"{stage.address}: the scores are changed"
    role = "" if facts.part is None or facts.part.role is ModuleRole.OTHER else f", {facts.part.role}"
    return f"{stage.address}{role}"


def _engineer(facts: StageFacts) -> Iterator[str]:
    if facts.shape is not None:
        timed = "" if facts.ms is None else f", {milliseconds(facts.ms, 2)}"
        yield f"output {list(facts.shape)} {facts.model.dtype if facts.dtype is None else facts.dtype}{timed}"
    yield from input_text.engineer_input(facts)
    if facts.stage.kind in (StageKind.LAYER, StageKind.MODULE, StageKind.NORM):
        yield from layer_text.engineer_part(facts)
    yield from sampling_text.engineer_sampling(facts)


def happened(
    stage: Stage, *, size: int, prompt_length: int, found: Candidates | None, chosen: ChosenToken | None
) -> str:
    """What the stage that has just run did, in one sentence.

    `size` is how many numbers each vector of its output has, `found` the candidates and `chosen` the token at stages
    that have them. Empty for a stage kind without a sentence.
    """
    if chosen is not None:
        return f"the next token is chosen: {quote(chosen.text)}, {likeliest(chosen.rank)} at {percent(chosen.prob)}"
    sentences = {
        StageKind.TOKENIZE: f"the prompt is split into {counted(prompt_length, 'token')}, each with its own number",
        StageKind.EMBED: f"each token's number is looked up and becomes a vector of {size} numbers",
        StageKind.LAYER: f"layer {stage.layer} has added its result to the vector of each position",
        StageKind.MODULE: f"{_last_name(stage.address)} has run, a part of {_whole(stage.address, stage.layer)}",
        StageKind.NORM: "the vectors are scaled to a common size before the scores are computed",
        StageKind.LOGITS: "the last position's vector is compared with every token, which gives the scores",
        StageKind.PROCESSOR: _processed(stage, found),
        StageKind.LINE: f"this line of {_module(stage)} runs next",
        StageKind.OP: f"{_operation(stage)} has run, a single operation of {_module(stage)}",
        StageKind.GRADIENT: f"backward has come to {gradient_of(stage.address)}: this is how the loss depends on it",
    }
    return sentences.get(stage.kind, "")


def _module(stage: Stage) -> str:
    parts = line_parts(stage.address) or op_parts(stage.address)
    return "the model" if parts is None or parts[0] == WHOLE_MODEL else parts[0]


def _operation(stage: Stage) -> str:
    parts = op_parts(stage.address)
    return stage.address if parts is None else parts[1]


def _processed(stage: Stage, found: Candidates | None) -> str:
    name = _last_name(stage.address)
    if found is None:
        return f"{name} has changed the scores"
    cut = dict(found.cuts).get(found.address, 0)
    if cut:
        return f"{name} has cut {cut:,} tokens: {found.left:,} may still be chosen"
    return f"{name} has changed the scores: {found.left:,} tokens may be chosen"


def _last_name(address: str) -> str:
    return address.rpartition(".")[2]


def _whole(address: str, layer: int | None) -> str:
    outer = address.rpartition(".")[0]
    if layer is None:
        return "the model" if outer in ("", "model") else outer
    return f"layer {layer}" if outer == str(layer) else outer.partition(".")[2] + f" in layer {layer}"
