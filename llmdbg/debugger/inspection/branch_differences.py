"""Two branches compared stage by stage, as `llmdbg diff` compares two runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.branches import branch_side
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.engine.debuggee import Capability, require

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import Comparison
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.debugger.execution.branches import Branch
    from llmdbg.debugger.inspection.inspector import Inspector

TOKENS = 16
"""How many tokens are generated where no branch has any and the user does not say."""


def branch_differences(inspector: Inspector, name: str, tokens: int | None = None) -> Comparison | str:
    """Hold the current branch against another, the reference, and return to where the run stood.

    Both are generated anew from the prompt, `tokens` tokens of each or as many as the longer one has. Raises
    CommandError for an unknown branch and a debuggee that cannot run again, LlmdbgError if the reference fails.
    """
    here, there = inspector.run.branches.current, inspector.run.branches.find(name)
    if here is there:
        return "this is the current branch: `branch` lists the others"
    length = tokens or max(generated(inspector, here), generated(inspector, there)) or TOKENS
    with inspector.replay.elsewhere():
        return compare(side_of(inspector, there, length), side_of(inspector, here, length))


def side_of(inspector: Inspector, branch: Branch, tokens: int) -> LiveSide:
    """A branch as a side of a comparison. Raises CommandError where it cannot run again."""
    require(inspector.debuggee, Capability.GO_BACK)
    return branch_side(inspector.debuggee, branch, tokens)


def generated(inspector: Inspector, branch: Branch) -> int:
    """How many tokens a branch has; of the current one, that which is being chosen too."""
    here = len(inspector.run.generated_ids()) if branch is inspector.run.branches.current else 0
    return max(here, len(branch.timeline.ids))
