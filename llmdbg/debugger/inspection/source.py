"""The source of a module's forward."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.display import Displayed
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.debugger.inspection.inspector import Inspector


@dataclass(frozen=True, slots=True, repr=False)
class SourceCode(Displayed):
    """The source of a forward."""

    name: str
    """The module's class; empty if no module has run."""
    file: str = ""
    """Path of the file; empty if there is no Python source."""
    first_line: int = 0
    """Line number of `lines[0]`, from 1; 0 if there is no Python source."""
    lines: tuple[str, ...] = ()
    """The lines, without line ends."""


def source_of(module: nn.Module | None) -> SourceCode:
    """The source of a module's own forward."""
    if module is None:
        return SourceCode("")
    kind = type(module)
    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(kind.forward))
        file = inspect.getsourcefile(kind.forward) or ""
    except (OSError, TypeError):
        return SourceCode(kind.__name__)
    return SourceCode(kind.__name__, file, first, tuple(line.rstrip() for line in lines))


def source(inspector: Inspector) -> SourceCode:
    """The source of the forward that has just run. Raises CommandError if the debuggee has no live model."""
    model, stage = inspector.model, inspector.event.stage
    module = inspector.anatomy.modules.get(stage.address)
    head = model.get_output_embeddings() if stage.kind is StageKind.LOGITS else None
    return source_of(module if module is not None else head)
