"""Which modules of a model are which stages, read off its module tree.

- The embedding and the head are what the model's own getters return.
- The decoder layers are the list of blocks whose length the configuration gives; of several, the one with most weights.
- The final norm is the last registered norm-like module beside or above that list.
- Every other module is a stage named by its place in the tree: `12.self_attn.q_proj` in a layer, else its dotted path.
- A module with several places in the tree (a layer used twice, an MLP that layers share) is a stage at each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor, nn

from llmdbg.models.configurations import context_length
from llmdbg.models.stages import SAMPLE, TOKENIZE, Stage, StageKind

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Only their children are ever called.
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The stages of a model, and the modules that run them."""

    stages: tuple[Stage, ...]
    """In the order in which they complete in a forward, as far as the module tree shows it."""
    modules: Mapping[str, nn.Module]
    """The module of each stage that a module runs, by address. A module may run several stages."""
    context_length: int | None
    """The number of positions the model was built for; None if it has no such limit."""

    def stage(self, address: str) -> Stage:
        """The stage with an address. Raises KeyError if there is none."""
        return self._by_address[address]

    def layers(self) -> tuple[Stage, ...]:
        """The decoder layers."""
        return self._layers

    def enclosing(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages whose modules contain this one's, innermost first."""
        return tuple(reversed(self._enclosing[stage.address]))

    @cached_property
    def _layers(self) -> tuple[Stage, ...]:
        return tuple(stage for stage in self.stages if stage.kind is StageKind.LAYER)

    @cached_property
    def _by_address(self) -> Mapping[str, Stage]:
        return {stage.address: stage for stage in self.stages}

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
    layers = _layer_list(model)
    places = _places(model, layers)
    first: dict[nn.Module | None, str] = {module: path for path, module in reversed(places.items())}
    embed, head = first.get(model.get_input_embeddings()), first.get(model.get_output_embeddings())
    prefix = first[layers] if layers is not None else None
    norm = _final_norm(model, places, prefix, (embed, head)) if prefix is not None else None
    named = {path: kind for path, kind in ((embed, StageKind.EMBED), (norm, StageKind.NORM)) if path is not None}

    modules: dict[str, nn.Module] = {}
    stages: list[Stage] = []
    for path in _in_order_of_completion(places, last=(norm, head)):
        kind, address, layer = _stage_at(path, places[path], prefix, named)
        if kind is None:
            continue
        outer = sum(1 for other in _parents(path) if _stage_at(other, places[other], prefix, {})[0] is not None)
        depth = 1 if kind is not StageKind.MODULE else outer + (2 if layer is None else 1)
        stages.append(Stage(kind, address, path, layer, depth))
        modules[address] = places[path]
    every = (TOKENIZE, *stages, Stage(StageKind.LOGITS, "logits", head), SAMPLE)
    return Anatomy(every, modules, context_length(model.config))


def vocabulary_size(model: PreTrainedModel) -> int | None:
    """How many ids the model has embeddings for; None if its input embedding is not a table."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return int(weight.shape[0]) if isinstance(weight, Tensor) and weight.dim() == 2 else None


def _places(model: PreTrainedModel, layers: nn.Module | None) -> dict[str, nn.Module]:
    """Every place in the module tree by its path, parents first. A module with several places has an entry for each.

    A list of modules, and whatever contains the decoder layers, is never run under a second name, so only its first
    place is kept.
    """
    places: dict[str, nn.Module] = {}
    registered: dict[nn.Module, tuple[nn.Module | None, str]] = {}
    alias: str | None = None
    for path, module in model.named_modules(remove_duplicate=False):
        if alias is not None and path.startswith(alias):
            continue
        parent, _, name = path.rpartition(".")
        here = (places[parent] if path else None, name)
        if registered.setdefault(module, here) != here and (_is_container(module) or _holds(module, layers)):
            alias = f"{path}."
            continue
        places[path] = module
    return places


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, _CONTAINERS)


def _holds(module: nn.Module, layers: nn.Module | None) -> bool:
    return any(inner is layers for inner in module.modules())


def _stage_at(
    path: str, module: nn.Module, prefix: str | None, named: Mapping[str, StageKind]
) -> tuple[StageKind | None, str, int | None]:
    """The stage at a place in the tree: its kind (None if it is not a stage), address and layer."""
    if path in named:
        return named[path], str(named[path].value), None
    if not path or _is_container(module):
        return None, "", None
    if prefix is not None:
        if path.startswith(f"{prefix}."):
            layer, _, inner = path.removeprefix(f"{prefix}.").partition(".")
            index = int(layer)
            return (StageKind.MODULE, f"{index}.{inner}", index) if inner else (StageKind.LAYER, layer, index)
        if path == prefix or prefix.startswith(f"{path}."):
            return None, "", None
    return StageKind.MODULE, path, None


def _parents(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts)))


def _in_order_of_completion(places: Iterable[str], last: tuple[str | None, ...]) -> Iterator[str]:
    """Children before parents; the final norm and the head after everything else."""

    def children_first() -> Iterator[str]:
        begun: list[str] = []
        for path in places:
            while begun and begun[-1] and not path.startswith(f"{begun[-1]}."):
                yield begun.pop()
            begun.append(path)
        yield from reversed(begun)

    yield from (path for path in children_first() if path not in last)
    yield from (path for path in last if path is not None)


def _layer_list(model: PreTrainedModel) -> nn.Module | None:
    """The list of decoder blocks: inside what the model calls its decoder if that has any, else in the whole model."""
    decoder = model.get_decoder()
    lists = _lists_of_blocks(decoder) if isinstance(decoder, nn.Module) else []
    lists = lists or _lists_of_blocks(model)
    count = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    outermost = [
        (path, module) for path, module in lists if not any(path.startswith(f"{other}.") for other, _ in lists)
    ]
    best = max(outermost, key=lambda each: (len(each[1]) == count, _size(each[1])), default=None)
    return best[1] if best else None


def _lists_of_blocks(root: nn.Module) -> list[tuple[str, nn.ModuleList | nn.Sequential]]:
    return [
        (path, module)
        for path, module in root.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) and not _is_leafy(module)
    ]


def _is_leafy(modules: nn.ModuleList | nn.Sequential) -> bool:
    """Whether a list holds single operations rather than blocks."""
    return all(next(module.children(), None) is None for module in modules)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _final_norm(
    model: PreTrainedModel, paths: Mapping[str, nn.Module], prefix: str, others: tuple[str | None, ...]
) -> str | None:
    """The path of the norm between the last layer and the head: the last registered one beside or above the layers."""
    beside = {prefix.rpartition(".")[0]}
    while beside and (inner := min(beside, key=len)):
        beside.add(inner.rpartition(".")[0])
    hidden = getattr(model.config.get_text_config(decoder=True), "hidden_size", None)
    order = list(paths)
    found = [
        path
        for path, module in paths.items()
        if path and path.rpartition(".")[0] in beside and path not in others and _is_norm(module, path, hidden)
    ]
    after = order[order.index(prefix) :]
    candidates = [path for path in found if path in after] or [
        path for path in found if "embed" not in path.rpartition(".")[2]
    ]
    return candidates[-1] if candidates else None


def _is_norm(module: nn.Module, path: str, hidden: int | None) -> bool:
    if next(module.children(), None) is not None:
        return False
    name = f"{path.rpartition('.')[2]} {type(module).__name__}".lower()
    weights = list(module.parameters(recurse=False))
    fits = all(weight.dim() <= 1 and (hidden is None or weight.numel() == hidden) for weight in weights)
    return fits and any(word in name for word in ("norm", "ln_", "ln ", "_ln", "layernorm"))
