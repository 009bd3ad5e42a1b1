"""What a client's commands may do. A client is a program, or a model that reads untrusted text: not the user.

Commands that read, move or change the session are allowed, and those that read a model or a recording, as `open` does.
Writing files and running Python are the user's to allow, on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.commands import COMMANDS, Effect
from llmdbg.errors import CommandError
from llmdbg.formatting import listed

if TYPE_CHECKING:
    from llmdbg.debugger.commands import ParsedCommand

_OPTIONS = {Effect.RUNS_PYTHON: "--allow-python", Effect.WRITES_FILE: "--allow-files"}


class NotAllowedError(CommandError):
    """A command may do more than whoever started the server has allowed."""

    remedy = (
        "only whoever starts llmdbg can allow it, with the option in the message; `state` says what is allowed. "
        "Without Python, `x` and `info values` show values, and `zero`, `scale`, `ablate` and `patch` change them; "
        "without files, `more` has what an answer left out"
    )


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the command line has allowed."""

    python: bool = False
    """`print`, `edit` and whatever else runs Python."""
    files: bool = False
    """Writing files."""

    @property
    def allowed(self) -> Effect:
        """The effects that commands may have."""
        allowed = Effect.HARMLESS | Effect.READS_FILE
        allowed |= Effect.RUNS_PYTHON if self.python else Effect(0)
        return allowed | (Effect.WRITES_FILE if self.files else Effect(0))

    @property
    def names(self) -> tuple[str, ...]:
        """The same in words."""
        return ("harmless", *(["python"] if self.python else []), *(["files"] if self.files else []))

    def check(self, command: ParsedCommand) -> None:
        """Raise NotAllowedError for a command that may do more, or that keeps such a one for later."""
        refused = _effect(command) & ~self.allowed
        if refused:
            options = listed([_OPTIONS[each] for each in refused])
            raise NotAllowedError(
                f"`{command.command.name}` is off here, since commands that {listed(refused.beyond_session())} are the "
                f"user's own: they are on where `llmdbg serve` or `llmdbg mcp` was started with {options}"
            )


def _effect(command: ParsedCommand) -> Effect:
    """What a command may do at worst; of one that keeps others for later, what those may do."""
    later = command.command.takes.later(command.parsed)
    effect = command.effect
    if later:
        effect &= ~Effect.RUNS_PYTHON
        for line in later:
            effect |= _effect(COMMANDS.parse(line))
    return effect
