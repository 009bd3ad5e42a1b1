"""The stages of the models that a program calls: the first under its own addresses, others after a prefix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from torch import nn

from llmdbg.models.anatomy import Anatomy, dissect
from llmdbg.models.compiled import WRAPPER
from llmdbg.models.module_trees import AnyModel, as_asked
from llmdbg.models.stages import SAMPLE, TOKENIZE, Stage, StageKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedModel

ENCODER = "encoder"


def anatomy_of(model: nn.Module, prefix: str = "", found: Anatomy | None = None) -> Anatomy:
    """The stages of a model. An encoder's blocks are stages of the outline, under `encoder.0`, `encoder.1` …

    `found` are its stages where they are known already.
    With a `prefix`, it is in front of every address, and no stage is one of the decoder layers: those are the first
    model's.
    """
    found = found or _dissected(model)
    stages = tuple(each for each in found.stages if each not in (TOKENIZE, SAMPLE))
    modules = dict(found.modules)
    if (encoder := _encoder_blocks(model)) is not None:
        stages, modules = _with_encoder(stages, modules, encoder)
    if prefix:
        modules = {f"{prefix}.{address}": module for address, module in modules.items()}
        stages = tuple(_prefixed(each, prefix) for each in stages)
    return Anatomy((TOKENIZE, *stages, SAMPLE), modules, found.context_length)


def _dissected(model: nn.Module) -> Anatomy:
    try:
        return dissect(as_asked(model))
    except Exception:  # a transformers model without embeddings, or with parts of its own kind
        return dissect(cast("PreTrainedModel", AnyModel(model)))


def together(anatomies: Sequence[Anatomy]) -> Anatomy:
    """The stages of several models as one; the context is the first's."""
    stages = [each for anatomy in anatomies for each in anatomy.stages if each not in (TOKENIZE, SAMPLE)]
    modules = {address: module for anatomy in anatomies for address, module in anatomy.modules.items()}
    return Anatomy((TOKENIZE, *stages, SAMPLE), modules, anatomies[0].context_length)


def entries(model: nn.Module, anatomy: Anatomy) -> list[nn.Module]:
    """The modules of a model that a program calls from outside: it, its stacks, and what is around its layers."""
    paths: Iterable[str] = (stage.module for stage in anatomy.stages if stage.kind is StageKind.LAYER and stage.module)
    layer = next(iter(paths), "")
    parts = layer.split(".")
    if type(model).__name__ == WRAPPER:
        # What torch.compile makes of it calls no hooks in its inside, but would take apart what carries some.
        return [model]
    around = [model]
    by_path = dict(model.named_modules())
    for length in range(1, len(parts) - 1):
        module = by_path.get(".".join(parts[:length]))
        if module is not None and not isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            around.append(module)
    if (encoder := encoder_of(model)) is not None:
        around.append(encoder)
    return list(dict.fromkeys(around))


def encoder_of(model: nn.Module) -> nn.Module | None:
    """The encoder of an encoder-decoder; None for any other model."""
    config = getattr(model, "config", None)
    if not getattr(config, "is_encoder_decoder", False):
        return None
    get = getattr(model, "get_encoder", None)
    found = get() if callable(get) else None
    return found if isinstance(found, nn.Module) and found is not model else None


def _encoder_blocks(model: nn.Module) -> str | None:
    """The path of the list of an encoder's blocks."""
    encoder = encoder_of(model)
    if encoder is None:
        return None
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and any(module is each for each in encoder.modules())
    }
    outermost = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    return max(outermost, key=lambda path: sum(each.numel() for each in lists[path].parameters()), default=None)


def _with_encoder(
    stages: Sequence[Stage], modules: Mapping[str, nn.Module], blocks: str
) -> tuple[tuple[Stage, ...], dict[str, nn.Module]]:
    """The stages with an encoder's blocks in the outline, before what comes after them in the module tree."""
    inside = [each for each in stages if (each.module or "").startswith(f"{blocks}.")]
    above = min((each.depth for each in inside), default=1) - 1
    named: dict[str, str] = {}
    found = []
    for stage in stages:
        if stage not in inside or stage.kind is not StageKind.MODULE:
            found.append(stage)
            continue
        address = f"{ENCODER}.{(stage.module or '').removeprefix(f'{blocks}.')}"
        named[stage.address] = address
        found.append(replace(stage, address=address, depth=stage.depth - above))
    return tuple(found), {named.get(address, address): module for address, module in modules.items()}


def _prefixed(stage: Stage, prefix: str) -> Stage:
    module = None if stage.module is None else f"{prefix}.{stage.module}"
    return Stage(StageKind.MODULE, f"{prefix}.{stage.address}", module, None, stage.depth)
