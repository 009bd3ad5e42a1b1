"""A program on the screen: it runs on the thread that owns the model, and what it prints goes to the log pane."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.program.attaching import now_debugging
from llmdbg.frontends.program.ending import ending
from llmdbg.frontends.program.opening import open_program
from llmdbg.frontends.program.typed_stdin import read_typed_lines
from llmdbg.frontends.typed_lines import TypedLines
from llmdbg.models.spec import ModelSpec

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.program.launched import LaunchedProgram
    from llmdbg.engine.program.launching import Launch
    from llmdbg.engine.program.started import Started
    from llmdbg.frontends.prompts.early import PromptCallback
    from llmdbg.frontends.wire.engine_link import EngineLink
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
    in_main_thread: bool = True
    """Where Python lets a program set signal handlers."""
    started: list[Started] = field(default_factory=list)
    """Holds it as soon as it runs."""

    def is_running_here(self) -> bool:
        """Whether the calling code is the program's."""
        return any(each.is_running_here() for each in self.started)

    def open_debuggee(
        self, report: Callable[[LoadProgress], None], on_prompt: PromptCallback | None = None
    ) -> Debuggee:
        """Run the program to its first call of a model. Raises LlmdbgError if it ends before that."""
        from llmdbg.models.load_steps import LoadStep
        from llmdbg.models.spec import LoadProgress

        report(LoadProgress(LoadStep.RUN, 0, None))
        assert self.launch is not None
        if self.typed is not None:
            read_typed_lines(self.typed)
        say = logging.getLogger("llmdbg.program").warning
        return open_program(self.launch, say, into=self.started, opened=self.opened.append)


def program_request(launch: Launch, breakpoints: tuple[str, ...], commands: tuple[str, ...]) -> ProgramRequest:
    """Ask for the screen over a program, and for these breakpoints and commands to begin with."""
    return ProgramRequest(
        ModelSpec(launch.name),
        "",
        GenerationSettings(),
        breakpoints=breakpoints,
        commands=commands,
        typed=TypedLines(),
        launch=launch,
    )


def debug(
    launch: Launch, breakpoints: tuple[str, ...], commands: tuple[str, ...], link: EngineLink | None = None
) -> int:
    """Show a program on the screen until the user leaves. Returns its exit code, or 0 if it had not ended.

    `link` leads to the process that holds the terminal, if this is an engine that outlives its screen.
    """
    from llmdbg.frontends.tui.start import run

    request = program_request(launch, breakpoints, commands)
    try:
        code = run(request, link)
    finally:
        now_debugging(None)
        for program in request.opened:
            _let_end(program)
    ended = request.opened[0].exit if request.opened else None
    return ended.code if ended is not None and not code else code


def _let_end(program: LaunchedProgram) -> None:
    """Its thread is its own from here on, for what it runs as the process ends."""
    import torch

    torch.set_grad_enabled(True)
    with ending(program):
        pass
