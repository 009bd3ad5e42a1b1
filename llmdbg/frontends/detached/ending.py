"""How an engine has ended: what it said itself, and what its process shows."""

from __future__ import annotations

from dataclasses import dataclass

from llmdbg.frontends.wire.messages import Ended, Ends, Lost, cut


@dataclass
class Ending:
    """What is known of why an engine ends, before it has."""

    reason: str = ""
    """Empty if it is the user who ends it."""
    _lost: bool = False
    _code: int | None = None

    def note(self, message: Lost | Ends) -> None:
        """Note what the engine says of it."""
        if isinstance(message, Lost):
            self.reason, self._lost = message.reason, True
        else:
            self._code = message.code

    def told(self, exit_code: int | None, session: str) -> Ended:
        """What screens are told now that its process has ended, with this code if that is known."""
        code, reason, lost = exit_code if exit_code is not None else self._code, self.reason, self._lost
        if code is None and not lost:
            reason, lost = reason or "its process has gone", True
        return Ended(1 if code is None else code, cut(reason), lost, session)
