"""`x`: the numbers of any tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import complete_address
from llmdbg.debugger.commands.grammar.base import Described
from llmdbg.debugger.commands.grammar.files import Exported, Question, split_export
from llmdbg.debugger.commands.inspecting import answered
from llmdbg.debugger.commands.registry import COMMANDS, Outcome
from llmdbg.debugger.inspection.values_question import tensor_names

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger


class NumbersQuestion(Exported):
    """What `x` takes: a stage or a parameter; nothing to continue the previous listing."""

    usage = "[ADDRESS][SLICE] [by magnitude | as heat] [> FILE]"

    def parse(self, arguments: str, command: Described) -> Question:
        """Parse what is asked, and the file for the answer. The slice is read where there is a tensor."""
        question = Question(*split_export(f" {arguments}"))
        tensor_names(question.text)
        return question

    def tensors(self, parsed: Question) -> tuple[str, ...]:
        """The stage or the parameter, if one is named."""
        return tensor_names(parsed.text)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Addresses."""
        return complete_address(typed, words)


@COMMANDS.add(
    "x",
    takes=NumbersQuestion(),
    effect=Effect.READS,
    summary="Show the numbers of a stage that has run, of its input (`.in`), of one of several values (`.return.NAME`) "
    "or of a parameter; `x .` follows the run, `x` alone continues.",
    example="x 12.mlp[0, -1]",
)
def _examine(debugger: Debugger, question: Question) -> Outcome:
    from llmdbg.debugger.inspection import values

    found = values.ask(debugger.inspector, question.text) if question.text else values.go_on(debugger.inspector)
    return answered(debugger, found, question.path)
