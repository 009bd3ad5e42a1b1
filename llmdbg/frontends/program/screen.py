"""A program on the screen: it runs on the thread that owns the model, and what it prints goes to the log pane."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.program.attaching import now_debugging, start
from llmdbg.frontends.tui.worker.launch import LaunchRequest
from llmdbg.models.spec import ModelSpec

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.program.launched import LaunchedProgram
    from llmdbg.engine.program.launching import Launch
    from llmdbg.frontends.prompts.early import PromptCallback
    from llmdbg.models.spec import LoadProgress


@dataclass(frozen=True)
class ProgramRequest(LaunchRequest):
    """A request whose debuggee is a program."""

    launch: Launch | None = None
    """The program."""
    opened: list[LaunchedProgram] = field(default_factory=list)
    """Holds it once it runs."""
    saves: bool = False
    """It cannot be continued where it was."""

    def open_debuggee(self, report: Callable[[LoadProgress], None], on_prompt: PromptCallback) -> Debuggee:
        """Run the program to its first call of a model. Raises LlmdbgError if it ends before that."""
        from llmdbg.models.load_steps import LoadStep
        from llmdbg.models.spec import LoadProgress

        report(LoadProgress(LoadStep.RUN, 0, None))
        assert self.launch is not None
        started = start(self.launch)
        # torch comes with it: the program has imported it first.
        import torch

        from llmdbg.engine.program.flattened import why_no_model
        from llmdbg.engine.program.launched import LaunchedProgram

        program = LaunchedProgram(started, logging.getLogger("llmdbg.program").warning)
        self.opened.append(program)
        now_debugging(program)
        if not program.find():
            how = f" ({program.exit.why})" if program.exit is not None and program.exit.why else ""
            raise LlmdbgError(f"{program.name} has ended{how}, and {why_no_model()}")
        # Of this thread outside the program: looking at a training step must not add to its graph.
        torch.set_grad_enabled(False)
        return program


def program_request(launch: Launch, breakpoints: tuple[str, ...], commands: tuple[str, ...]) -> ProgramRequest:
    """Ask for the screen over a program, and for these breakpoints and commands to begin with."""
    return ProgramRequest(
        ModelSpec(launch.name), "", GenerationSettings(), breakpoints=breakpoints, commands=commands, launch=launch
    )


def debug(launch: Launch, breakpoints: tuple[str, ...], commands: tuple[str, ...]) -> int:
    """Show a program on the screen until the user leaves. Returns its exit code, or 0 if it had not ended."""
    from llmdbg.frontends.tui.start import run

    request = program_request(launch, breakpoints, commands)
    try:
        code = run(request)
    finally:
        now_debugging(None)
    ended = request.opened[0].exit if request.opened else None
    return ended.code if ended is not None and not code else code
