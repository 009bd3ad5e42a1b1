"""`diff`: another branch compared with this one, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Described, Grammar, is_number, required, starting
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Outcome
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger


@dataclass(frozen=True, slots=True)
class Differing:
    """What to hold the current branch against."""

    branch: str
    """The other branch's name or number."""
    tokens: int | None
    """How many tokens of both to compare; None for as many as the longer one has."""


class BranchAndLength(Grammar[Differing]):
    """What `diff` takes."""

    usage = "BRANCH [N]"

    def parse(self, arguments: str, command: Described) -> Differing:
        """Parse a branch and how many tokens to compare."""
        name, _, count = required(arguments, command, "BRANCH", "a name or number").partition(" ")
        count = count.strip()
        if count and not (is_number(count) and int(count)):
            raise CommandError(f"diff takes a number of tokens, from 1 on, not {count!r}")
        return Differing(name, int(count) if count else None)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The names of the branches that the run is not on."""
        return starting(typed, (each for each in words.branches if each != words.branch))


@COMMANDS.add(
    "diff",
    takes=BranchAndLength(),
    effect=Effect.READS,
    summary="Hold this branch against another: the first stage that differs by itself, with the edit that is the "
    "reason. Both run again from the prompt, over the first N tokens.",
    example="diff main",
)
def _diff(debugger: Debugger, asked: Differing) -> Outcome:
    from llmdbg.debugger.inspection.branch_differences import branch_differences

    return Answer(branch_differences(debugger.inspector, asked.branch, asked.tokens))
