"""Which modules of a model are which stages, read off its module tree.

- The embedding and the head are what the model's own getters say they are.
- The decoder layers are the list of blocks as long as the configuration says, with the most parameters in it.
- The final norm is the norm-like module beside or above that list, the last one registered.
- Everything else is a stage by its place in the tree: inside a layer `12.self_attn.q_proj`, elsewhere its dotted path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from llmdbg.models.stages import SAMPLE, TOKENIZE, Stage, StageKind

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Never called themselves; their children are.
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The stages of a model, in the order they complete in a forward as far as the tree tells.

    `modules` holds the module of each stage that a module runs, by the stage's address. `context_length` is the number
    of positions the model was made for, None where it has no such limit.
    """

    stages: tuple[Stage, ...]
    modules: Mapping[str, nn.Module]
    context_length: int | None
    _by_address: Mapping[str, Stage] = field(repr=False)

    def stage(self, address: str) -> Stage:
        """The stage at an address. Raises KeyError."""
        return self._by_address[address]

    def layers(self) -> tuple[Stage, ...]:
        """The decoder layers."""
        return tuple(stage for stage in self.stages if stage.kind is StageKind.LAYER)

    def outline(self) -> tuple[Stage, ...]:
        """The stages of depth 1."""
        return tuple(stage for stage in self.stages if stage.depth == 1)

    def enclosing(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages whose module contains this one's, innermost first."""
        return tuple(reversed(self._enclosing[stage.address]))

    @cached_property
    def _enclosing(self) -> Mapping[str, tuple[Stage, ...]]:
        paths = {stage.module: stage for stage in self.stages if stage.module and stage.address in self.modules}
        return {stage.address: tuple(_above(stage.module, paths)) for stage in self.stages}


def _above(path: str | None, stages: Mapping[str, Stage]) -> Iterator[Stage]:
    parts = (path or "").split(".")
    for length in range(1, len(parts)):
        if outer := stages.get(".".join(parts[:length])):
            yield outer


def dissect(model: PreTrainedModel) -> Anatomy:
    """Find the stages of a causal language model."""
    names = {module: name for name, module in model.named_modules()}
    embed, head = model.get_input_embeddings(), model.get_output_embeddings()
    layers = _layer_list(model)
    prefix = names[layers] if layers is not None else None
    norm = _final_norm(model, names, prefix, (embed, head)) if prefix is not None else None

    modules: dict[str, nn.Module] = {}
    stages: list[Stage] = []
    for module, path in _in_order_of_completion(model, names, norm, head):
        kind, address, layer = _place(module, path, prefix, {embed: StageKind.EMBED, norm: StageKind.NORM})
        if kind is None:
            continue
        outer = sum(1 for other in _parents(path) if _is_stage(other, model, prefix))
        depth = outer + (2 if kind is StageKind.MODULE and layer is None else 1)
        stage = Stage(kind, address, path, layer, depth)
        stages.append(stage)
        modules[address] = module
    logits = Stage(StageKind.LOGITS, "logits", names.get(head) if head is not None else None)
    every = (TOKENIZE, *stages, logits, SAMPLE)
    return Anatomy(every, modules, _context_length(model), {stage.address: stage for stage in every})


def _place(
    module: nn.Module, path: str, prefix: str | None, named: Mapping[nn.Module | None, StageKind]
) -> tuple[StageKind | None, str, int | None]:
    """What stage a module is: its kind (None for no stage at all), address and layer."""
    if module in named:
        return named[module], str(named[module].value), None
    if not path or isinstance(module, _CONTAINERS):
        return None, "", None
    if prefix is not None:
        if path.startswith(f"{prefix}."):
            layer, _, inner = path.removeprefix(f"{prefix}.").partition(".")
            index = int(layer)
            return (StageKind.MODULE, f"{index}.{inner}", index) if inner else (StageKind.LAYER, layer, index)
        if path == prefix or prefix.startswith(f"{path}."):
            return None, "", None
    return StageKind.MODULE, path, None


def _is_stage(path: str, model: nn.Module, prefix: str | None) -> bool:
    return _place(model.get_submodule(path), path, prefix, {})[0] is not None


def _parents(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts)))


def _in_order_of_completion(
    model: nn.Module, names: Mapping[nn.Module, str], norm: nn.Module | None, head: nn.Module | None
) -> Iterator[tuple[nn.Module, str]]:
    """Children before parents; the final norm and the head after everything else."""

    def walk(module: nn.Module, path: str) -> Iterator[tuple[nn.Module, str]]:
        for name, child in module.named_children():
            child_path = f"{path}.{name}" if path else name
            if names.get(child) == child_path:
                yield from walk(child, child_path)
        yield module, path

    everything = list(walk(model, ""))
    last = [module for module in (norm, head) if module is not None]
    yield from (pair for pair in everything if pair[0] not in last)
    yield from ((module, names[module]) for module in last if module in names)


def _layer_list(model: PreTrainedModel) -> nn.Module | None:
    """The list of decoder blocks."""
    decoder = model.get_decoder()
    root = decoder if isinstance(decoder, nn.Module) else model
    count = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    lists = [
        (path, module)
        for path, module in root.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) and not _is_leafy(module)
    ]
    outermost = [
        (path, module) for path, module in lists if not any(path.startswith(f"{other}.") for other, _ in lists)
    ]
    best = max(outermost, key=lambda each: (len(each[1]) == count, _size(each[1])), default=None)
    return best[1] if best else None


def _is_leafy(modules: nn.ModuleList | nn.Sequential) -> bool:
    """Whether it is a list of single operations rather than of blocks."""
    return all(next(module.children(), None) is None for module in modules)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _final_norm(
    model: PreTrainedModel, names: Mapping[nn.Module, str], prefix: str, others: tuple[nn.Module | None, ...]
) -> nn.Module | None:
    """The norm between the last layer and the head: beside the layer list or above it, the last one registered."""
    places = {prefix.rpartition(".")[0]}
    while places and (inner := min(places, key=len)):
        places.add(inner.rpartition(".")[0])
    hidden = getattr(model.config.get_text_config(decoder=True), "hidden_size", None)
    found = [
        (len(path.split(".")), index, path, module)
        for index, (module, path) in enumerate(names.items())
        if path.rpartition(".")[0] in places and module not in others and _is_norm(module, path, hidden)
    ]
    listed = list(names.values()).index(prefix)
    after = [each for each in found if each[1] > listed]
    candidates = after or [each for each in found if "embed" not in each[2].rpartition(".")[2]]
    return max(candidates, key=lambda each: each[1])[3] if candidates else None


def _is_norm(module: nn.Module, path: str, hidden: int | None) -> bool:
    if next(module.children(), None) is not None:
        return False
    name = f"{path.rpartition('.')[2]} {type(module).__name__}".lower()
    weights = list(module.parameters(recurse=False))
    fits = all(weight.dim() <= 1 and (hidden is None or weight.numel() == hidden) for weight in weights)
    return fits and any(word in name for word in ("norm", "ln_", "ln ", "_ln", "layernorm"))


def _context_length(model: PreTrainedModel) -> int | None:
    config = model.config.get_text_config(decoder=True)
    for name in _CONTEXT_NAMES:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None
