"""Changing values in the middle of a forward.

What makes an edit needs torch, and is imported when one is made: commands are completed before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.registry import COMMANDS, Answer, Argument, Moved, Outcome, no_arguments, required, whole
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session


@COMMANDS.add(
    "zero",
    usage="zero ADDRESS [at POSITIONS]",
    summary="Make a stage's output 0 from this token on, or only at ADDRESS@T.",
    example="zero 0.mlp at last",
    takes=Argument.EDIT,
)
def _zero(session: Session, arguments: str) -> Outcome:
    return _made(session, "zero", arguments)


@COMMANDS.add(
    "scale",
    usage="scale ADDRESS FACTOR [at POSITIONS]",
    summary="Multiply a stage's output.",
    example="scale 0.mlp 0.5",
    takes=Argument.EDIT,
)
def _scale(session: Session, arguments: str) -> Outcome:
    return _made(session, "scale", arguments)


@COMMANDS.add(
    "ablate",
    usage="ablate ADDRESS heads=H [at POSITIONS]",
    summary="Leave attention heads out.",
    example="ablate 0.self_attn heads=1,3",
    takes=Argument.EDIT,
)
def _ablate(session: Session, arguments: str) -> Outcome:
    return _made(session, "ablate", arguments)


@COMMANDS.add(
    "patch",
    usage="patch ADDRESS from BRANCH [at POSITIONS]",
    summary="Put in the value that a stage had in another branch at this token.",
    example="patch 12 from main",
    takes=Argument.EDIT,
)
def _patch(session: Session, arguments: str) -> Outcome:
    return _made(session, "patch", arguments)


@COMMANDS.add(
    "edit",
    usage="edit PYTHON",
    summary="Make another `out` of this stage's output with your own Python, as in pdb.",
    example="edit out * 2",
    takes=Argument.PYTHON,
)
def _edit(session: Session, arguments: str) -> Outcome:
    return _made(session, "edit", arguments)


@COMMANDS.add("undo", usage="undo", summary="Take the newest edit back.", example="undo")
def _undo(session: Session, arguments: str) -> Outcome:
    from llmdbg.debugger.execution import edit_control

    no_arguments("undo", arguments)
    return Moved(edit_control.undo(session))


@COMMANDS.add(
    "edits",
    usage="edits [on|off [N]]",
    summary="Show the edits, or switch edit N, or all, on or off.",
    example="edits",
    takes=Argument.SWITCH,
)
def _edits(session: Session, arguments: str) -> Outcome:
    if not arguments:
        return Answer(session.edits.list())
    word, _, which = arguments.partition(" ")
    if word not in ("on", "off"):
        raise CommandError(f"edits takes on or off and a number, as in `edits off 1`, not {arguments!r}")
    from llmdbg.debugger.execution import edit_control

    number = whole("edits", which.strip()) if which.strip() else None
    return Moved(edit_control.switch_edit(session, number, enabled=word == "on"))


def _made(session: Session, word: str, arguments: str) -> Moved:
    from llmdbg.debugger.execution import edit_control

    required(word, arguments, COMMANDS.find(word).usage.partition(" ")[2])
    return Moved(edit_control.make_edit(session, f"{word} {arguments}"))
