"""A program under the line-based prompt, which shares the terminal with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.frontends.batch.checks import check_addresses
from llmdbg.frontends.opening import opening_notes
from llmdbg.frontends.output import note
from llmdbg.frontends.program.attaching import now_debugging, start
from llmdbg.frontends.program.ending import ending
from llmdbg.frontends.program.surroundings import Shared

if TYPE_CHECKING:
    from llmdbg.debugger.commands import ParsedCommand
    from llmdbg.engine.program.launching import Launch


def debug(launch: Launch, commands: Sequence[ParsedCommand], *, program_output: str | None) -> int:
    """Debug a program at the prompt, after `commands`. Returns its exit code, or 0 if the user has quit before."""
    around = Shared(program_output)
    started = start(launch, around.inside)
    # torch comes with it: the program has imported it first.
    import torch

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.engine.program.launched import LaunchedProgram
    from llmdbg.frontends.program.prompt import LinePrompt

    program = LaunchedProgram(started, note, around.inside)
    now_debugging(program)
    try:
        if not program.find():
            note(f"{program.name} has ended, and {program.why_no_model()}")
            return 0 if program.exit is None else program.exit.code
        with torch.no_grad():
            debugger = Debugger(program)
            try:
                check_addresses(commands, debugger)
                for each in opening_notes(program):
                    note(each)
                LinePrompt(debugger).run(each.line for each in commands)
            finally:
                with ending(program):
                    debugger.close()
        return 0 if program.exit is None else program.exit.code
    finally:
        program.close()
        now_debugging(None)
        around.end()
