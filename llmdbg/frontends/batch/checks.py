"""Checks before anything is written: commands are parsed before the model is loaded, addresses are resolved after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmdbg.debugger.commands import COMMANDS, Effect
from llmdbg.debugger.commands.sourcing import in_order
from llmdbg.errors import AddressError

if TYPE_CHECKING:
    from llmdbg.debugger.commands import ParsedCommand
    from llmdbg.debugger.debugger import Debugger


def parse_commands(lines: Iterable[str]) -> tuple[ParsedCommand, ...]:
    """Parse the lines of `-ex` and `-x`, without comments, and those of the files that they run.

    Raises CommandError for the first that cannot be parsed, or the first file that cannot be read.
    """
    parsed = tuple(COMMANDS.parse(line) for line in lines if COMMANDS.is_command(line))
    for _ in in_order(parsed):
        pass
    return parsed


def check_addresses(commands: Iterable[ParsedCommand], debugger: Debugger) -> None:
    """Raise UsageError, mostly an AddressError, for the first name among the commands that names no stage.

    Names are checked up to the first command that may change the stages: logits processors come and go with the
    settings. Nothing is run.
    """
    from llmdbg.debugger.inspection import values

    moving = Effect.MOVES if _has_several_settings(debugger) else Effect(0)
    for each in in_order(commands):
        if each is None or each.changes_stages:
            return
        try:
            for address in each.addresses:
                debugger.run.stages.addresses.resolve(address, fine=True)
        except AddressError as error:
            raise each.misnamed(error) from error
        for name in each.tensors:
            values.named(debugger.inspector, name)
        if each.effect & moving:
            return


def _has_several_settings(debugger: Debugger) -> bool:
    """Whether the settings differ between tokens, as in a session that was restored or has run for a while."""
    return len({settings for branch in debugger.run.branches for _, settings in branch.timeline.settings}) > 1
