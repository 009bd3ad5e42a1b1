"""The user's own Python, looked at: as in pdb, and changing nothing of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector

_MOST = 4000  # characters


def printed(inspector: Inspector, source: str) -> str:
    """What an expression is worth, as Python writes it. Raises CommandError for whatever it raises.

    `out` is a copy of the stop's main tensor and `inputs` the arguments of the stage; `model`
    is None where the debuggee has no live model.
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
        reason = " ".join(str(error).split()) or "no message"
        raise CommandError(f"print {source[:60]}: {type(error).__name__}: {reason[:300]}") from error
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
