"""Commands that change values in the middle of a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import complete_address_or_layer, without_layer_word
from llmdbg.debugger.commands.grammar.base import Described, Grammar, required, starting, whole
from llmdbg.debugger.commands.grammar.plain import Text
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Moved, Outcome
from llmdbg.debugger.editing.edit_syntax import USAGE, split_edit
from llmdbg.debugger.quoting import runs_code
from llmdbg.errors import CommandError
from llmdbg.models.stages import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger

_FROM = " from "
_UNCHANGEABLE = (TOKENIZE.address, SAMPLE.address)


@dataclass(frozen=True, slots=True)
class EditSwitch:
    """A request to switch edits on or off."""

    enabled: bool
    """Whether to switch on."""
    number: int | None
    """The edit's number; None for all."""


class NamedStages(Grammar[str]):
    """What an edit takes that names its stages."""

    def __init__(self, word: str) -> None:
        self._word = word
        self.usage = USAGE[word].removeprefix(f"{word} ")

    def parse(self, arguments: str, command: Described) -> str:
        """Return it unchanged, having checked that no part is missing."""
        split_edit(self._word, required(arguments, command, self.usage))
        return arguments

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The next part of the address, of stages that return something to change; none if more must be typed."""
        return self._stages(typed, words) if self._word == "zero" else ()

    def _stages(self, typed: str, words: Words) -> Sequence[str]:
        return tuple(each for each in complete_address_or_layer(typed, words) if each not in _UNCHANGEABLE)

    def replaced(self, typed: str) -> str:
        """The address after the word `layer`."""
        return without_layer_word(typed)

    def addresses(self, parsed: str) -> tuple[str, ...]:
        """The address of the stages."""
        return (split_edit(self._word, parsed).address,)


class StagesOfOther(NamedStages):
    """What `patch` takes: stages, and the run whose values they return."""

    def __init__(self) -> None:
        super().__init__("patch")

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The address, then `from`, then the other branches and runs, if there are any."""
        others = (*(each for each in words.branches if each != words.branch), *words.others)
        _, given, other = typed.partition(_FROM)
        if given or not others:
            return starting(other, others)
        address, space, word = without_layer_word(typed).rpartition(" ")
        if space and address:
            return starting(word, (_FROM.lstrip(),))
        return tuple(each if each.endswith((".", " ")) else f"{each} " for each in self._stages(typed, words))

    def replaced(self, typed: str) -> str:
        """What follows the last part that is complete."""
        _, given, other = typed.partition(_FROM)
        if given:
            return other
        rest = without_layer_word(typed)
        return rest.rpartition(" ")[2]

    def details(self) -> tuple[str, ...]:
        """What OTHER may be."""
        return (
            "OTHER is a branch, whose value at this token is taken; or a run with this one's tokens, whose values are "
            "taken from this token on:",
            "  reference                   the run that stands beside this one",
            '  "MODEL [OPTIONS]"           a model with options of its own: "smollm2 --dtype bfloat16"',
            '  "FOLDER"                    a recording of this prompt (`llmdbg record --tensors all`)',
            "Values are converted to this run's dtype; another shape is refused.",
        )

    def effect(self, parsed: str) -> Effect:
        """Another run that is not in memory is read from files."""
        other = split_edit("patch", parsed).value
        if other[:1] not in ("'", '"'):
            return Effect(0)
        return Effect.READS_FILE | (Effect.RUNS_PYTHON if runs_code(other[1:-1]) else Effect(0))


class EditNumber(Grammar[int | None]):
    """One edit, or None for the newest."""

    usage = "[N]"

    def parse(self, arguments: str, command: Described) -> int | None:
        """Parse a number."""
        return whole(arguments, command) if arguments else None


class OnOrOff(Grammar[EditSwitch | None]):
    """What `edits` takes; None to list them."""

    usage = "[on|off [N]]"

    def parse(self, arguments: str, command: Described) -> EditSwitch | None:
        """Parse on or off, and a number."""
        if not arguments:
            return None
        word, _, which = arguments.partition(" ")
        if word not in ("on", "off"):
            raise CommandError(f"edits takes on or off and a number, as in `edits off 1`, not {arguments!r}")
        return EditSwitch(word == "on", whole(which.strip(), command) if which.strip() else None)


@COMMANDS.add(
    "zero",
    takes=NamedStages("zero"),
    effect=Effect.CHANGES,
    summary="Set a stage's output to 0 from this token on, or only at ADDRESS@T.",
    example="zero 0.mlp at last",
)
def _zero(debugger: Debugger, arguments: str) -> Outcome:
    return _made(debugger, f"zero {arguments}")


@COMMANDS.add(
    "scale",
    takes=NamedStages("scale"),
    effect=Effect.CHANGES,
    summary="Multiply a stage's output.",
    example="scale 0.mlp 0.5",
)
def _scale(debugger: Debugger, arguments: str) -> Outcome:
    return _made(debugger, f"scale {arguments}")


@COMMANDS.add(
    "ablate",
    takes=NamedStages("ablate"),
    effect=Effect.CHANGES,
    summary="Remove the contribution of attention heads.",
    example="ablate 0.self_attn heads=1,3",
)
def _ablate(debugger: Debugger, arguments: str) -> Outcome:
    return _made(debugger, f"ablate {arguments}")


@COMMANDS.add(
    "patch",
    "graft",
    takes=StagesOfOther(),
    effect=Effect.CHANGES,
    summary="Replace a stage's output by its value in another branch, another model or a recording.",
    example="patch 12 from main",
)
def _patch(debugger: Debugger, arguments: str) -> Outcome:
    return _made(debugger, f"patch {arguments}")


@COMMANDS.add(
    "edit",
    takes=Text("PYTHON"),
    effect=Effect.CHANGES | Effect.RUNS_PYTHON,
    summary="Replace this stage's output, `out`, by your own Python, as in pdb.",
    example="edit out * 2",
)
def _edit(debugger: Debugger, arguments: str) -> Outcome:
    return _made(debugger, f"edit {arguments}")


@COMMANDS.add(
    "undo",
    takes=EditNumber(),
    effect=Effect.CHANGES,
    summary="Undo edit N, or the newest: it is off the list, as if it had never been made.",
    example="undo",
)
def _undo(debugger: Debugger, number: int | None) -> Outcome:
    return Moved(debugger.edits.undo(number))


@COMMANDS.add(
    "edits",
    takes=OnOrOff(),
    # A saved `edit`, which runs the user's Python, is dormant until it is switched on.
    effect=Effect.CHANGES | Effect.RUNS_PYTHON,
    summary="Show the edits, or switch edit N, or all, on or off.",
    example="edits",
)
def _edits(debugger: Debugger, asked: EditSwitch | None) -> Outcome:
    if asked is None:
        return Answer(debugger.run.edits.list())

    return Moved(debugger.edits.switch(asked.number, enabled=asked.enabled))


def _made(debugger: Debugger, line: str) -> Moved:
    stop = debugger.edits.make(line)
    return Moved(stop, done=debugger.edits.done)
