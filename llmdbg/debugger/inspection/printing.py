"""`print`: evaluates the user's own Python, as in pdb, on a copy of the tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.editing.user_python import why
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector

_MOST = 4000  # characters


def printed(inspector: Inspector, source: str) -> str:
    """The repr of an expression's value, 4000 characters at most. Raises CommandError for any exception it raises.

    The expression sees `torch`, `out` (a copy of the stop's main tensor, None without one), `inputs` (the stage's
    positional arguments) and `model` (None if the debuggee has no live model).
    """
    event = inspector.event
    out = main_tensor(event.output)
    names = {
        "out": None if out is None else out.clone(),
        "inputs": event.args,
        "model": None if inspector.debuggee.loaded is None else inspector.model,
        "torch": torch,
    }
    try:
        with torch.no_grad(), torch.random.fork_rng([], enabled=True):
            text = repr(eval(compile(source, "<print>", "eval"), names))
    except (Exception, SystemExit) as error:
        raise CommandError(f"print {source[:60]}: {why(error)}") from error
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
