"""What a recording says for the explanations: of its model, of a module, and of how a token was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from llmdbg.errors import CommandError
from llmdbg.explain.facts import ChoiceFacts, ModelFacts, ModuleFacts, PredictedToken, ProcessorFacts
from llmdbg.explain.recorded_roles import is_attention, recorded_part_facts
from llmdbg.formatting import printable
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.models.stages import Stage
    from llmdbg.traces.records import RunHeader
    from llmdbg.traces.replay.known import KnownOutput

_DEEPEST = 64


def recorded_model_facts(inspector: Inspector, known: KnownOutput) -> ModelFacts:
    """The facts about the recorded model. Raises CommandError if the recording does not say which model it was."""
    header, anatomy = known.header, inspector.anatomy
    if header.vocabulary_size is None:
        raise CommandError("the recording does not say how large its model's vocabulary is, so nothing is explained")
    width = _config(header).get("hidden_size")
    return ModelFacts(
        name=inspector.debuggee.name,
        architecture=printable(header.model_class),
        layers=len(anatomy.layers()),
        parameters=0,
        bytes=0,
        dtype=printable(header.dtype),
        device=printable(header.device),
        vocabulary=header.vocabulary_size,
        width=width if isinstance(width, int) else None,
        context=anatomy.context_length,
        tied=_is_tied(header),
        head=any(each.kind is StageKind.LOGITS and each.module for each in anatomy.stages),
        splits_by="",
        attends=any(is_attention(each.module_class or "") for each in header.stages),
        cached=known.length == 1,
        loading=None,
    )


def recorded_module_facts(stage: Stage, known: KnownOutput) -> ModuleFacts | None:
    """What was recorded of the module that runs a stage; None if no module does."""
    header = known.header
    entry = next((each for each in header.stages if each.address == stage.address), None)
    if entry is None or entry.module is None or entry.module_class is None:
        return None
    inside = f"{entry.module}."
    below = [each for each in header.stages if each.module is not None and each.module.startswith(inside)]
    paths = {str(each.module).removeprefix(inside): each.module_class or "" for each in below}
    parts = {printable(path): kind for path, kind in paths.items() if not _is_deeper(path, paths)}
    shapes = {each.name.removeprefix(inside): each.shape for each in header.weights if each.name.startswith(inside)}
    return recorded_part_facts(stage, printable(entry.module_class), parts, shapes, _config(header))


def _is_deeper(path: str, others: Mapping[str, str]) -> bool:
    """Whether a module is inside another one of these."""
    words = path.split(".", _DEEPEST)
    return any(".".join(words[:count]) in others for count in range(1, len(words)))


def recorded_steps(inspector: Inspector, known: KnownOutput) -> tuple[ProcessorFacts, ...]:
    """What each processor so far did to the token that was likeliest after it, as far as that was recorded."""
    sampling = inspector.debuggee.sampling
    found = []
    for before, after in pairwise(known.scores):
        if not (before.candidates and after.candidates) or after.left is None:
            continue
        leader, first = after.candidates[0], before.candidates[0]
        was = known.prob_at(before.address, leader.id)
        now = known.prob_at(after.address, first.id)
        if was is None:
            continue
        deposed = None
        if first.id != leader.id and now is not None and now < leader.prob:
            deposed = (first.text, first.prob, now)
        name = after.address.partition(".")[2]
        setting = None if sampling is None else sampling.values.get(name)
        found.append(ProcessorFacts(name, setting, leader.text, was, leader.prob, after.cut, after.left, deposed))
    return tuple(found)


def recorded_choice(inspector: Inspector, known: KnownOutput) -> ChoiceFacts | None:
    """The recorded choice at `sample`; None at every other stage, or where its scores were not recorded."""
    event, chosen = inspector.event, inspector.stop.chosen
    if chosen is None or not known.scores:
        return None
    overrides = inspector.debuggee.timeline.overrides.get(event.token)
    ban = frozenset[int]() if overrides is None else overrides.ban
    allowed = [each for each in known.scores[-1].candidates if each.id not in ban]
    other = next((each for each in allowed if each.id != chosen.id and each.prob > 0), None)
    leader = known.scores[-1].candidates[0] if ban and known.scores[-1].candidates else None
    sampling = inspector.debuggee.sampling
    return ChoiceFacts(
        text=chosen.text,
        prob=chosen.prob,
        rank=chosen.rank,
        raw=known.raw_probability(),
        greedy=sampling is None or not sampling.samples,
        runner_up=None if other is None else PredictedToken(other.text, other.prob),
        banned_leader=PredictedToken(leader.text, leader.prob) if leader is not None and leader.id in ban else None,
        forced=overrides is not None and overrides.force is not None,
        banned=tuple(inspector.vocabulary.text(id) for id in sorted(ban)),
        led=None,
        asked_layers=(),
        ended_by=event.ended_by,
        ended_with=event.ended_with,
    )


def _config(header: RunHeader) -> Mapping[str, Any]:
    """The configuration of the text model."""
    inner = header.config.get("text_config")
    return inner if isinstance(inner, dict) else header.config


def _is_tied(header: RunHeader) -> bool:
    """Whether the output head is known to be the embedding's own tensor."""
    modules = {each.kind: each.module for each in header.stages}
    embed, head = (f"{modules.get(kind)}.weight" for kind in (StageKind.EMBED, StageKind.LOGITS))
    tied = {each.name: each.tied_to for each in header.weights}
    return head in tied and embed in tied and (tied[head] == embed or tied[embed] == head)
