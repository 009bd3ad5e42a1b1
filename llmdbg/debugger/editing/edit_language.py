"""Parses edits.

zero ADDRESS [at POSITIONS]               set the output to 0
scale ADDRESS FACTOR [at POSITIONS]       multiply the output by a number
ablate ADDRESS heads=3,5 [at POSITIONS]   zero the contribution of some attention heads
patch ADDRESS from OTHER [at POSITIONS]   take the stage's value from another run
edit [@TOKEN] EXPR                        the user's own Python at the current stop, as in pdb

OTHER is a branch, `reference` for the run that stands beside this one, or in quotes a model with its options or the
folder of a recording.

POSITIONS are indices of the sequence: `3`, `3,5-7`, `last` or `-1` (the newest position fed), `all`.

Only `edit` compiles and runs Python, and only with a stop to try it at: code that parses lines from a file passes no
stop, so it can run nothing.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter

from llmdbg.debugger.editing.changes import (
    EVERYWHERE,
    NO_TENSOR,
    OtherRun,
    Patch,
    Positions,
    Scale,
    ValueChange,
    Zero,
    own_copy,
    with_main_tensor,
)
from llmdbg.debugger.editing.edit_syntax import WORDS, NamedEdit, incomplete, split_edit
from llmdbg.debugger.editing.edits import Draft, checked
from llmdbg.debugger.editing.heads import Ablate, check_heads, projections_in
from llmdbg.debugger.named_values import copies, given, returned
from llmdbg.debugger.user_code import QUITTERS, UserCode, UserCodeError, names_in, not_python
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import EditError
from llmdbg.models.stages import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.debugger.breakpoints.addresses import AddressBook, Target
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy

MADE_AGAIN = ("zero", "scale", "ablate")
"""Those that can be made again from their line alone."""

_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_FACTOR = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_ONLY_TOKEN = re.compile(r"@\s*(?P<token>\d{1,9})\s+(?P<code>.*)", re.DOTALL | re.ASCII)
# `exec` and its like may name `out` in a text.
_NAMES_OUT = frozenset(("out", "exec", "eval", "globals", "locals", "vars", "__import__", "__builtins__"))
_UNCHANGEABLE = {
    TOKENIZE.address: "nothing can be edited at tokenize, which makes ids of text: change the prompt instead",
    SAMPLE.address: "nothing can be edited at sample, which chooses a token: `force TOKEN` or `ban TOKEN` instead, or "
    "edit the scores at the stage before",
}


@dataclass(frozen=True, slots=True)
class EditContext:
    """What parsing an edit needs to know: the stages of the run, and where it stands."""

    addresses: AddressBook
    """Looks up the stages that an address names."""
    anatomy: Anatomy
    """The stages' modules."""
    model: PreTrainedModel | None
    """The live model; None if the debuggee has none."""
    token: int
    """The generated token being produced, counted from 0."""
    prompt_length: int
    """In tokens."""
    event: StageEvent | None = None
    """The current stop; None if no edit is to be tried."""
    other_run: Callable[[str], OtherRun] | None = None
    """Opens another run as it was typed. Raises LlmdbgError for one that does not exist."""
    user_code: UserCode = field(default_factory=UserCode)
    """Runs what `edit` is given."""
    forward_of: Callable[[str], Callable[..., Any]] | None = None
    """What finds how to run a stage's module on what its event has, by address; None where the module itself does."""


@dataclass(frozen=True, slots=True)
class Python:
    """Replaces the output by the result of the user's own code."""

    source: str
    """The code as it was typed."""
    code: CodeType = field(repr=False, compare=False)
    """The code, compiled."""
    model: PreTrainedModel | None = field(repr=False, compare=False)
    """What the code sees as `model`; None if the debuggee has no live model."""
    user_code: UserCode = field(repr=False, compare=False)
    """Where it runs."""
    is_expression: bool
    """Whether the result is the expression's value, rather than `out` after the statements have run."""
    on_input: ClassVar[bool] = False
    """It changes the output, not the input."""

    def describe(self) -> str:
        """The code itself."""
        return self.source

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """Run it with `out`, `inputs`, `returned`, `given`, `torch` and `model`, as `print` does.

        Raises EditError where it fails or is stopped.
        """
        tensor = main_tensor(event.output)
        if tensor is None:
            raise EditError(NO_TENSOR)
        try:
            made = self.user_code.run(lambda: self._made(tensor, event))
        except UserCodeError as error:
            raise EditError(str(error)) from error
        if not isinstance(made, Tensor):
            what = "the expression returns" if self.is_expression else "`out` becomes"
            raise EditError(f"{what} {made}, not an ordinary tensor, as in `edit out * 2`")
        return with_main_tensor(event.output, made)

    def _made(self, tensor: Tensor, event: StageEvent) -> Tensor | str:
        """The tensor that the code makes, with no code of the user left in it; or in words what it makes instead."""
        names: dict[str, Any] = {**QUITTERS, "out": tensor.clone(), "torch": torch, "model": self.model}
        if "inputs" in names_in(self.code):
            names["inputs"] = tuple(own_copy(each) for each in (*event.args, *event.kwargs.values()))
        module = None if self.model is None or not event.stage.module else self.model.get_submodule(event.stage.module)
        for name, values in (("returned", returned), ("given", given)):
            if name in names_in(self.code):
                names[name] = copies(values(event, module))
        own = names["out"]
        value = eval(self.code, names)
        made: Any = value if self.is_expression else names.get("out")
        if type(made) not in (Tensor, Parameter, type(tensor)):
            return type(made).__name__
        if made.layout is not torch.strided:
            return f"a {made.layout} tensor"
        # Anything but our clone may be one of the model's own tensors, or overlap itself.
        plain: Tensor = made if made is own else made.detach().contiguous().clone()
        return plain


def read_edit(line: str, context: EditContext) -> Draft:
    """Parse a whole command line, and try the edit if the current stop is one of its stages.

    Raises AddressError, EditError, or what `other_run` raises, each saying what to type instead; nothing changes.
    """
    word, _, rest = line.strip().partition(" ")
    if word not in WORDS:
        raise EditError(f"an edit starts with {', '.join(WORDS[:-1])} or {WORDS[-1]}, not {word!r}")
    draft = _read_python(line, rest, context) if word == "edit" else _read_named(line, word, rest, context)
    event = context.event
    if event is not None and event.stage.address in draft.stages and draft.token in (None, event.token):
        # A copy of the event, since a change may replace its inputs.
        checked(draft.change, replace(event), context.prompt_length)
    return draft


def _read_named(line: str, word: str, rest: str, context: EditContext) -> Draft:
    """Parse an edit that names its stages."""
    named = split_edit(word, rest)
    positions = EVERYWHERE if named.positions is None else read_positions(word, named.positions)
    if named.address.partition("@")[2].strip() in ("prefill", "decode"):
        raise EditError("an edit applies at one token, as in 12@5, or from here on: leave out the phase")
    make = {"zero": _zero, "scale": _scale, "ablate": _ablate, "patch": _patch}[word]
    target, change = make(named, positions, context)
    stages = frozenset(change.projections) if isinstance(change, Ablate) else _changeable(target)
    return Draft(line.strip(), stages, _token(target.token, target.text, context), change)


def _zero(named: NamedEdit, positions: Positions, context: EditContext) -> tuple[Target, ValueChange]:
    return context.addresses.resolve(named.address), Zero(positions)


def _scale(named: NamedEdit, positions: Positions, context: EditContext) -> tuple[Target, ValueChange]:
    factor = named.value
    if not _FACTOR.fullmatch(factor) or not math.isfinite(float(factor)):
        raise EditError(f"scale multiplies by a number, as in `scale 12 0.5`, not by {factor!r}")
    return context.addresses.resolve(named.address), Scale(float(factor), positions)


def _ablate(named: NamedEdit, positions: Positions, context: EditContext) -> tuple[Target, ValueChange]:
    heads = _read_heads(named.value)
    target = context.addresses.resolve(named.address)
    if context.model is None:
        raise EditError("ablate needs a live model with attention heads, and there is none here")
    projections = projections_in(target.addresses, context.anatomy, context.model)
    fewest = min(each.heads for each in projections.values())
    check_heads([high for _, high in heads or ()], projections)
    chosen = sorted({head for low, high in heads or [(0, fewest - 1)] for head in range(low, high + 1)})
    return target, Ablate(tuple(chosen), projections, positions, context.forward_of)


def _patch(named: NamedEdit, positions: Positions, context: EditContext) -> tuple[Target, ValueChange]:
    target = context.addresses.resolve(named.address)
    if context.other_run is None:
        raise EditError("patch needs another run, and there is none here")
    token = _token(target.token, target.text, context)
    run = context.other_run(named.value)
    stages = sorted(_changeable(target))
    missing = [run.missing(context.token if token is None else token, each) for each in stages]
    if all(missing):
        raise EditError(str(missing[0]))
    at_hand = frozenset(each for each, why in zip(stages, missing, strict=True) if why is None)
    return replace(target, addresses=at_hand), Patch(run, positions)


def _read_python(line: str, rest: str, context: EditContext) -> Draft:
    token, source = None, rest.strip()
    if only := _ONLY_TOKEN.fullmatch(source):
        token, source = _token(int(only["token"]), f"@{only['token']}", context), only["code"].strip()
    if not source:
        raise incomplete("edit")
    event = context.event
    if event is None:
        raise EditError("edit runs Python at the current stop, and there is none here")
    if why := _UNCHANGEABLE.get(event.stage.address):
        raise EditError(why)
    code, is_expression = _compiled(source)
    if not is_expression and not names_in(code) & _NAMES_OUT:
        raise EditError("this assigns nothing to `out`, so there is nothing to edit with it: it has not been run")
    change = Python(source, code, context.model, context.user_code, is_expression)
    # Tried here even if it is for a later token, so that no error waits inside a forward.
    checked(change, replace(event), context.prompt_length)
    return Draft(line.strip(), frozenset({event.stage.address}), token, change)


def _compiled(source: str) -> tuple[CodeType, bool]:
    """The compiled code, and whether it is an expression."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compile(source, "<edit>", "eval"), True
        except SyntaxError:
            pass
        except (ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise EditError(not_python(error)) from error
        try:
            return compile(source, "<edit>", "exec"), False
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise EditError(not_python(error)) from error


def _changeable(target: Target) -> frozenset[str]:
    """The stages of a target that an edit can change: a pattern may match others too. Raises EditError if none."""
    stages = target.addresses - _UNCHANGEABLE.keys()
    if not stages:
        raise EditError(_UNCHANGEABLE[min(target.addresses)])
    return stages


def _token(token: int | None, named: str, context: EditContext) -> int | None:
    if token is not None and token < context.token:
        raise EditError(
            f"{named} is over: this is token {context.token}; go back first, with `goto tokenize` or `reverse-token`"
        )
    return token


def read_positions(word: str, text: str) -> Positions:
    """Parse POSITIONS. Raises EditError."""
    if text == "all":
        return EVERYWHERE
    parts = text.split(",")
    spans = _read_spans([part for part in parts if part not in ("last", "-1")])
    if spans is None:
        what = f"not {text!r}" if text else "and got none"
        raise EditError(f"{word} … at takes positions, as in 3, 3,5-7, last or all, {what}")
    return Positions(spans, newest=len(spans) < len(parts))


def _read_heads(text: str) -> tuple[tuple[int, int], ...] | None:
    """Parse what follows `heads=`; None for all."""
    text = "".join(text.split())
    spans = _read_spans(text.split(","))
    if text != "all" and spans is None:
        raise EditError(f"heads= takes head numbers, as in heads=3,5-7, or all, not {text!r}")
    return spans


def _read_spans(parts: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """Parse each of `3` and `5-7` to a span; None if any is neither."""
    found = [_SPAN.fullmatch(part) for part in parts]
    spans = tuple((int(span[1]), int(span[2] or span[1])) for span in found if span)
    return spans if len(spans) == len(parts) and all(low <= high for low, high in spans) else None
