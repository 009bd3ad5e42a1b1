"""`info attention [LAYER] [head N]`: which tokens each head of one attention reads from.

Without a layer it shows the attention that ran last, and the pane follows the run. A layer or head that is named stays
in the pane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.asked import AttentionQuestion
from llmdbg.debugger.inspection.focus_row import focus_row
from llmdbg.debugger.inspection.layer_question import split_head
from llmdbg.debugger.known_values import known_of
from llmdbg.engine.debuggee import Capability, PagedCache, require
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError
from llmdbg.formatting import numbered
from llmdbg.models.attentions import attentions, is_inside
from llmdbg.models.stages import StageKind
from llmdbg.probes.attention import AttentionMap, QueryPosition, attention_map
from llmdbg.probes.kernel_rows import KernelRow, rows

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.stages import Stage


_CAPTURED_FOR_ONE = 2
_RESIDUAL_AXES = 3


def ask(inspector: Inspector, arguments: str) -> AttentionMap | str:
    """Answer `info attention`, and have the pane show the same.

    Raises CommandError for an unknown layer or head.
    """
    choice = _read(inspector, arguments)
    # What cannot be run again is kept for any attention that may be asked for next.
    found = _answer(inspector, choice, every=Capability.GO_BACK not in inspector.debuggee.capabilities)
    inspector.asked.attention = choice
    return found


def shown(inspector: Inspector) -> AttentionMap | str:
    """What the pane shows. While it follows the run every attention is captured, so a step costs no extra forward."""
    return _answer(inspector, inspector.asked.attention, every=True)


def following(inspector: Inspector) -> AttentionMap | str:
    """The attention that ran last, whatever the pane shows."""
    return _answer(inspector, AttentionQuestion(), every=True)


def _answer(inspector: Inspector, choice: AttentionQuestion, *, every: bool) -> AttentionMap | str:
    known = attentions(inspector.anatomy)
    if known_of(inspector.event) is not None:
        raise CommandError("attention is not in a recording: it happens inside a kernel, and only stages are recorded")
    if not known:
        return f"{type(inspector.model).__name__} has no attention module: no head reads from other tokens"
    if inspector.event.stage.kind is StageKind.TOKENIZE:
        return f"no attention has run yet: the first is {known[0].address}"
    if isinstance(paged := inspector.debuggee.cache, PagedCache):
        return (
            f"{paged.owner}'s own kernels compute attention over its blocks, and hand no weights out: the same model "
            "in transformers shows them"
        )
    wanted = [each for each in known if each.address == choice.address] if choice.address else known
    last = _latest(inspector, wanted)
    if not last:
        return f"{wanted[0].address} has not run yet for token {inspector.event.token}"
    chosen = wanted if every else last
    found = _recorded(inspector, chosen)
    stage = next((each for each in reversed(chosen) if each.address in found), None)
    if stage is None:
        return f"{chosen[0].address} has not run yet for token {inspector.event.token}"
    return _map(inspector, stage, found[stage.address], choice.head)


def _latest(inspector: Inspector, wanted: tuple[Stage, ...] | list[Stage]) -> list[Stage]:
    """The last two of some attentions up to the current stage: the latest may still be running."""
    order = {stage.address: index for index, stage in enumerate(inspector.anatomy.stages)}
    here = order.get(inspector.event.stage.address, len(order))
    return [each for each in wanted if order[each.address] <= here][-_CAPTURED_FOR_ONE:]


def _recorded(inspector: Inspector, wanted: tuple[Stage, ...] | list[Stage]) -> dict[str, tuple[KernelRow, ...] | str]:
    def take(event: StageEvent) -> tuple[KernelRow, ...] | str:
        # Computed at every event, since the same request is used at later tokens.
        made = main_tensor(event.output)
        return rows(event.kernel_calls, *focus_row(inspector, event, made.shape[1] if _is_residual(made) else None))

    addresses = frozenset(each.address for each in wanted)
    name = "attentions" if len(wanted) > _CAPTURED_FOR_ONE else "attention"
    return inspector.replay.recorded(
        RecordRequest(name, addresses, take, about=inspector.focus.position, captures=addresses)
    )


def _is_residual(tensor: Tensor | None) -> TypeGuard[Tensor]:
    return tensor is not None and tensor.dim() == _RESIDUAL_AXES


def _map(
    inspector: Inspector, stage: Stage, found: tuple[KernelRow, ...] | str, head: int | None
) -> AttentionMap | str:
    if isinstance(found, str):
        return f"{stage.address} ({type(inspector.anatomy.modules[stage.address]).__name__}) gives no weights: {found}"
    first, length = inspector.forward_positions()
    tokens = inspector.run.tokens()
    where = QueryPosition(
        stage.address,
        stage.layer,
        inspector.focus_position(),
        first + length,
        inspector.prompt.padding,
        lambda position: tokens[position].text,
    )
    made = attention_map(found, where, head=head)
    if isinstance(made, AttentionMap) and head is not None and head >= len(made.heads):
        raise CommandError(f"{stage.address} has no head {head}: {numbered(len(made.heads))}")
    return made


def _read(inspector: Inspector, arguments: str) -> AttentionQuestion:
    """Read `[LAYER] [head N]`."""
    name, head = split_head(arguments)
    if head is not None and not head.isdecimal():
        raise CommandError("name the head by its number, as in `info attention 3 head 5`")
    return AttentionQuestion(
        _attention_in(inspector, name).address if name else None, None if head is None else int(head)
    )


def _attention_in(inspector: Inspector, name: str) -> Stage:
    """The attention that a layer's number or an address names."""
    require(inspector.debuggee, Capability.MODEL)
    known = attentions(inspector.anatomy)
    name = name.removeprefix("layer ").strip()
    if not inspector.run.stages.has(name) or name not in inspector.anatomy.modules:
        count = len(inspector.anatomy.layers())
        example = f", as in `info attention {count - 1} head 0`" if count else ""
        raise CommandError(f"there is no layer {name!r}: {numbered(count)}{example}")
    stage = inspector.anatomy.stage(name)
    found = [each for each in known if is_inside(each, stage) or is_inside(stage, each)]
    if found:
        return found[0]
    nearest = f"an attention is in {known[0].address}" if known else "there is none in this model"
    raise CommandError(f"there is no attention in {name} ({_made_of(inspector, stage)}): {nearest}")


def _made_of(inspector: Inspector, stage: Stage) -> str:
    """The classes of a layer's modules."""
    module = inspector.anatomy.modules[stage.address]
    return ", ".join(type(each).__name__ for each in module.children()) or type(module).__name__
