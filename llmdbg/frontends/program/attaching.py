"""`llmdbg.debug`, `attach` and `breakpoint`: the prompt inside a program that runs already, as with pdb."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmdbg.engine.program.started import Started
from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.frontends.batch.checks import parse_commands
from llmdbg.frontends.output import complain, note
from llmdbg.frontends.program import kernel
from llmdbg.frontends.script import arguments

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.program.attached import AttachedProgram
    from llmdbg.engine.program.launching import Launch
    from llmdbg.engine.program.program import Program

_CURRENT: list[Program | Started] = []
"""The program that is being debugged in this process; empty if none is."""


class Debugging:
    """A program that is being debugged by itself. `detach` ends that; so does leaving a `with` block.

    None is a program that was debugged before, and still is afterwards.
    """

    def __init__(self, program: AttachedProgram | None) -> None:
        self._program = program

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.detach()

    def detach(self) -> None:
        """Debug no further: every hook comes off. Again, it does nothing."""
        self._end("detached")

    def _end(self, ended_by: str) -> None:
        if self._program is not None and self._program in _CURRENT:
            _CURRENT.remove(self._program)
            self._program.detach(ended_by)


def debug(
    model: nn.Module | None = None, *, commands: Iterable[str] = (), ask: Callable[[str], str] | None = None
) -> Debugging:
    """Debug the forwards of a model inside a `with` block, at an `(llmdbg)` prompt on stdin and stdout.

        with llmdbg.debug(model):
            model.generate(**inputs)

    The first forward is the first stop. `quit` lets the program run on by itself. Raises UsageError, in one line. Where
    the program is being debugged already, as under `llmdbg run`, that goes on, and a line says that this adds nothing.

    - `model`: any `nn.Module`. None is whatever model the block calls first.
    - `commands`: command lines to run at the first stop, before any is asked for.
    - `ask`: reads a command line, with the prompt as its argument, and raises EOFError when there are no more. None is
      Python's own `input`.
    """
    _leave_what_a_cell_has_lost()
    _check(model)
    lines = [each.line for each in parse_commands(arguments.texts("commands", commands))]
    if _CURRENT:
        without = ", and its commands are left out" if lines else ""
        note(f"{_CURRENT[0].name} is being debugged already: `llmdbg.debug` changes nothing{without}")
        return Debugging(None)
    from llmdbg.engine.program.attached import AttachedProgram

    program = AttachedProgram(_name(), lambda attached: _at_the_prompt(attached, lines, ask), note)
    program.attach(model)
    _CURRENT.append(program)
    handle = Debugging(program)
    atexit.register(handle._end, "exit")
    return handle


def attach(model: nn.Module | None = None, *, commands: Iterable[str] = ()) -> Debugging:
    """Debug the forwards of a model from here on, until `detach()` of what is returned. As `debug` otherwise."""
    return debug(model, commands=commands)


def breakpoint() -> None:
    """Stop here, as Python's `breakpoint()` does, in the forward that runs or between two.

    Under `llmdbg run` and inside `llmdbg.debug`, the program stops at this line. Anywhere else it is attached to, and
    its next call of a model is the first stop. `PYTHONBREAKPOINT=llmdbg.breakpoint` makes Python's own do so.
    """
    if _CURRENT:
        _CURRENT[0].stop_here()
    else:
        attach()


def start(
    launch: Launch,
    inside: Callable[[], AbstractContextManager[None]] = nullcontext,
    into: list[Started] | None = None,
) -> Started:
    """Run a program to its first call of a model, or to its end, `inside` this. It is put `into` a list first."""
    started = Started(launch)
    if into is not None:
        into.append(started)
    now_debugging(started)
    with inside():
        started.run()
    return started


def now_debugging(program: Program | Started | None) -> None:
    """Note which program is debugged in this process; None if none is any more."""
    _CURRENT[:] = [] if program is None else [program]


def _at_the_prompt(program: AttachedProgram, lines: Iterable[str], ask: Callable[[str], str] | None) -> None:
    import torch

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.frontends.program.prompt import LinePrompt

    with torch.no_grad():
        try:
            debugger = Debugger(program)
            try:
                LinePrompt(debugger, ask).run(lines)
            finally:
                debugger.close()
        except LlmdbgError as error:
            complain(str(error))
    if program in _CURRENT:
        _CURRENT.remove(program)


def _leave_what_a_cell_has_lost() -> None:
    """In a notebook, a cell that attaches is run again and again, and nobody has what it returned before."""
    from llmdbg.engine.program.attached import AttachedProgram

    for each in [*_CURRENT] if kernel.is_running() else ():
        if isinstance(each, AttachedProgram) and each.is_the_caller():
            _CURRENT.remove(each)
            each.detach()


def _check(model: object) -> None:
    from torch import nn

    if model is not None and not isinstance(model, nn.Module):
        raise arguments.refusal("model", "an nn.Module or None", model)
    if isinstance(model, nn.Module) and next(model.parameters(), None) is None:
        raise UsageError(f"the model has no parameters ({type(model).__name__}): there is nothing to stop at")


def _name() -> str:
    if kernel.is_running():
        return "this notebook"
    return Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "this program"
