"""Which attention a stop is about, and how many heads it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.models.attentions import attentions

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector


def latest_attention(inspector: Inspector) -> tuple[str, int]:
    """The address of the attention that ran last for the current token, with its number of heads.

    Empty and 0 before the first, and where the debuggee has no attention or does not say how many heads there are.
    """
    if Capability.MODEL not in inspector.debuggee.capabilities or inspector.debuggee.loaded is None:
        return "", 0
    order = {stage.address: at for at, stage in enumerate(inspector.anatomy.stages)}
    here = order.get(inspector.stop.stage.address, len(order))
    ran = [each for each in attentions(inspector.anatomy) if order[each.address] <= here]
    heads = getattr(inspector.model.config.get_text_config(decoder=True), "num_attention_heads", 0)
    return (ran[-1].address, heads) if ran and isinstance(heads, int) else ("", 0)
