"""`record`: what the run computes from here on, as a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Described, Grammar, starting
from llmdbg.debugger.commands.grammar.files import expanded, file_path
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Outcome
from llmdbg.debugger.known_values import known_of
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger

_USAGE = "record is written `record FOLDER [last | all | inputs | ADDRESS,…]` or `record stop`"
_KEEPS = ("last", "all", "inputs")


@dataclass(frozen=True, slots=True)
class RecordingRequest:
    """What to record."""

    folder: Path | None
    """Where; None to stop. A leading `~` is not expanded yet."""
    tensors: tuple[str, ...] = ()
    """Which whole tensors to keep: `last`, `all`, `inputs`, or addresses."""


class RecordingFolder(Grammar[RecordingRequest]):
    """What `record` takes."""

    usage = "FOLDER [last | all | inputs | ADDRESS,…] | stop"

    def parse(self, arguments: str, command: Described) -> RecordingRequest:
        """Parse the folder, which may be quoted, and what to keep."""
        words = [each for each in pieces(arguments, " ") if each]
        if words == ["stop"]:
            return RecordingRequest(None)
        if not 1 <= len(words) <= 2:
            raise CommandError(_USAGE)
        kept = tuple(each for each in words[1].split(",") if each) if len(words) > 1 else ()
        return RecordingRequest(file_path(words[0]), kept)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """`stop`, or what to keep behind a folder."""
        folder, space, rest = typed.partition(" ")
        if not space:
            return starting(typed, ("stop",))
        return tuple(f"{folder} {each}" for each in _KEEPS if each.startswith(rest))

    def addresses(self, parsed: RecordingRequest) -> tuple[str, ...]:
        """The stages of which everything is kept."""
        return tuple(each for each in parsed.tensors if each not in _KEEPS)


@COMMANDS.add(
    "record",
    takes=RecordingFolder(),
    effect=Effect.WRITES_FILE,
    summary="Record every stage from the next token on, into a folder that `llmdbg diff` reads.",
    example="record run",
)
def _record(debugger: Debugger, asked: RecordingRequest) -> Outcome:
    from llmdbg.debugger.execution.tape import Tape
    from llmdbg.debugger.execution.trace import BEGINNING
    from llmdbg.traces.keeping import parse_keep

    run = debugger.run
    if known_of(run.event) is not None:
        raise CommandError("this is a recording already: its folder can be copied")
    running = run.tape is not None and not run.tape.ended
    if asked.folder is None:
        if run.tape is None or not running:
            return Answer("nothing is being recorded: `record FOLDER` begins")
        run.tape.end("`record stop`")
        return Answer(run.tape.describe())
    if run.tape is not None and running:
        raise CommandError(f"{run.tape.folder} is being recorded: `record stop` ends that")
    run.refuse_if_over()
    keep = parse_keep(asked.tensors, lambda address: run.stages.addresses.resolve(address).addresses)
    ids, folder = run.generated_ids(), debugger.destination(expanded(asked.folder))
    run.tape = Tape(run.debuggee, run.cursor, folder, keep, ids, at_start=run.place == BEGINNING)
    return Answer(run.tape.describe())
