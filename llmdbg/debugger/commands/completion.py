"""What could be typed at the cursor of a command line, from plain words a front end holds without a session.

- Which argument a command takes is in the registry (`commands.py`); how addresses are written, in `addresses.py`.
- Addresses are offered part by part, so that the modules of thirty layers are not one list.
- Only the last word of a line is completed: with more behind it, the command might refuse the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.triggers import READY_MADE
from llmdbg.debugger.commands import COMMANDS, Argument, Command
from llmdbg.debugger.commands.branching import SETTINGS
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError
from llmdbg.explain.glossary import TERM_NAMES
from llmdbg.probes.quantities import NAMES

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.models.stages import Stage

_REST_OF_THE_LAST_WORD = re.compile(r"\S*\s*")
_LAYER_WORD = re.compile(r"layers?\s+")
_POSITION = re.compile(r"0|[1-9][0-9]{0,8}")
_PARTIAL_RANGE = re.compile(r"(?P<first>\d{1,9})-(?P<last>\d{0,9})", re.ASCII)
_RANGE = re.compile(r"(?P<first>\d{1,9})-(?P<last>\d{1,9})", re.ASCII)
_ADDRESSED = (Argument.ADDRESS, Argument.WHERE, Argument.TRACED)


@dataclass(frozen=True, slots=True)
class Words:
    """What there is to name at a stop.

    `addresses` are the stages in order, `modules` their dotted paths in the module tree, `breakpoints` the numbers in
    use, `branches` the branches' names, `candidates` the likeliest tokens in quotes; `tokens` is how many positions
    there are. `actions` are the front end's own commands with their help, and `choices` what those that take an
    argument may be given.
    """

    addresses: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    breakpoints: tuple[str, ...] = ()
    tokens: int = 0
    branches: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    topics: tuple[str, ...] = tuple(TOPICS)
    actions: tuple[tuple[str, str], ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stages: Sequence[Stage],
        breakpoints: Iterable[Breakpoint],
        tokens: int,
        actions: Iterable[tuple[str, str]] = (),
        choices: Mapping[str, Iterable[str]] | None = None,
        branches: Iterable[str] = (),
        candidates: Iterable[str] = (),
    ) -> Words:
        """The words for the stages of a run, its breakpoints and the length of its sequence."""
        return cls(
            addresses=tuple(stage.address for stage in stages),
            modules=tuple(stage.module for stage in stages if stage.module),
            breakpoints=tuple(str(each.number) for each in breakpoints),
            tokens=tokens,
            branches=tuple(branches),
            candidates=tuple(json.dumps(each, ensure_ascii=False) for each in candidates),
            actions=tuple(actions),
            choices={name: tuple(each) for name, each in (choices or {}).items()},
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """What fits at the cursor: any of `options` in the place of `line[start:end]`.

    An option is whole unless it ends in `.` or a space: then it names nothing yet, and more follows it. `hint` is how
    the command is written and what it does, empty until it is known which command that is.
    """

    start: int
    end: int
    options: tuple[str, ...]
    hint: str


def complete(line: str, cursor: int, words: Words) -> Completion:
    """Say what could stand at `cursor`, an index into `line`."""
    name, space, argument = line[:cursor].lstrip().partition(" ")
    argument = argument.lstrip()
    command = _command(name)
    if space:
        layer = _LAYER_WORD.match(argument) if command is not None and command.takes in _ADDRESSED else None
        typed = argument[layer.end() :] if layer else argument
        options = _layers(typed, words) if layer else _arguments(name, command, typed, words)
    else:
        typed, options = name, _names(name, command, words)
    if not _REST_OF_THE_LAST_WORD.fullmatch(line, cursor):
        options = ()
    return Completion(min(cursor, len(line)) - len(typed), len(line), tuple(options), _hint(name, command, words))


def common(options: Sequence[str]) -> str:
    """The beginning that all options share: what a press of Tab can add."""
    first, last = min(options, default=""), max(options, default="")
    length = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:length]


def _command(word: str) -> Command | None:
    try:
        return COMMANDS.find(word)
    except CommandError:
        return None


def _hint(name: str, command: Command | None, words: Words) -> str:
    if command is not None:
        return f"{command.usage}: {command.summary}"
    action = _action(name, words)
    return f"{action[0]}: {action[1]}" if action else ""


def _action(word: str, words: Words) -> tuple[str, str] | None:
    """The front end's command that a word names, by itself or as the only one that begins so."""
    fitting = [each for each in words.actions if each[0] == word] or _beginning(word, words.actions)
    return fitting[0] if len(fitting) == 1 else None


def _beginning(word: str, actions: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [each for each in actions if each[0].startswith(word)]


def _names(word: str, command: Command | None, words: Words) -> Sequence[str]:
    """Names of commands; the one that an alias means comes first."""
    meant = [command.name] if command is not None else []
    known = [each.name for each in COMMANDS if each.name.startswith(word)]
    return tuple(dict.fromkeys((*meant, *known, *(name for name, _ in _beginning(word, words.actions)))))


def _arguments(name: str, command: Command | None, typed: str, words: Words) -> Sequence[str]:
    if command is None:
        action = _action(name, words)
        return _starting(typed, words.choices.get(action[0], ())) if action else ()
    offer = _OFFERS.get(command.takes)
    return () if offer is None else offer(typed, words)


def _starting(typed: str, options: Iterable[str]) -> tuple[str, ...]:
    return tuple(option for option in options if option.startswith(typed))


def _positions(typed: str, count: int) -> Iterator[str]:
    """Positions one digit further: a prompt of thirty thousand tokens is no list to read."""
    for position in (typed, *(f"{typed}{digit}" for digit in range(10))):
        if _POSITION.fullmatch(position) and int(position) < count:
            yield position


def _addresses(typed: str, words: Words) -> Sequence[str]:
    options = _parts(typed, words)
    if typed and not options and "layer ".startswith(typed) and _layer_count(words):
        return ("layer ",)
    return options


def _topics(typed: str, words: Words) -> Sequence[str]:
    """Topics of `info`, and the stage or layer behind those that take one."""
    name, space, rest = typed.partition(" ")
    if not space:
        return _starting(typed, words.topics)
    takes = TOPICS[name].takes if name in TOPICS else ""
    if "ADDRESS" in takes:
        return tuple(f"{name} {each}" for each in _addresses(rest, words))
    layers = map(str, range(_layer_count(words))) if "LAYER" in takes else ()
    return tuple(f"{name} {each}" for each in layers if each.startswith(rest))


def _saved(typed: str, words: Words) -> Sequence[str]:
    """The stage behind `tensor`, and a name for the file behind that."""
    name, space, rest = typed.partition(" ")
    if not space or name != "tensor":
        return _starting(typed, ("tensor ",))
    address, whole, _ = rest.partition(" ")
    if whole and _names_stages(address, words):
        return _starting(typed, (f"tensor {address} {re.sub('[^0-9A-Za-z_.-]', '-', address)}.safetensors",))
    return tuple(f"tensor {each}" if each[-1] in ". " else f"tensor {each} " for each in _parts(rest, words))


def _layers(typed: str, words: Words) -> Sequence[str]:
    """Addresses after the word `layer`, which stands before a number or a `*`."""
    return tuple(option for option in _parts(typed, words) if option[0].isdecimal() or option[0] == "*")


def _parts(typed: str, words: Words) -> tuple[str, ...]:
    """`typed` with its last part completed; with the next part added where it is whole and nothing else fits."""
    if typed.startswith("."):
        return ()
    head, _, last = typed.rpartition(".")
    between = _PARTIAL_RANGE.fullmatch(typed)
    options = _ranges(between, words) if between else _below(head, last, words)
    if options in ((), (typed,)) and typed and not typed.endswith("."):
        whole = (typed,) if _names_stages(typed, words) else ()
        return (*whole, *_below(typed, "", words))
    return options


def _ranges(between: re.Match[str], words: Words) -> tuple[str, ...]:
    lasts = map(str, range(int(between["first"]), _layer_count(words)))
    return tuple(f"{between['first']}-{last}" for last in lasts if last.startswith(between["last"]))


def _layer_count(words: Words) -> int:
    return sum(address.isdecimal() for address in words.addresses)


def _below(head: str, beginning: str, words: Words) -> tuple[str, ...]:
    """The parts that may follow `head`, each as an address so far."""
    paths = _paths_below(head, words)
    whole = {path for path in paths if "." not in path}
    parts = dict.fromkeys(path.partition(".")[0] for path in paths if path.startswith(beginning))
    before = f"{head}." if head else ""
    return tuple(f"{before}{part}" if part in whole else f"{before}{part}." for part in parts)


def _paths_below(head: str, words: Words) -> list[str]:
    """What follows `head` in each name that goes on behind it."""
    names = (*words.addresses, *words.modules)
    if not head:
        return list(names)
    if _is_pattern(head):
        return [".".join(rest) for rest in _rests(head, words) if rest]
    return [name[len(head) + 1 :] for name in names if name.startswith(f"{head}.")]


def _names_stages(typed: str, words: Words) -> bool:
    if _is_pattern(typed):
        return any(not rest for rest in _rests(typed, words))
    return typed in words.addresses or typed in words.modules


def _is_pattern(typed: str) -> bool:
    return any(character in typed for character in "*?[") or _RANGE.fullmatch(typed.partition(".")[0]) is not None


def _rests(pattern: str, words: Words) -> Iterator[list[str]]:
    """The parts left over of each address whose first parts fit `pattern`, part by part as they are resolved."""
    first, *others = pattern.split(".")
    layers: frozenset[str] | None = None
    if numbers := _RANGE.fullmatch(first):
        inside = int(numbers["last"]) < _layer_count(words)
        layers = frozenset(map(str, range(int(numbers["first"]), int(numbers["last"]) + 1) if inside else ()))
    for address in words.addresses:
        part, *rest = address.split(".")
        fits = fnmatchcase(part, first) if layers is None else part in layers
        if fits and len(rest) >= len(others) and all(map(fnmatchcase, rest, others)):
            yield rest[len(others) :]


_OFFERS: Mapping[Argument, Callable[[str, Words], Sequence[str]]] = {
    Argument.ADDRESS: _addresses,
    Argument.TRACED: _addresses,
    Argument.WHERE: lambda typed, words: (*(_starting(typed, READY_MADE) if typed else ()), *_addresses(typed, words)),
    Argument.WATCHED: lambda typed, _: _starting(typed, NAMES),
    Argument.BREAKPOINT: lambda typed, words: _starting(typed, words.breakpoints),
    Argument.OF_BREAKPOINT: lambda typed, words: _starting(typed, (f"{each} " for each in words.breakpoints)),
    Argument.TOPIC: _topics,
    Argument.VALUES: _addresses,
    Argument.SAVED: _saved,
    Argument.TERM: lambda typed, words: (*_starting(typed, TERM_NAMES if typed else ()), *_addresses(typed, words)),
    Argument.POSITION: lambda typed, words: (*_starting(typed, ("last",)), *_positions(typed, words.tokens)),
    Argument.COMMAND: lambda typed, _: _names(typed, _command(typed) if typed else None, Words()),
    Argument.SETTING: lambda typed, _: _starting(typed, (f"{name} " for name in SETTINGS)),
    Argument.TOKEN: lambda typed, words: _starting(typed, words.candidates),
    Argument.BRANCH: lambda typed, words: _starting(typed, words.branches),
    Argument.COMPARED: lambda typed, words: _starting(typed, words.branches),
}
"""What may stand behind a command's name, by what it takes; nothing is offered for the rest."""
