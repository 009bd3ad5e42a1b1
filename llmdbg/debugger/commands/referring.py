"""`reference`: another run that stands beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Described, Grammar, starting
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Outcome
from llmdbg.debugger.quoting import runs_code

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger

_OFF = "off"


class OtherRun(Grammar[str]):
    """What `reference` takes: a model with its options, a recording, `off`, or nothing."""

    usage = "[MODEL … | RUN | off]"

    def parse(self, arguments: str, command: Described) -> str:
        """Return it unchanged: whether there is such a model is found out when it is opened."""
        return arguments

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The word that ends it."""
        return starting(typed, (_OFF,))

    def details(self) -> tuple[str, ...]:
        """What may stand beside a run."""
        return (
            "MODEL   a model with loading options of its own; with --python PATH it runs in another process, under the",
            "        Python of another environment (its folder or interpreter): for other packages, or more memory",
            "RUN     a recording of this prompt: its tensors, or its fingerprints, which give estimates",
        )

    def effect(self, parsed: str) -> Effect:
        """Another Python is a program, and a model may come with code."""
        return Effect.RUNS_PYTHON if runs_code(parsed) else Effect(0)


@COMMANDS.add(
    "reference",
    takes=OtherRun(),
    effect=Effect.CHANGES | Effect.READS_FILE,
    summary="Let another model, this one with other options, or a recording stand beside this run: every stop says how "
    "far apart they are. `off` ends it; alone it says which one stands there.",
    example="reference smollm2 --dtype bfloat16",
)
def _reference(debugger: Debugger, text: str) -> Outcome:
    if text == _OFF:
        left = debugger.leave_reference()
        return Answer("no run stands beside this one any more" if left else "no run stands beside this one")
    if text:
        return Answer(debugger.stand_beside(text))
    beside = debugger.reference_name
    return Answer(f"beside this run: {beside}" if beside else "no run stands beside this one")
