"""An edit for another copy of the model: what some changes keep of the model is that of the copy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.edit_language import Python
from llmdbg.debugger.editing.heads import Ablate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.models.anatomy import Anatomy


def rebound(edit: Edit, anatomy: Anatomy, model: PreTrainedModel | None) -> Edit:
    """The same edit for a model with the same stages, such as a copy in another dtype."""
    change = edit.change
    if isinstance(change, Ablate):
        projections = {
            address: replace(each, module=anatomy.modules[address]) if address in anatomy.modules else each
            for address, each in change.projections.items()
        }
        return replace(edit, change=replace(change, projections=projections))
    if isinstance(change, Python):
        return replace(edit, change=replace(change, model=model))
    return edit
