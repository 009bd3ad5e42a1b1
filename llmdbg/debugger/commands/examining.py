"""`x`: the numbers of any tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.command import Outcome
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.questions import NumbersQuestion, Question
from llmdbg.debugger.commands.inspecting import answered
from llmdbg.debugger.commands.registry import COMMANDS

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger


@COMMANDS.add(
    "x",
    takes=NumbersQuestion(),
    effect=Effect.READS,
    summary="Show numbers: of a stage that has run, `.in` for what went in, a parameter; `x .` follows the run, "
    "`x` alone goes on.",
    example="x 12.mlp[0, -1, :8]",
)
def _examine(debugger: Debugger, question: Question) -> Outcome:
    from llmdbg.debugger.inspection import values

    found = values.ask(debugger.inspector, question.text) if question.text else values.go_on(debugger.inspector)
    return answered(debugger, found, question.path)
