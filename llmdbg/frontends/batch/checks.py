"""Checks before anything is written: commands are parsed before the model is loaded, addresses are resolved after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmdbg.debugger.commands import COMMANDS

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import AddressBook
    from llmdbg.debugger.commands import ParsedCommand


def parse_commands(lines: Iterable[str]) -> tuple[ParsedCommand, ...]:
    """Parse the lines of `-ex` and `-x`, without comments. Raises CommandError for the first that cannot be parsed."""
    stripped = (line.strip() for line in lines)
    return tuple(COMMANDS.parse(line) for line in stripped if line and not line.startswith("#"))


def check_addresses(commands: Iterable[ParsedCommand], addresses: AddressBook) -> None:
    """Raise AddressError for the first address among the commands that names no stage."""
    for each in commands:
        if each.command.changes_stages:
            return
        for address in each.addresses:
            addresses.resolve(address)
