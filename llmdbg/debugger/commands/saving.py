"""Commands that write tensors to a file, or run commands from one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import address_parts, names_stages
from llmdbg.debugger.commands.grammar.base import Described, Grammar, required, starting
from llmdbg.debugger.commands.grammar.files import expanded, file_path
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Moved, Outcome, Quit
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError, LlmdbgError
from llmdbg.formatting import byte_count

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger

_MOST_BYTES = 2**20
_DEEPEST = 10

_READING: ContextVar[tuple[Path, ...]] = ContextVar("reading", default=())
"""The command files being run, from the outermost to the innermost."""

_USAGE = "save is written `save tensor ADDRESS FILE.safetensors`, as in `save tensor 12.mlp mlp.safetensors`"


@dataclass(frozen=True, slots=True)
class TensorFile:
    """What to save, and where."""

    address: str
    """The stage whose tensors to write."""
    path: Path
    """The file. A leading `~` is not expanded yet."""


class SavedTensor(Grammar[TensorFile]):
    """What `save` takes."""

    usage = "tensor ADDRESS FILE"

    def parse(self, arguments: str, command: Described) -> TensorFile:
        """Parse the address and the file, which may be quoted."""
        words = [each for each in pieces(arguments, " ") if each]
        if len(words) < 3 or words[0] != "tensor":
            raise CommandError(_USAGE)
        path = file_path(words[-1])
        if path.suffix != ".safetensors":
            raise CommandError(f"{path.name!r} must end in .safetensors, the format tensors are written in")
        return TensorFile(" ".join(words[1:-1]), path)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The stage after `tensor`, and a name for the file after that."""
        name, space, rest = typed.partition(" ")
        if not space or name != "tensor":
            return starting(typed, ("tensor ",))
        address, whole, _ = rest.partition(" ")
        if whole and names_stages(address, words):
            file = re.sub("[^0-9A-Za-z_.-]", "-", address)
            return starting(typed, (f"tensor {address} {file}.safetensors",))
        parts = address_parts(rest, words)
        return tuple(f"tensor {each}" if each[-1] in ". " else f"tensor {each} " for each in parts)

    def addresses(self, parsed: TensorFile) -> tuple[str, ...]:
        """The stage's address."""
        return (parsed.address,)


class CommandFile(Grammar[Path]):
    """A file of commands. A leading `~` is not expanded yet."""

    usage = "FILE"

    def parse(self, arguments: str, command: Described) -> Path:
        """Take the name, with or without quotes."""
        return file_path(required(arguments, command, "FILE"))


@COMMANDS.add(
    "save",
    takes=SavedTensor(),
    effect=Effect.WRITES_FILE,
    summary="Write every tensor a stage returned for this token to a .safetensors file, replacing it.",
    example="save tensor 12.mlp mlp.safetensors",
)
def _save(debugger: Debugger, asked: TensorFile) -> Outcome:
    from llmdbg.debugger.inspection.tensor_files import save_tensors

    return Answer(
        save_tensors(debugger.inspector, debugger.run.stages.addresses.resolve(asked.address), expanded(asked.path))
    )


@COMMANDS.add(
    "source",
    takes=CommandFile(),
    # Its lines may be any commands.
    effect=Effect.READS_FILE | Effect.RUNS_PYTHON,
    summary="Run the commands of a file, one per line; lines that start with # are skipped.",
    example="source look.txt",
)
def _source(debugger: Debugger, named: Path) -> Outcome:
    path = expanded(named)
    reading = _READING.get()
    if path.resolve() in reading:
        raise CommandError(f"{path} is already being run: it must not source itself")
    if len(reading) >= _DEEPEST:
        raise CommandError(f"{path} is not run: {_DEEPEST} nested files are the most")
    token = _READING.set((*reading, path.resolve()))
    try:
        return _run_lines(debugger, path, _lines(path))
    finally:
        _READING.reset(token)


def _run_lines(debugger: Debugger, path: Path, lines: list[str]) -> Outcome:
    """Run commands until one fails, quits or is interrupted. Answers with each result and each stop."""
    found: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        try:
            for _, outcome in COMMANDS.run_all(debugger, line):
                if isinstance(outcome, Quit):
                    return outcome
                found.append(outcome.stop if isinstance(outcome, Moved) else outcome.data)
        except LlmdbgError as error:
            error.args = (f"{path}, line {number}: {error}",)
            raise
        if debugger.run.interrupted:
            break
    return Answer(tuple(found))


def _lines(path: Path) -> list[str]:
    try:
        # A pipe or a device would never end.
        if path.exists() and not path.is_file():
            raise CommandError(f"{path} is not a file")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > _MOST_BYTES:
        raise CommandError(f"{path} is larger than {byte_count(_MOST_BYTES)}: that is not a file of commands")
    try:
        return data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8 (at byte {error.start}): convert it first") from error
