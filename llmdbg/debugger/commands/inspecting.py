"""Looking around, help and leaving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.registry import COMMANDS, Answer, Argument, Moved, Outcome, Quit, no_arguments, required
from llmdbg.debugger.inspection.topics import TOPICS, Topic
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session


@COMMANDS.add(
    "info",
    "i",
    usage="info TOPIC [> FILE]",
    summary=f"Show what is here: {', '.join(TOPICS)}. `> FILE` writes it as .txt, .csv or .json.",
    example="info candidates",
    takes=Argument.TOPIC,
)
def _info(session: Session, arguments: str) -> Outcome:
    question, path = split_export(arguments)
    word, _, rest = question.partition(" ")
    word = required("info", word, "TOPIC", f"one of {', '.join(TOPICS)}")
    name, topic = topic_named(word)
    if rest.strip() and not topic.takes:
        raise CommandError(f"info {name} takes nothing more, and got {rest.strip()!r}")
    found = topic.ask(session, rest.strip())
    return Answer(found if path is None else session.export(found, path))


def topic_named(word: str) -> tuple[str, Topic]:
    """The topic a word names, by itself or as the only one that begins so. Raises CommandError."""
    matching = [word] if word in TOPICS else [name for name in TOPICS if name.startswith(word)]
    if len(matching) == 1:
        return matching[0], TOPICS[matching[0]]
    if matching:
        raise CommandError(f"info {word!r} could be any of: {', '.join(matching)}")
    raise CommandError(f"there is no info {word!r}: it is one of {', '.join(TOPICS)}")


def split_export(text: str) -> tuple[str, Path | None]:
    """Split `QUESTION > FILE`. Raises CommandError where no file is named."""
    question, *named = pieces(f"{text} ", " > ")
    if not named:
        return question.strip(), None
    name = named[-1].strip().strip("\"'")
    if not name or len(named) > 1:
        raise CommandError("name one file behind `>`, as in `info lens > lens.csv`")
    return question.strip(), Path(name).expanduser()


@COMMANDS.add(
    "focus",
    usage="focus POSITION",
    summary="Choose the position whose vector the statistics describe; `focus last` follows the newest.",
    example="focus 3",
    takes=Argument.POSITION,
)
def _focus(session: Session, arguments: str) -> Outcome:
    word = required("focus", arguments, "POSITION", "a token's index, or `last`")
    if word == "last":
        session.focus = None
    else:
        length = len(session.tokens())
        if not word.isdecimal() or int(word) >= length:
            raise CommandError(f"focus takes `last` or a position from 0 to {length - 1}, not {word!r}")
        session.focus = int(word)
    return Moved(session.look())


@COMMANDS.add(
    "print",
    "p",
    usage="print PYTHON",
    summary="Work out your own Python here: out, inputs, torch, model.",
    example="print out.shape",
    takes=Argument.PYTHON,
)
def _print(session: Session, arguments: str) -> Outcome:
    from llmdbg.debugger.inspection.printing import printed

    return Answer(printed(session, required("print", arguments, "PYTHON", "as in `print out.max()`")))


@COMMANDS.add(
    "verify",
    usage="verify",
    summary="Prove that an untouched generate() gives these tokens and logits, bit by bit.",
    example="verify",
)
def _verify(session: Session, arguments: str) -> Outcome:
    from llmdbg.debugger.inspection.verify import verify

    no_arguments("verify", arguments)
    return Answer(verify(session))


@COMMANDS.add(
    "help", "h", usage="help [COMMAND]", summary="Say what commands do.", example="help break", takes=Argument.COMMAND
)
def _help(_session: Session, arguments: str) -> Outcome:
    return Answer(tuple(COMMANDS) if not arguments else (COMMANDS.find(arguments),))


@COMMANDS.add("quit", "q", usage="quit", summary="Leave.", example="quit")
def _quit(_session: Session, arguments: str) -> Outcome:
    no_arguments("quit", arguments)
    return Quit()
