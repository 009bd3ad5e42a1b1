"""What can be known to fail before anything is written: commands before the model is loaded, addresses after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from llmdbg.debugger.commands import COMMANDS, Argument, split_condition
from llmdbg.debugger.info import TOPICS
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.addresses import AddressBook
    from llmdbg.debugger.commands import Command


def without_comments(lines: Iterable[str]) -> list[str]:
    """The commands among the lines of `-ex` and `-x`."""
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def check_commands(commands: Iterable[str]) -> None:
    """Raise CommandError for the first command that is unknown, or that is not written as it has to be."""
    for line in commands:
        command, arguments = _parts(line)
        if command.takes is Argument.ADDRESS and split_condition(arguments)[1] is not None:
            raise CommandError(f"conditions are not there yet: {command.name} takes an ADDRESS alone")
        if command.takes is Argument.COMMAND and arguments:
            COMMANDS.find(arguments)
        elif not _FITS[command.takes](arguments):
            raise CommandError(f"{command.name} is written `{command.usage}`, and not {line!r}")


def check_addresses(commands: Iterable[str], addresses: AddressBook) -> None:
    """Raise AddressError for the first address among the commands that names no stage."""
    for command, arguments in map(_parts, commands):
        if command.takes is Argument.SETTING:
            # Other settings bring other processors, whose addresses are known when they are there.
            return
        if command.takes is Argument.ADDRESS:
            addresses.resolve(arguments)


def _parts(line: str) -> tuple[Command, str]:
    word, _, arguments = line.partition(" ")
    return COMMANDS.find(word), arguments.strip()


def _is_count(word: str) -> bool:
    return word.isdecimal() and word.isascii() and len(word) <= 9 and int(word) >= 1


def _is_topic(word: str) -> bool:
    return word in TOPICS or sum(topic.startswith(word) for topic in TOPICS) == 1


_FITS: dict[Argument, Callable[[str], bool]] = {
    Argument.NOTHING: lambda arguments: not arguments,
    Argument.COUNT: lambda arguments: not arguments or _is_count(arguments),
    Argument.BREAKPOINT: lambda arguments: not arguments or _is_count(arguments),
    Argument.ADDRESS: bool,
    Argument.TOPIC: lambda arguments: bool(arguments) and _is_topic(arguments),
    Argument.POSITION: lambda arguments: arguments == "last" or arguments.isdecimal(),
    Argument.COMMAND: lambda _: True,
    Argument.TOKEN: bool,
    Argument.SETTING: lambda arguments: len(arguments.split()) == 2,
    Argument.NAME: lambda _: True,
    Argument.BRANCH: bool,
}
"""Whether what stands behind a command's name can be what it takes."""
