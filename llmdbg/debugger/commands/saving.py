"""Writing what stages gave to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.quoting import pieces
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Argument, Outcome
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.session import Session

_USAGE = "save is written `save tensor ADDRESS FILE.safetensors`, as in `save tensor 12.mlp mlp.safetensors`"


@COMMANDS.add(
    "save",
    usage="save tensor ADDRESS FILE",
    summary="Write every tensor a stage gave for this token to a .safetensors file, replacing it.",
    example="save tensor 12.mlp mlp.safetensors",
    takes=Argument.SAVED,
)
def _save(session: Session, arguments: str) -> Outcome:
    from llmdbg.debugger.tensor_files import save_tensors

    address, path = split_saved(arguments)
    return Answer(save_tensors(session, session.addresses.resolve(address), path))


def split_saved(arguments: str) -> tuple[str, Path]:
    """Split `tensor ADDRESS FILE`. Raises CommandError where it is not written so."""
    words = [each for each in pieces(arguments, " ") if each]
    if len(words) < 3 or words[0] != "tensor":
        raise CommandError(_USAGE)
    path = Path(words[-1].strip("\"'")).expanduser()
    if path.suffix != ".safetensors":
        raise CommandError(f"{path.name!r} must end in .safetensors, the format tensors are written in")
    return " ".join(words[1:-1]), path
