"""The tokens that a run has chosen since the user started it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.frontends.tui.worker.snapshot import RunProgress

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import TokenRow


class FreshTokens:
    """Takes each token as it is chosen. A program may read more of a prompt meanwhile, or another one."""

    def __init__(self, debugger: Debugger) -> None:
        self._run = debugger.run
        # What can go back has one prompt, and only its own tokens follow it.
        self._may_read_more = Capability.GO_BACK not in debugger.debuggee.capabilities
        self._tokens: list[TokenRow] = []

    def add(self, token: TokenRow) -> None:
        """Take the newest token."""
        self._tokens.append(token)

    def progress(self) -> RunProgress:
        """What is to be shown of them. Waits for the device."""
        newest = self._tokens[-1]
        if self._may_read_more and newest.index != len(before := self._run.tokens()):
            # A program's tokens are numbered through all that it reads; their places are those in its sequence.
            return RunProgress((replace(newest, index=len(before)),), (), before)
        probabilities = self._run.probabilities_of(each.generated for each in self._tokens)
        return RunProgress(tuple(self._tokens), probabilities)
