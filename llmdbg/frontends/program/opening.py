"""A program as a debuggee, for front ends in which it runs to its first call of a model and waits there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError
from llmdbg.frontends.program.attaching import now_debugging, start

if TYPE_CHECKING:
    from llmdbg.engine.program.launched import LaunchedProgram
    from llmdbg.engine.program.launching import Launch
    from llmdbg.engine.program.started import Started


def open_program(
    launch: Launch,
    announce: Callable[[str], None],
    inside: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    into: list[Started] | None = None,
    opened: Callable[[LaunchedProgram], object] = lambda _: None,
) -> LaunchedProgram:
    """Run a program to its first call of a model. Raises LlmdbgError if it ends before that.

    `announce` gets what is to be said of it, `into` the program as soon as it runs, `opened` before it is known whether
    it calls a model; `inside` is around every stretch that it runs.
    """
    started = start(launch, inside, into)
    # torch comes with it: the program has imported it first.
    import torch

    from llmdbg.engine.program.launched import LaunchedProgram

    program = LaunchedProgram(started, announce, inside)
    opened(program)
    now_debugging(program)
    if not program.find():
        how = f" ({program.exit.why})" if program.exit is not None and program.exit.why else ""
        raise LlmdbgError(f"{program.name} has ended{how}, and {program.why_no_model()}")
    # Of this thread outside the program: looking at a training step must not add to its graph.
    torch.set_grad_enabled(False)
    return program
