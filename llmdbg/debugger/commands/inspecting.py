"""Commands that show state, help and quit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import complete_address
from llmdbg.debugger.commands.grammar.base import Described, Grammar, is_number, required, starting
from llmdbg.debugger.commands.grammar.files import Exported, Question, expanded, split_export
from llmdbg.debugger.commands.grammar.plain import Nothing, Text
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Command, Moved, Outcome, Quit
from llmdbg.debugger.inspection.ranks import in_one_process
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.engine.lockstep import HeldByRanks
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger

_POSITION = re.compile(r"0|[1-9][0-9]{0,8}")


class TopicQuestion(Exported):
    """What `info` takes: a topic, by its name or a unique prefix, and the topic's arguments."""

    usage = "TOPIC [> FILE]"

    def parse(self, arguments: str, command: Described) -> Question:
        """Parse the topic's name; the topic parses what follows."""
        question, path = split_export(arguments)
        word, _, rest = question.partition(" ")
        name = _topic_named(required(word, command, "TOPIC", f"one of {', '.join(TOPICS)}"))
        if rest.strip() and not TOPICS[name].takes:
            raise CommandError(f"info {name} takes no arguments, not {rest.strip()!r}")
        TOPICS[name].tensors(rest.strip())
        return Question(rest.strip(), path, name)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Topics, and the stage or layer after those that take one."""
        name, space, rest = typed.partition(" ")
        if not space:
            return starting(typed, TOPICS)
        takes = TOPICS[name].takes if name in TOPICS else ""
        if "ADDRESS" in takes:
            return tuple(f"{name} {each}" for each in complete_address(rest, words))
        layers = map(str, range(words.layer_count())) if "LAYER" in takes else ()
        return tuple(f"{name} {each}" for each in layers if each.startswith(rest))

    def details(self) -> tuple[str, ...]:
        """The topics, with their arguments and what they show."""
        asked = {f"info {name} {topic.takes}".rstrip(): topic.summary for name, topic in TOPICS.items()}
        width = max(map(len, asked))
        return tuple(f"{usage:{width}}  {summary}" for usage, summary in asked.items())

    def addresses(self, parsed: Question) -> tuple[str, ...]:
        """The layer, for a topic that takes one."""
        return TOPICS[parsed.topic].addresses(parsed.text)

    def tensors(self, parsed: Question) -> tuple[str, ...]:
        """The stage or the parameter, for a topic that takes one."""
        return TOPICS[parsed.topic].tensors(parsed.text)


class Position(Grammar[int | None]):
    """A position of the sequence from 0, None for the last."""

    usage = "POSITION"

    def parse(self, arguments: str, command: Described) -> int | None:
        """Parse a token's index, or `last`."""
        word = required(arguments, command, "POSITION", "a token's index, or `last`")
        if word != "last" and not is_number(word):
            raise CommandError(f"focus takes `last` or a position, not {word!r}")
        return None if word == "last" else int(word)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Positions with one more digit: a prompt of 30,000 tokens is too long a list."""
        return (*starting(typed, ("last",)), *_positions(typed, words.tokens))


@dataclass(frozen=True, slots=True)
class LaneRequest:
    """What is asked of a lane."""

    lane: int | None
    """A row of the batch from 0; None for all of them, or with `alone` for the chosen one."""
    alone: bool
    """Whether to hold it against its single run, instead of choosing it."""


class LaneNumber(Grammar[LaneRequest]):
    """A row of the batch, to be chosen or held against its single run."""

    usage = "N [alone]"

    def parse(self, arguments: str, command: Described) -> LaneRequest:
        """Parse a row's number, or `all`, and `alone`."""
        words = required(arguments, command, "N", "a row of the batch, or `all`").split()
        alone = words[-1] == "alone"
        lane = " ".join(words[:-1] if alone else words)
        if lane and not is_number(lane) and (alone or lane != "all"):
            takes = "a row of the batch from 0 before `alone`" if alone else "a row of the batch from 0, or `all`"
            raise CommandError(f"lane takes {takes}, not {lane!r}")
        return LaneRequest(int(lane) if is_number(lane) else None, alone)

    def effect(self, parsed: LaneRequest) -> Effect:
        """Choosing a row moves what is looked at; holding one against its single run only reads."""
        return Effect.READS if parsed.alone else Effect.MOVES

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The rows of the batch, `all`, and `alone` after a row."""
        rows = [str(each) for each in range(words.lanes)]
        lane, space, _ = typed.partition(" ")
        if space:
            return starting(typed, (f"{lane} alone",)) if lane in rows else ()
        return starting(typed, (*rows, "all", "alone")) if rows else ()


class RankNumber(Grammar[int | None]):
    """A rank from 0, None for whole values."""

    usage = "N"

    def parse(self, arguments: str, command: Described) -> int | None:
        """Parse a rank's number, or `all`."""
        word = required(arguments, command, "N", "a rank, or `all`")
        if word != "all" and not is_number(word):
            raise CommandError(f"rank takes the number of a rank, from 0, or `all`, not {word!r}")
        return None if word == "all" else int(word)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The ranks, and `all`."""
        return starting(typed, (*map(str, range(words.ranks)), "all")) if words.ranks else ()


class CommandName(Grammar[Command[Any] | None]):
    """A command, None for all of them."""

    usage = "[COMMAND]"

    def parse(self, arguments: str, command: Described) -> Command[Any] | None:
        """Find it."""
        return COMMANDS.find(arguments) if arguments else None

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Names of commands."""
        return COMMANDS.names(typed)


@COMMANDS.add(
    "info",
    "i",
    takes=TopicQuestion(),
    effect=Effect.READS,
    summary=f"Show what is here: {', '.join(TOPICS)}. `> FILE` writes it as .txt, .csv or .json.",
    example="info candidates",
)
def _info(debugger: Debugger, question: Question) -> Outcome:
    return answered(debugger, TOPICS[question.topic].ask(debugger.inspector, question.text), question.path)


@COMMANDS.add(
    "focus",
    takes=Position(),
    effect=Effect.MOVES,
    summary="Choose the position whose vector the statistics describe; `focus last` follows the newest.",
    example="focus 3",
)
def _focus(debugger: Debugger, position: int | None) -> Outcome:
    length = len(debugger.run.tokens())
    if position is not None and position >= length:
        raise CommandError(f"focus takes `last` or a position from 0 to {length - 1}, not {str(position)!r}")
    debugger.focus.position = position
    return Moved(debugger.run.look())


@COMMANDS.add(
    "lane",
    takes=LaneNumber(),
    effect=Effect.READS,
    summary="Choose the row of a batch that stops, conditions and panes describe; `lane all` describes all rows. "
    "`lane N alone` holds a row against the same prompt run by itself.",
    example="lane 0",
)
def _lane(debugger: Debugger, asked: LaneRequest) -> Outcome:
    if asked.alone:
        from llmdbg.debugger.inspection.lane_alone import lane_alone

        return Answer(lane_alone(debugger.inspector, asked.lane))
    debugger.lane.choose(asked.lane)
    return Moved(debugger.run.look_at_lane())


@COMMANDS.add(
    "rank",
    takes=RankNumber(),
    effect=Effect.MOVES,
    summary="Choose the rank whose own part stops, `info stats`, `info values`, `info kv` and `print` show; `rank all` "
    "shows whole values, which conditions, edits, `save`, the lens and attention are always about.",
    example="rank all",
)
def _rank(debugger: Debugger, rank: int | None) -> Outcome:
    debuggee = debugger.debuggee
    if isinstance(debuggee, HeldByRanks):
        debuggee.choose_rank(rank)
    elif rank:
        raise CommandError(f"there is no rank {rank}: {in_one_process(debuggee.name)}")
    return Moved(debugger.run.look())


@COMMANDS.add(
    "print",
    "p",
    takes=Text("PYTHON", "as in `print out.max()`"),
    effect=Effect.RUNS_PYTHON,
    summary="Evaluate your own Python here, with out, inputs, returned, given, torch, model and the frame's locals.",
    example="print out.shape",
)
def _print(debugger: Debugger, python: str) -> Outcome:
    from llmdbg.debugger.inspection.printing import printed

    return Answer(printed(debugger.inspector, python))


@COMMANDS.add(
    "verify",
    takes=Nothing(),
    effect=Effect.READS,
    summary="Prove that an untouched generate() returns these tokens and logits, bit by bit.",
    example="verify",
)
def _verify(debugger: Debugger, _: None) -> Outcome:
    from llmdbg.debugger.inspection.verify import verify

    return Answer(verify(debugger.inspector))


@COMMANDS.add(
    "help",
    "h",
    takes=CommandName(),
    effect=Effect.READS,
    summary="Say what commands do.",
    example="help break",
)
def _help(_debugger: Debugger, command: Command[Any] | None) -> Outcome:
    return Answer(tuple(COMMANDS) if command is None else (command, *command.takes.details()))


@COMMANDS.add("quit", "q", takes=Nothing(), effect=Effect.MOVES, summary="Leave.", example="quit")
def _quit(_debugger: Debugger, _: None) -> Outcome:
    return Quit()


def answered(debugger: Debugger, found: Any, path: Path | None) -> Answer:
    """The answer itself, or with a path a sentence that reports the file written. Raises CommandError."""
    return Answer(found if path is None else debugger.export(found, debugger.destination(expanded(path))))


def _topic_named(word: str) -> str:
    """The topic with this name, or the only one that starts with it. Raises CommandError."""
    matching = [word] if word in TOPICS else [name for name in TOPICS if name.startswith(word)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise CommandError(f"info {word!r} could be any of: {', '.join(matching)}")
    raise CommandError(f"there is no info {word!r}: it is one of {', '.join(TOPICS)}")


def _positions(typed: str, count: int) -> Iterator[str]:
    for position in (typed, *(f"{typed}{digit}" for digit in range(10))):
        if _POSITION.fullmatch(position) and int(position) < count:
            yield position
