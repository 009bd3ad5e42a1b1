"""What can be known to fail before anything is written: commands before the model is loaded, addresses after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.conditions import parse_condition
from llmdbg.debugger.breakpoints.expressions import parse_expression, parse_expressions
from llmdbg.debugger.breakpoints.triggers import ready_made
from llmdbg.debugger.commands import COMMANDS, Argument, split_condition
from llmdbg.debugger.commands.inspecting import split_export, topic_named
from llmdbg.debugger.commands.saving import split_saved
from llmdbg.debugger.commands.stopping import split_trace, split_watch
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import AddressBook
    from llmdbg.debugger.commands import Command


def without_comments(lines: Iterable[str]) -> list[str]:
    """The commands among the lines of `-ex` and `-x`."""
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def check_commands(commands: Iterable[str]) -> None:
    """Raise CommandError for the first command that is unknown, or that is not written as it has to be."""
    for line in commands:
        command, arguments = _parts(line)
        if command.takes is Argument.COMMAND and arguments:
            COMMANDS.find(arguments)
        elif not _FITS[command.takes](arguments):
            raise CommandError(f"{command.name} is written `{command.usage}`, and not {line!r}")
        if command.takes is Argument.ADDRESS and split_condition(arguments)[1] is not None:
            raise CommandError(f"{command.name} takes an ADDRESS alone: conditions belong to `break`")
        _check_expressions(command, arguments)


def check_addresses(commands: Iterable[str], addresses: AddressBook) -> None:
    """Raise AddressError for the first address among the commands that names no stage."""
    for command, arguments in map(_parts, commands):
        if command.takes is Argument.SETTING:
            # Other settings bring other processors, whose addresses are known when they are there.
            return
        address = _address(command, arguments)
        if address is not None:
            addresses.resolve(address)


def _address(command: Command, arguments: str) -> str | None:
    """The address among a command's arguments, None where there is none."""
    before, _ = split_condition(arguments)
    match command.takes:
        case Argument.ADDRESS:
            return arguments
        case Argument.WHERE:
            return None if ready_made(before) else before
        case Argument.TRACED:
            return split_trace(before)[0]
        case Argument.WATCHED:
            return split_watch(arguments)[1]
        case Argument.SAVED:
            return split_saved(arguments)[0]
    return None


def _check_expressions(command: Command, arguments: str) -> None:
    before, condition = split_condition(arguments)
    if command.takes in (Argument.WHERE, Argument.TRACED) and condition is not None:
        parse_condition(condition)
    if command.takes is Argument.TRACED and (expressions := split_trace(before)[1]):
        parse_expressions(expressions)
    if command.takes is Argument.WATCHED:
        parse_expression(split_watch(arguments)[0])


def _parts(line: str) -> tuple[Command, str]:
    word, _, arguments = line.partition(" ")
    return COMMANDS.find(word), arguments.strip()


def _is_count(word: str) -> bool:
    return word.isdecimal() and word.isascii() and len(word) <= 9 and int(word) >= 1


def _is_topic(arguments: str) -> bool:
    word, _, rest = split_export(arguments)[0].partition(" ")
    try:
        return bool(topic_named(word)[1].takes or not rest.strip())
    except CommandError:
        return False


_FITS: dict[Argument, Callable[[str], bool]] = {
    Argument.NOTHING: lambda arguments: not arguments,
    Argument.COUNT: lambda arguments: not arguments or _is_count(arguments),
    Argument.BREAKPOINT: lambda arguments: not arguments or _is_count(arguments),
    Argument.ADDRESS: bool,
    Argument.TOPIC: lambda arguments: bool(arguments) and _is_topic(arguments),
    Argument.POSITION: lambda arguments: arguments == "last" or arguments.isdecimal(),
    Argument.COMMAND: lambda _: True,
    Argument.TERM: lambda _: True,
    Argument.VALUES: lambda _: True,
    Argument.TOKEN: bool,
    Argument.EDIT: bool,
    Argument.FILE: bool,
    Argument.SAVED: lambda arguments: bool(split_saved(arguments)),
    Argument.PYTHON: bool,
    Argument.SWITCH: lambda arguments: not arguments or arguments.split()[0] in ("on", "off"),
    Argument.WHERE: lambda arguments: bool(split_condition(arguments)[0]),
    Argument.TRACED: lambda arguments: bool(split_condition(arguments)[0]),
    Argument.WATCHED: bool,
    Argument.OF_BREAKPOINT: lambda arguments: _is_count(arguments.partition(" ")[0]),
    Argument.SETTING: lambda arguments: len(arguments.split()) == 2,
    Argument.NAME: lambda _: True,
    Argument.BRANCH: bool,
    Argument.COMPARED: bool,
}
"""Whether what stands behind a command's name can be what it takes."""
