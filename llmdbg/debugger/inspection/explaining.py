"""Collects this run's words and numbers for the explanations.

They are about the current stop. About any other stage there is only what the model itself says.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.inspection.choice_facts import choice_facts, processor_steps
from llmdbg.debugger.inspection.present_tensor import residual_change
from llmdbg.debugger.inspection.recorded_facts import (
    recorded_choice,
    recorded_model_facts,
    recorded_module_facts,
    recorded_steps,
)
from llmdbg.debugger.known_values import known_of
from llmdbg.engine.debuggee import Capability
from llmdbg.errors import CommandError, LensError
from llmdbg.explain.explanation import Explanation
from llmdbg.explain.facts import (
    AttentionFacts,
    ModelFacts,
    ModuleFacts,
    ModuleRole,
    PredictedToken,
    PromptFacts,
    SplitWord,
    StageFacts,
)
from llmdbg.explain.roles import part_facts
from llmdbg.explain.stages import explained
from llmdbg.models.attentions import attentions
from llmdbg.models.remembered import remembered
from llmdbg.models.stages import Stage, StageKind
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.probes.lens_table import LensTable

_SEARCHED = 1_000
_RESIDUAL = (StageKind.EMBED, StageKind.LAYER, StageKind.NORM)


def explain_here(inspector: Inspector, *, avoid_rerun: bool = False) -> Explanation:
    """Explain the stage the run stands at.

    The first time costs one forward to check the lens against the model and at most one for this token's attention;
    `avoid_rerun` skips both if that means running a long prompt again.
    """
    return explained(facts_here(inspector, avoid_rerun=avoid_rerun))


def explain_stage(inspector: Inspector, stage: Stage) -> Explanation:
    """Explain a stage: with this run's numbers if it is the current one, in general otherwise."""
    if stage == inspector.stop.stage:
        return explain_here(inspector)
    return explained(
        StageFacts(
            stage=stage,
            here=False,
            phase=inspector.stop.phase,
            token=inspector.stop.token,
            model=model_facts(inspector),
            prompt=_prompt_facts(inspector, words=False),
            first=inspector.forward_positions()[0],
            fed=inspector.forward_positions()[1],
            part=module_facts(inspector, stage),
        )
    )


def facts_here(inspector: Inspector, *, avoid_rerun: bool = False) -> StageFacts:
    """The facts about the current stop. Raises UnableError where several requests are in view."""
    inspector.run.lane.require_one()
    stop, stage = inspector.stop, inspector.stop.stage
    tensor = None if stage.kind in (StageKind.TOKENIZE, StageKind.SAMPLE) else stop.tensor
    part = module_facts(inspector, stage)
    spared = avoid_rerun and inspector.is_long()
    table = None if spared else _lens_table(inspector)
    known = known_of(inspector.event)
    steps = processor_steps(inspector) if known is None else recorded_steps(inspector, known)
    focus = None if tensor is None else tensor.focus
    at = None if tensor is None or tensor.focus_position is None else tensor.focus_position
    moved = residual_change(inspector) if stage.kind in (StageKind.LAYER, StageKind.NORM) else None
    return StageFacts(
        stage=stage,
        here=True,
        phase=stop.phase,
        token=stop.token,
        model=model_facts(inspector),
        prompt=_prompt_facts(inspector, words=stage.kind is StageKind.TOKENIZE),
        first=inspector.forward_positions()[0],
        fed=inspector.forward_positions()[1],
        at=None if at is None else (at, inspector.run.tokens()[at].text),
        shape=None if stop.tensor is None else stop.tensor.shape,
        dtype=None if stop.tensor is None else stop.tensor.dtype,
        norm=None if focus is None or not math.isfinite(focus.norm) else focus.norm,
        not_finite=_not_finite(inspector),
        edited=tuple(each.number for each in inspector.run.edits.list() if each.applies(inspector.event)),
        looked_up=_looked_up(inspector),
        padding_here=at is not None and at < inspector.prompt.padding,
        ms=stop.ms,
        moved=None if moved is None else (moved.relative, moved.cosine),
        part=part,
        guesses=tuple(each for each in _guesses(inspector, spared=spared) if math.isfinite(each.prob)),
        no_lens=inspector.run.metrics.no_lens,
        entropy=None
        if stop.candidates is None or not math.isfinite(stop.candidates.entropy)
        else stop.candidates.entropy,
        left=None if stop.candidates is None else stop.candidates.left,
        reads=None if spared else _reads(inspector, part is not None and part.role == ModuleRole.ATTENTION),
        processor=steps[-1] if steps and stage.kind is StageKind.PROCESSOR else None,
        steps=steps,
        choice=choice_facts(inspector, table) if known is None else recorded_choice(inspector, known),
    )


def _not_finite(inspector: Inspector) -> int:
    """How many values of the stage's output are NaN or infinite, not counting the -inf of cut tokens."""
    stop = inspector.stop
    if stop.stage.kind is StageKind.SAMPLE and not inspector.event.trail:
        return 0
    if stop.stage.kind is StageKind.SAMPLE:
        scores = inspector.event.trail[-1][1]
        return int(scores.isnan().sum())
    numbers = None if stop.tensor is None else stop.tensor.telling
    return 0 if numbers is None else numbers.nan + numbers.inf


def _looked_up(inspector: Inspector) -> bool | None:
    """Whether the embedding returned the focus token's row of its table unchanged; None if unknown."""
    if inspector.stop.stage.kind is not StageKind.EMBED or known_of(inspector.event) is not None:
        return None
    vector, position = inspector.focus.vector(inspector.event), inspector.focus_position()
    weight = inspector.model.get_input_embeddings().weight
    if vector is None or weight.device.type == "meta" or not weight.is_floating_point():
        return None
    row = weight[inspector.run.tokens()[position].id].to(vector.device)
    return row.shape == vector.shape and bool(torch.equal(row.to(vector.dtype), vector))


def model_facts(inspector: Inspector) -> ModelFacts:
    """The facts that the model and its configuration state."""
    if (known := known_of(inspector.event)) is not None:
        return recorded_model_facts(inspector, known)
    loaded = inspector.loaded
    model, config = loaded.model, loaded.model.config.get_text_config(decoder=True)
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    width = getattr(config, "hidden_size", None)
    parameters, size = _weights(model)
    return ModelFacts(
        name=loaded.name,
        architecture=type(model).__name__,
        layers=len(inspector.anatomy.layers()),
        parameters=parameters,
        bytes=size,
        dtype=dtype_name(model.dtype),
        device=loaded.device,
        vocabulary=int(table.weight.shape[0]),
        width=width if isinstance(width, int) else None,
        context=inspector.anatomy.context_length,
        tied=head is not None and getattr(head, "weight", None) is table.weight,
        head=head is not None,
        splits_by=_tokenizer_kind(inspector),
        attends=bool(attentions(inspector.anatomy)),
        cached=inspector.debuggee.cache is not None,
        loading=loaded.loading,
    )


@remembered
def _weights(model: PreTrainedModel) -> tuple[int, int]:
    """How many parameters a model has, and their bytes."""
    return int(model.num_parameters()), sum(each.numel() * each.element_size() for each in model.parameters())


def _tokenizer_kind(inspector: Inspector) -> str | None:
    """What splits the text: the model of a fast tokenizer (`BPE`), else the tokenizer's class.

    None without a tokenizer; empty if there may be one that is not at hand.
    """
    tokenizer = inspector.loaded.tokenizer
    if tokenizer is None:
        # The ids of a program may be of a tokenizer that is not at hand here.
        return None if Capability.SAMPLING in inspector.debuggee.capabilities else ""
    backend = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    return type(tokenizer if backend is None else backend).__name__


def module_facts(inspector: Inspector, stage: Stage) -> ModuleFacts | None:
    """What was found out about the module that runs a stage; None if no module does."""
    if stage.kind not in (StageKind.LAYER, StageKind.MODULE, StageKind.NORM):
        return None
    if (known := known_of(inspector.event)) is not None:
        return recorded_module_facts(stage, known)
    config = inspector.model.config.get_text_config(decoder=True)
    return part_facts(stage, inspector.anatomy, config)


def _prompt_facts(inspector: Inspector, *, words: bool) -> PromptFacts:
    prompt = inspector.prompt
    every = inspector.run.tokens()[prompt.padding : len(prompt.ids)]
    rows = every if words else ()
    split = tuple(_split_words(inspector, rows[:_SEARCHED]))
    return PromptFacts(len(prompt.ids), sum(row.special for row in every), prompt.padding, split)


def split_words(inspector: Inspector) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Words of the prompt that no single token stands for, each once, with the texts of its tokens."""
    rows = inspector.run.tokens()[inspector.prompt.padding : len(inspector.prompt.ids)]
    return tuple((each.word, each.pieces) for each in _split_words(inspector, rows[:_SEARCHED]))


def _split_words(inspector: Inspector, rows: Sequence[TokenRow]) -> Iterator[SplitWord]:
    """Each word of several tokens, once, if no single token stands for it, with or without a leading space."""
    # A recording does not know which words are tokens.
    if known_of(inspector.event) is not None or inspector.loaded.tokenizer is None:
        return
    seen = set()
    for pieces in _pieces_of_words(rows):
        word = "".join(pieces).strip()
        known = (inspector.vocabulary.id_of(each) for each in (word, f" {word}"))
        if len(pieces) > 1 and word not in seen and all(id is None for id in known):
            seen.add(word)
            yield SplitWord(word, pieces)


def _pieces_of_words(rows: Sequence[TokenRow]) -> Iterator[tuple[str, ...]]:
    pieces: list[str] = []
    for row in rows:
        is_letters = not row.special and row.text.strip().isalnum() and row.text == row.text.rstrip()
        if pieces and is_letters and not row.text[0].isspace():
            pieces.append(row.text)
            continue
        if pieces:
            yield tuple(pieces)
        pieces = [row.text] if is_letters else []
    if pieces:
        yield tuple(pieces)


def _lens_table(inspector: Inspector) -> LensTable | None:
    """Each layer's prediction, once the token has been chosen; None before that, or without a lens."""
    if inspector.stop.stage.kind is not StageKind.SAMPLE:
        return None
    from llmdbg.debugger.inspection import lens

    try:
        found = lens.ask(inspector, "")
    except (LensError, CommandError):
        return None
    return None if isinstance(found, str) else found


def _guesses(inspector: Inspector, *, spared: bool) -> tuple[PredictedToken, ...]:
    """The two likeliest tokens: by the scores from `logits` on, by the lens before that (one product with the head)."""
    found = inspector.stop.candidates
    if found is not None:
        return tuple(PredictedToken(row.text, row.prob) for row in found.rows[:2] if not row.cut_by)
    if spared or inspector.stop.stage.kind not in _RESIDUAL:
        return ()
    from llmdbg.debugger.inspection.lens import residuals_request, usable_lens

    recorded = inspector.run.recorder.found(residuals_request(inspector), inspector.event.token)
    here = inspector.stop.stage.address
    known = inspector.read_layers.known(here, recorded.get(here))
    if known is not None and known.others and not inspector.run.metrics.unverified():
        return PredictedToken(known.text, known.prob), PredictedToken(*known.others[0][1:])
    try:
        lens = usable_lens(inspector)
    except LensError:
        return ()
    vector = inspector.focus.vector(inspector.event)
    if vector is None or len(vector) != lens.width:
        return ()
    probs = torch.softmax(lens.logits(vector[None], normed=inspector.stop.stage.kind is StageKind.NORM)[0], dim=-1)
    best = probs.topk(2)
    # Ids are exact in float64, so that one copy brings both.
    ids, values = torch.stack((best.indices.double(), best.values.double())).tolist()
    return tuple(PredictedToken(inspector.vocabulary.text(int(id)), prob) for id, prob in zip(ids, values, strict=True))


def _reads(inspector: Inspector, is_attention: bool) -> AttentionFacts | None:
    """Which tokens this layer's attention reads from; None if unknown."""
    stage = inspector.stop.stage
    if not (is_attention or stage.kind is StageKind.LAYER):
        return None
    from llmdbg.debugger.inspection import attention

    try:
        found = attention.following(inspector)
    except (LensError, CommandError):
        return None
    if isinstance(found, str) or found.layer != stage.layer:
        return None
    heads = found.heads
    first = sum(head.first for head in heads) / len(heads)
    read = tuple((each.position, each.text, each.weight) for each in found.mean)
    return AttentionFacts(found.layer, found.position, len(heads), read, first)
