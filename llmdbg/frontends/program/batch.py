"""A program in batch mode: commands in, text or JSON Lines out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.frontends.batch.checks import check_addresses
from llmdbg.frontends.batch.run import JsonWriter, TextWriter, run_batch
from llmdbg.frontends.export import export
from llmdbg.frontends.opening import opening_notes
from llmdbg.frontends.other_runs import open_other
from llmdbg.frontends.output import note
from llmdbg.frontends.program.attaching import now_debugging, start
from llmdbg.frontends.program.ending import ending
from llmdbg.frontends.program.surroundings import Apart

if TYPE_CHECKING:
    from llmdbg.debugger.commands import ParsedCommand
    from llmdbg.engine.program.launching import Launch


def debug(launch: Launch, commands: Sequence[ParsedCommand], *, json: bool, program_output: str | None) -> int:
    """Run a program under these commands; without any, trace it to its end. Returns its exit code.

    A program that the last command leaves suspended is ended there, with 0. In place of a 0, the code is that of the
    first question that was refused. Raises LlmdbgError.
    """
    around = Apart(program_output)
    started = start(launch, around.inside)
    # torch comes with it: the program has imported it first.
    import torch

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.engine.program.launched import LaunchedProgram

    writer = JsonWriter(around.data) if json else TextWriter(around.data)
    begun, early = False, list[str]()

    def tell(text: str) -> None:
        # The prompt's tokens are to be written first.
        (writer.warning if begun else early.append)(text)

    program = LaunchedProgram(started, tell, around.inside)
    now_debugging(program)
    try:
        if not program.find():
            for each in early:
                note(each)
            note(f"{program.name} has ended, and {program.why_no_model()}")
            return 0 if program.exit is None else program.exit.code
        begun = True
        # The program's own modes are its own; looking at a training step must not add to its graph.
        with torch.no_grad():
            debugger = Debugger(program)
            debugger.exporter = export
            debugger.other_runs = open_other
            try:
                check_addresses(commands, debugger)
                refused = run_batch(debugger, commands, writer, [*opening_notes(program), *early], runs_once=True)
            finally:
                with ending(program):
                    debugger.close()
        if program.exit is None:
            note(f"{program.name} was ended where it stood, since the commands are over (`continue` lets it run on)")
            return refused
        return program.exit.code or refused
    finally:
        program.close()
        now_debugging(None)
