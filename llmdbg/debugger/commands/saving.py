"""`save`: what a stage returned, as a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import address_parts, names_stages
from llmdbg.debugger.commands.grammar.base import Described, Grammar, starting
from llmdbg.debugger.commands.grammar.files import expanded, file_path
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Outcome
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger

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


@COMMANDS.add(
    "save",
    takes=SavedTensor(),
    effect=Effect.WRITES_FILE,
    summary="Write every tensor a stage returned for this token to a .safetensors file, replacing it.",
    example="save tensor 12.mlp mlp.safetensors",
)
def _save(debugger: Debugger, asked: TensorFile) -> Outcome:
    from llmdbg.debugger.inspection.tensor_files import save_tensors

    stages, path = debugger.run.stages.addresses.resolve(asked.address), debugger.destination(expanded(asked.path))
    return Answer(save_tensors(debugger.inspector, stages, path))
