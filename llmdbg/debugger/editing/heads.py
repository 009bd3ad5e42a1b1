"""Ablates attention heads at the attention's output projection, whose input is the heads' outputs concatenated.

- `models/attentions.py` knows which modules are attentions.
- The output projection is the last module inside, at any depth, whose input width is a multiple of the number of heads
  and whose output width is that of the residual stream: `o_proj`, `c_proj`, `dense`, `out_proj`.
- Ablation is exact: the projection's own `forward` runs again on its input with the heads' slices set to 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from llmdbg.debugger.editing.changes import EVERYWHERE, Positions, at, changed_at
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import EditError
from llmdbg.models.attentions import attentions, is_inside

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage


_HEAD_WIDTHS = ("v_head_dim", "value_head_dim", "head_dim", "head_size", "attention_head_size")


@dataclass(frozen=True, slots=True)
class Projection:
    """An attention's output projection. Its input is (…, heads * width)."""

    address: str
    """The address of its stage."""
    attention: str
    """The address of the attention it belongs to."""
    heads: int
    """How many heads its input concatenates."""
    width: int
    """Features per head."""
    module: nn.Module = field(repr=False, compare=False)
    """The module itself."""


@dataclass(frozen=True, slots=True)
class Ablate:
    """Removes the contribution of some heads."""

    heads: tuple[int, ...]
    """Head numbers from 0, sorted."""
    projections: Mapping[str, Projection]
    """The output projections whose stages it changes, by address."""
    positions: Positions = EVERYWHERE
    """Where in the sequence."""
    forward_of: Callable[[str], Callable[..., Any]] | None = field(default=None, repr=False, compare=False)
    """What finds how to run a projection on what an event has, by address; None where its module does."""
    on_input: ClassVar[bool] = True
    """It recomputes the output from a changed input."""

    def describe(self) -> str:
        """`without heads 3, 5 at last`."""
        heads = "head" if len(self.heads) == 1 else "heads"
        return f"without {heads} {', '.join(map(str, self.heads))}{at(self.positions)}"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """The projection's output, recomputed. Also replaces the event's inputs by those it was computed from."""
        projection = self.projections[event.stage.address]
        features = main_tensor((event.args, event.kwargs))  # (…, heads * width)
        if features is None or features.shape[-1] != projection.heads * projection.width:
            raise EditError(f"the input of {projection.address} is not {projection.heads} heads side by side")
        silenced = changed_at(
            self.positions, replace(event, output=features), prompt_length, lambda x: self._silenced(x, projection)
        )
        if silenced is features:
            return event.output
        args, kwargs = _with_input(event, features, silenced)
        # `forward`, not a call: no hook may run twice. Another ablation at this stage starts from this input.
        forward = projection.module.forward if self.forward_of is None else self.forward_of(projection.address)
        made = forward(*args, **kwargs)
        event.args, event.kwargs = args, kwargs
        result = main_tensor(made)
        if result is None:
            raise EditError(f"{projection.address} returned no tensor")
        return changed_at(self.positions, event, prompt_length, lambda _: result)

    def _silenced(self, features: Tensor, projection: Projection) -> Tensor:
        silenced = features.clone()
        for head in self.heads:
            silenced[..., head * projection.width : (head + 1) * projection.width] = 0
        return silenced


def _with_input(event: StageEvent, old: Tensor, new: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args = tuple(new if each is old else each for each in event.args)
    return args, {name: new if each is old else each for name, each in event.kwargs.items()}


def projections_in(addresses: Collection[str], anatomy: Anatomy, model: PreTrainedModel) -> dict[str, Projection]:
    """The output projections of every attention at or inside these stages, by their addresses.

    Ignores stages without attention. Raises EditError, which suggests an address, if none has any.
    """
    count, hidden = _sizes(model)
    found = attentions(anatomy)
    if not found or not count:
        raise EditError(f"{type(model).__name__} has no attention heads that could be ablated")
    wanted = [anatomy.stage(address) for address in addresses if address in anatomy.modules]
    chosen = [each for each in found if any(is_inside(each, stage) for stage in wanted)]
    if not chosen:
        raise EditError(_no_attention(addresses, anatomy, found))
    projections = [_projection(attention, anatomy, count, hidden) for attention in chosen]
    return {each.address: each for each in projections}


def check_heads(heads: Collection[int], projections: Mapping[str, Projection]) -> None:
    """Raise EditError for a head that one of them does not have."""
    for each in projections.values():
        if missing := [head for head in heads if head >= each.heads]:
            raise EditError(f"there is no head {missing[0]}: those of {each.attention} are 0 to {each.heads - 1}")


def _sizes(model: PreTrainedModel) -> tuple[int, int]:
    """The number of attention heads and the width of the residual stream; 0 if the model's config does not say."""
    config = model.config.get_text_config(decoder=True)
    found = [getattr(config, name, None) for name in ("num_attention_heads", "hidden_size")]
    heads, hidden = (each if isinstance(each, int) else 0 for each in found)
    return heads, hidden


def _projection(attention: Stage, anatomy: Anatomy, heads: int, hidden: int) -> Projection:
    inside = [stage for stage in anatomy.stages if stage != attention and is_inside(stage, attention)]
    modules = anatomy.modules
    widths = {stage: _head_width(modules[stage.address], heads, hidden) for stage in inside if stage.address in modules}
    fitting = [stage for stage, width in widths.items() if width]
    if not fitting:
        raise EditError(f"{attention.address} has no output projection that takes {heads} heads side by side")
    # A module's stage comes after those inside it, so the last is an adapter around a projection, not a part of it.
    last = fitting[-1]
    known = _known_widths(anatomy, attention)
    if known and widths[last] not in known:
        raise EditError(f"what {last.address} takes is not {heads} heads side by side, of {known[0]} numbers each")
    return Projection(last.address, attention.address, heads, widths[last], modules[last.address])


def _known_widths(anatomy: Anatomy, attention: Stage) -> list[int]:
    """How wide an attention says that a head's output is; empty if it does not say.

    DeepSeek-V4 mixes its heads before the last projection, whose input then only looks like heads side by side.
    """
    module = anatomy.modules[attention.address]
    around = [
        anatomy.modules[stage.address] for stage in anatomy.enclosing(attention) if stage.address in anatomy.modules
    ]
    for each in (module, *around):
        found = {getattr(each, name, None) for name in _HEAD_WIDTHS}
        if widths := sorted(width for width in found if isinstance(width, int)):
            return widths
    return []


def _head_width(module: nn.Module, heads: int, hidden: int) -> int:
    """The width of a head if the module could be an output projection, else 0."""
    width_in, width_out = _features(module)
    return width_in // heads if width_out == hidden and width_in % heads == 0 else 0


def _features(module: nn.Module) -> tuple[int, int]:
    """The input and output width of a linear module, (0, 0) for any other."""
    # transformers' Conv1D, which GPT-2 uses, calls them nx and nf.
    for names in (("in_features", "out_features"), ("nx", "nf")):
        width_in, width_out = (getattr(module, name, None) for name in names)
        if isinstance(width_in, int) and isinstance(width_out, int):
            return width_in, width_out
    return 0, 0


def _no_attention(addresses: Collection[str], anatomy: Anatomy, known: Sequence[Stage]) -> str:
    """Suggest what to name instead: the attention around the stage, that of its layer, or the model's first."""
    stages = [anatomy.stage(address) for address in sorted(addresses) if address in anatomy.modules]
    around = [each for each in known if any(is_inside(stage, each) for stage in stages)]
    beside = [each for each in known if any(stage.layer == each.layer for stage in stages)]
    place = sorted(addresses)[0] if len(addresses) == 1 else "what was named"
    nearest = (around or beside or known)[0]
    return f"there is no attention in {place}: name a layer or its attention, as in {nearest.address}"
