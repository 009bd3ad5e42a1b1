"""Addresses of stages. Completion offers one part at a time, not the modules of thirty layers in one list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.parse import split_condition
from llmdbg.debugger.commands.grammar.base import Described, Grammar, required
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words

_LAYER_WORD = re.compile(r"layers?\s+")
_PARTIAL_RANGE = re.compile(r"(?P<first>\d{1,9})-(?P<last>\d{0,9})", re.ASCII)
_RANGE = re.compile(r"(?P<first>\d{1,9})-(?P<last>\d{1,9})", re.ASCII)


class Address(Grammar[str]):
    """One address, as typed."""

    usage = "ADDRESS"

    def parse(self, arguments: str, command: Described) -> str:
        """Return it unchanged: its stages are looked up where there is a model."""
        address = required(arguments, command, "ADDRESS")
        if split_condition(address)[1] is not None:
            raise CommandError(f"{command.name} takes an ADDRESS alone: conditions belong to `break`")
        return address

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The next part of an address; after the word `layer` only what starts with a number or `*`."""
        return complete_address_or_layer(typed, words)

    def choices(self, words: Words) -> Sequence[str]:
        """Every stage."""
        return words.addresses

    def replaced(self, typed: str) -> str:
        """The address after the word `layer`."""
        return without_layer_word(typed)

    def addresses(self, parsed: str) -> tuple[str, ...]:
        """The one address."""
        return (parsed,)


class FineAddress(Address):
    """One address, which may be a gradient's too."""

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The next part of an address."""
        return super().complete(typed, words.with_gradients())


def complete_address(typed: str, words: Words) -> Sequence[str]:
    """Addresses that continue what is typed, or the word `layer`."""
    options = address_parts(typed, words)
    if typed and not options and "layer ".startswith(typed) and words.layer_count():
        return ("layer ",)
    return options


def complete_address_or_layer(typed: str, words: Words) -> Sequence[str]:
    """The same, and after the word `layer` the layers, which replace what `without_layer_word` returns."""
    number = without_layer_word(typed)
    if number == typed:
        return complete_address(typed, words)
    return tuple(option for option in address_parts(number, words) if option[0].isdecimal() or option[0] == "*")


def without_layer_word(typed: str) -> str:
    """What follows the word `layer`, or everything if that is not the first word."""
    return _LAYER_WORD.sub("", typed, count=1) if _LAYER_WORD.match(typed) else typed


def address_parts(typed: str, words: Words) -> tuple[str, ...]:
    """`typed` with its last part completed; if that is complete and unambiguous, with the next part added."""
    if typed.startswith("."):
        return ()
    head, _, last = typed.rpartition(".")
    between = _PARTIAL_RANGE.fullmatch(typed)
    options = _ranges(between, words) if between else _below(head, last, words)
    if options in ((), (typed,)) and typed and not typed.endswith("."):
        whole = (typed,) if names_stages(typed, words) else ()
        return (*whole, *_below(typed, "", words))
    return options


def names_stages(typed: str, words: Words) -> bool:
    """Whether an address is complete: it names a stage."""
    if _is_pattern(typed):
        return any(not rest for rest in _rests(typed, words))
    return typed in words.addresses or typed in words.modules


def _ranges(between: re.Match[str], words: Words) -> tuple[str, ...]:
    lasts = map(str, range(int(between["first"]), words.layer_count()))
    return tuple(f"{between['first']}-{last}" for last in lasts if last.startswith(between["last"]))


def _below(head: str, beginning: str, words: Words) -> tuple[str, ...]:
    """The parts that may follow `head`, each as an address so far."""
    paths = _paths_below(head, words)
    whole = {path for path in paths if "." not in path}
    parts = dict.fromkeys(path.partition(".")[0] for path in paths if path.startswith(beginning))
    before = f"{head}." if head else ""
    return tuple(f"{before}{part}" if part in whole else f"{before}{part}." for part in parts)


def _paths_below(head: str, words: Words) -> list[str]:
    """What follows `head` in each name that continues it."""
    names = (*words.addresses, *words.modules)
    if not head:
        return list(names)
    if _is_pattern(head):
        return [".".join(rest) for rest in _rests(head, words) if rest]
    return [name[len(head) + 1 :] for name in names if name.startswith(f"{head}.")]


def _is_pattern(typed: str) -> bool:
    return any(character in typed for character in "*?[") or _RANGE.fullmatch(typed.partition(".")[0]) is not None


def _rests(pattern: str, words: Words) -> Iterator[list[str]]:
    """The remaining parts of each address whose first parts match `pattern`, part by part."""
    first, *others = pattern.split(".")
    layers: frozenset[str] | None = None
    if numbers := _RANGE.fullmatch(first):
        inside = int(numbers["last"]) < words.layer_count()
        layers = frozenset(map(str, range(int(numbers["first"]), int(numbers["last"]) + 1) if inside else ()))
    for address in words.addresses:
        part, *rest = address.split(".")
        fits = fnmatchcase(part, first) if layers is None else part in layers
        if fits and len(rest) >= len(others) and all(map(fnmatchcase, rest, others)):
            yield rest[len(others) :]
