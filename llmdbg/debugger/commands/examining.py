"""`x`: the numbers of any tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.inspecting import split_export
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Argument, Outcome

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session


@COMMANDS.add(
    "x",
    usage="x [ADDRESS][SLICE] [by magnitude | as heat] [> FILE]",
    summary="Show numbers: of a stage that has run, `.in` for what went in, a parameter; `x .` follows the run, "
    "`x` alone goes on.",
    example="x 12.mlp[0, -1, :8]",
    takes=Argument.VALUES,
)
def _examine(session: Session, arguments: str) -> Outcome:
    from llmdbg.debugger.inspection import values

    question, path = split_export(f" {arguments}")
    found = values.ask(session, question) if question else values.go_on(session)
    return Answer(found if path is None else session.export(found, path))
