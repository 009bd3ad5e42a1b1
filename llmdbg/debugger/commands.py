"""The command language: every command, once.

Front ends look commands up here and nowhere else: `-ex`, `-x`, the command line of the screen, help and completion.
A command takes a session and its arguments as text, and answers with an `Outcome`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llmdbg.debugger import motions, travel
from llmdbg.debugger.info import TOPICS
from llmdbg.debugger.stop import Reason
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints import Breakpoint
    from llmdbg.debugger.motions import Motion
    from llmdbg.debugger.session import Session
    from llmdbg.debugger.stop import Stop
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class Moved:
    """The run went on and stands at `stop`."""

    stop: Stop


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found out or changed. `data` is a frozen value, a tuple of them, or a sentence.

    `done` is a word for what was done to it, where that is not plain to see.
    """

    data: Any
    done: str = ""


@dataclass(frozen=True, slots=True)
class Quit:
    """The user wants to leave."""


Outcome = Moved | Answer | Quit


class Argument(StrEnum):
    """What a command is given behind its name, so that completion knows what fits there."""

    NOTHING = "nothing"
    COUNT = "count"
    ADDRESS = "address"
    BREAKPOINT = "breakpoint"
    TOPIC = "topic"
    POSITION = "position"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its names, how it is written, what it does in a sentence, an example, the doing, what it takes."""

    name: str
    aliases: tuple[str, ...]
    usage: str
    summary: str
    example: str
    run: Callable[[Session, str], Outcome]
    takes: Argument = Argument.NOTHING


class Registry:
    """All commands by name, alias and unique prefix."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._by_name: dict[str, Command] = {}

    def __iter__(self) -> Iterator[Command]:
        """Every command, in the order they were added."""
        return iter(self._commands.values())

    def add(
        self,
        name: str,
        *aliases: str,
        usage: str,
        summary: str,
        example: str,
        takes: Argument = Argument.NOTHING,
    ) -> Callable[[Callable[[Session, str], Outcome]], Callable[[Session, str], Outcome]]:
        """Decorate a function to make it a command."""

        def register(run: Callable[[Session, str], Outcome]) -> Callable[[Session, str], Outcome]:
            command = Command(name, aliases, usage, summary, example, run, takes)
            self._commands[name] = command
            self._by_name |= dict.fromkeys((name, *aliases), command)
            return run

        return register

    def find(self, word: str) -> Command:
        """The command `word` names. Raises CommandError for an unknown or ambiguous word."""
        if word in self._by_name:
            return self._by_name[word]
        matching = {name: command for name, command in self._commands.items() if name.startswith(word)}
        if len(matching) == 1:
            return next(iter(matching.values()))
        if matching:
            raise CommandError(f"{word!r} could be any of: {', '.join(matching)}")
        near = difflib.get_close_matches(word, self._by_name, n=1, cutoff=0.0)
        raise CommandError(f"there is no command {word!r}: the nearest is {near[0]!r}, and `help` lists all")

    def run(self, session: Session, line: str) -> Outcome:
        """Run one command line. Raises CommandError or AddressError, having changed nothing, when it makes no sense."""
        word, _, arguments = line.strip().partition(" ")
        return self.find(word).run(session, arguments.strip())


COMMANDS = Registry()


@COMMANDS.add(
    "run", "r", usage="run", summary="Start again from the prompt, up to the first breakpoint.", example="run"
)
def _run(session: Session, arguments: str) -> Outcome:
    _no_arguments("run", arguments)
    session.restart()
    return Moved(session.go(motions.onwards()))


@COMMANDS.add(
    "step", "s", usage="step [N]", summary="Go to the next stage, into modules.", example="step 3", takes=Argument.COUNT
)
def _step(session: Session, arguments: str) -> Outcome:
    return _repeated(session, motions.into, _count("step", arguments))


@COMMANDS.add(
    "next",
    "n",
    usage="next [N]",
    summary="Go to the next stage, over its modules.",
    example="next 4",
    takes=Argument.COUNT,
)
def _next(session: Session, arguments: str) -> Outcome:
    return _repeated(session, motions.over, _count("next", arguments))


@COMMANDS.add(
    "finish", "f", usage="finish", summary="Go out: to the end of the module, layer or forward.", example="finish"
)
def _finish(session: Session, arguments: str) -> Outcome:
    _no_arguments("finish", arguments)
    return Moved(session.go(motions.out(session.stages(), session.stop.stage)))


@COMMANDS.add(
    "continue",
    "c",
    usage="continue [N]",
    summary="Go on to the next breakpoint, or the Nth.",
    example="continue",
    takes=Argument.COUNT,
)
def _continue(session: Session, arguments: str) -> Outcome:
    return Moved(session.go(motions.onwards(_count("continue", arguments))))


@COMMANDS.add(
    "until",
    "u",
    usage="until ADDRESS",
    summary="Go on to a stage, whatever lies between.",
    example="until 12.mlp@3",
    takes=Argument.ADDRESS,
)
def _until(session: Session, arguments: str) -> Outcome:
    return Moved(session.go(motions.until(session.addresses.resolve(_required("until", arguments, "ADDRESS")))))


@COMMANDS.add(
    "token",
    "t",
    usage="token [N]",
    summary="Go to where the next token is chosen (or the Nth).",
    example="token 10",
    takes=Argument.COUNT,
)
def _token(session: Session, arguments: str) -> Outcome:
    return Moved(session.go(motions.token(_count("token", arguments))))


@COMMANDS.add(
    "goto",
    "g",
    usage="goto ADDRESS[@T]",
    summary="Go to a stage of any token, past or to come; breakpoints do not stop it.",
    example="goto 12.mlp@3",
    takes=Argument.ADDRESS,
)
def _goto(session: Session, arguments: str) -> Outcome:
    return Moved(travel.goto(session, session.addresses.resolve(_required("goto", arguments, "ADDRESS"))))


@COMMANDS.add(
    "reverse-step",
    "rs",
    usage="reverse-step [N]",
    summary="Go back to the stage before, into modules.",
    example="reverse-step 3",
    takes=Argument.COUNT,
)
def _reverse_step(session: Session, arguments: str) -> Outcome:
    return Moved(travel.reverse_step(session, _count("reverse-step", arguments)))


@COMMANDS.add(
    "reverse-next",
    "rn",
    usage="reverse-next [N]",
    summary="Go back to the stage before, over modules.",
    example="reverse-next",
    takes=Argument.COUNT,
)
def _reverse_next(session: Session, arguments: str) -> Outcome:
    return Moved(travel.reverse_next(session, _count("reverse-next", arguments)))


@COMMANDS.add(
    "reverse-continue",
    "rc",
    usage="reverse-continue [N]",
    summary="Go back to the last breakpoint, or to the beginning.",
    example="reverse-continue",
    takes=Argument.COUNT,
)
def _reverse_continue(session: Session, arguments: str) -> Outcome:
    return Moved(travel.reverse_continue(session, _count("reverse-continue", arguments)))


@COMMANDS.add(
    "reverse-token",
    "rt",
    usage="reverse-token [N]",
    summary="Go back to where the token before was chosen.",
    example="reverse-token 3",
    takes=Argument.COUNT,
)
def _reverse_token(session: Session, arguments: str) -> Outcome:
    return Moved(travel.reverse_token(session, _count("reverse-token", arguments)))


@COMMANDS.add(
    "break",
    "b",
    usage="break ADDRESS",
    summary="Stop whenever a stage has run.",
    example="break *.mlp",
    takes=Argument.ADDRESS,
)
def _break(session: Session, arguments: str) -> Outcome:
    return Answer(_set_breakpoint(session, "break", arguments, temporary=False))


@COMMANDS.add(
    "tbreak", "tb", usage="tbreak ADDRESS", summary="Stop there once.", example="tbreak 12@5", takes=Argument.ADDRESS
)
def _tbreak(session: Session, arguments: str) -> Outcome:
    return Answer(_set_breakpoint(session, "tbreak", arguments, temporary=True))


@COMMANDS.add(
    "delete",
    "d",
    usage="delete [N]",
    summary="Delete breakpoint N, or all of them.",
    example="delete 1",
    takes=Argument.BREAKPOINT,
)
def _delete(session: Session, arguments: str) -> Outcome:
    return Answer(session.breakpoints.delete(_number("delete", arguments)), "deleted")


@COMMANDS.add(
    "enable",
    usage="enable [N]",
    summary="Switch breakpoint N, or all, on again.",
    example="enable 1",
    takes=Argument.BREAKPOINT,
)
def _enable(session: Session, arguments: str) -> Outcome:
    return Answer(session.breakpoints.enable(_number("enable", arguments), enabled=True))


@COMMANDS.add(
    "disable",
    usage="disable [N]",
    summary="Switch breakpoint N, or all, off.",
    example="disable 1",
    takes=Argument.BREAKPOINT,
)
def _disable(session: Session, arguments: str) -> Outcome:
    return Answer(session.breakpoints.enable(_number("disable", arguments), enabled=False))


@COMMANDS.add(
    "info",
    "i",
    usage=f"info {'|'.join(TOPICS)}",
    summary="Show what is here.",
    example="info candidates",
    takes=Argument.TOPIC,
)
def _info(session: Session, arguments: str) -> Outcome:
    word = _required("info", arguments, "TOPIC", f"one of {', '.join(TOPICS)}")
    matching = [word] if word in TOPICS else [topic for topic in TOPICS if topic.startswith(word)]
    if len(matching) == 1:
        return Answer(TOPICS[matching[0]](session))
    if matching:
        raise CommandError(f"info {word!r} could be any of: {', '.join(matching)}")
    raise CommandError(f"there is no info {word!r}: it is one of {', '.join(TOPICS)}")


@COMMANDS.add(
    "focus",
    usage="focus POSITION",
    summary="Choose the position whose vector the statistics describe; `focus last` follows the newest.",
    example="focus 3",
    takes=Argument.POSITION,
)
def _focus(session: Session, arguments: str) -> Outcome:
    word = _required("focus", arguments, "POSITION", "a token's index, or `last`")
    if word == "last":
        session.focus = None
    else:
        length = len(session.tokens())
        if not word.isdecimal() or int(word) >= length:
            raise CommandError(f"focus takes `last` or a position from 0 to {length - 1}, not {word!r}")
        session.focus = int(word)
    return Moved(session.look())


@COMMANDS.add(
    "help", "h", usage="help [COMMAND]", summary="Say what commands do.", example="help break", takes=Argument.COMMAND
)
def _help(_session: Session, arguments: str) -> Outcome:
    return Answer(tuple(COMMANDS) if not arguments else (COMMANDS.find(arguments),))


@COMMANDS.add("quit", "q", usage="quit", summary="Leave.", example="quit")
def _quit(_session: Session, arguments: str) -> Outcome:
    _no_arguments("quit", arguments)
    return Quit()


def _repeated(session: Session, motion: Callable[[Sequence[Stage], Stage], Motion], count: int) -> Moved:
    """Do a motion `count` times, each from where the one before led; a breakpoint or the end comes first."""
    stop = session.go(motion(session.stages(), session.stop.stage))
    for _ in range(count - 1):
        if session.end is not None or stop.reason is Reason.BREAKPOINT:
            break
        stop = session.go(motion(session.stages(), stop.stage))
    return Moved(stop)


def _set_breakpoint(session: Session, name: str, arguments: str, *, temporary: bool) -> Breakpoint:
    address, condition = split_condition(arguments)
    if condition is not None:
        raise CommandError(f"conditions are not there yet: {name} takes an ADDRESS alone")
    target = session.addresses.resolve(_required(name, address, "ADDRESS"))
    return session.breakpoints.add(target, temporary=temporary)


def split_condition(text: str) -> tuple[str, str | None]:
    """Split `ADDRESS if CONDITION`."""
    address, found, condition = f" {text} ".partition(" if ")
    return address.strip(), condition.strip() if found else None


def _no_arguments(name: str, arguments: str) -> None:
    if arguments:
        raise CommandError(f"{name} takes no arguments, and got {arguments!r}")


def _required(name: str, arguments: str, what: str, hint: str = "") -> str:
    if not arguments:
        raise CommandError(
            f"{name} needs {what}" + (f": {hint}" if hint else f", as in `{COMMANDS.find(name).example}`")
        )
    return arguments


def _number(name: str, arguments: str) -> int | None:
    return _whole(name, arguments) if arguments else None


def _count(name: str, arguments: str) -> int:
    return _whole(name, arguments) if arguments else 1


def _whole(name: str, word: str) -> int:
    if not (word.isdecimal() and word.isascii() and int(word[:10]) >= 1 and len(word) <= 9):
        raise CommandError(f"{name} takes a whole number of 1 or more, not {word!r}")
    return int(word)
