"""Checks before anything is written: commands are parsed before the model is loaded, addresses are resolved after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.sourcing import in_order

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import AddressBook
    from llmdbg.debugger.commands import ParsedCommand


def parse_commands(lines: Iterable[str]) -> tuple[ParsedCommand, ...]:
    """Parse the lines of `-ex` and `-x`, without comments, and those of the files that they run.

    Raises CommandError for the first that cannot be parsed, or the first file that cannot be read.
    """
    parsed = tuple(COMMANDS.parse(line) for line in lines if COMMANDS.is_command(line))
    for _ in in_order(parsed):
        pass
    return parsed


def check_addresses(commands: Iterable[ParsedCommand], addresses: AddressBook) -> None:
    """Raise AddressError for the first address among the commands that names no stage."""
    for each in in_order(commands):
        if each is None or each.command.changes_stages:
            return
        for address in each.addresses:
            addresses.resolve(address)
