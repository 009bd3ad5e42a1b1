"""What there is to see at a stop, as groups of lazy values: the stage, what comes next, locals, tokens, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.inspection.frames import select, stack_of
from llmdbg.debugger.inspection.layer_predictions import layer_predictions
from llmdbg.debugger.inspection.lazy_values import OUT, Group, Text
from llmdbg.debugger.known_values import known_of
from llmdbg.debugger.named_values import given, returned
from llmdbg.engine.debuggee import Capability
from llmdbg.engine.stage_event import main_tensor
from llmdbg.formatting import counted, milliseconds, percent
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector

Rows = Sequence[tuple[str, Any, str]]
STAGE, SETTINGS = "Stage", "Settings"
"""The scopes in which something can be changed."""
_MODELS_OWN = "the model's own"


@dataclass(frozen=True, slots=True)
class Scope(Group):
    """A group of what there is to see."""

    name: str = ""
    """Its heading."""
    expensive: bool = False
    """Whether looking may run part of a forward again."""


def scopes_of_stage(inspector: Inspector) -> tuple[Scope, ...]:
    """What belongs to the stop as a whole. Locals come first where the stop is at a line that a frame stands at."""
    found = [Scope("", lambda: _stage(inspector), name=STAGE)]
    if inspector.stop.candidates is not None:
        found.append(Scope("", lambda: _candidates(inspector), name="Candidates"))
    elif inspector.debuggee.loaded is not None and inspector.stop.stage.kind is not StageKind.TOKENIZE:
        found.append(Scope("", lambda: _lens(inspector), name="Candidates (lens)", expensive=True))
    tokens = len(inspector.run.tokens())
    found.append(Scope("", lambda: _tokens(inspector), tokens, name="Tokens"))
    if Capability.SAMPLING in inspector.debuggee.capabilities:
        found.append(Scope("", lambda: _settings(inspector), name=SETTINGS))
    return tuple(found)


def locals_scope(inspector: Inspector, number: int) -> Scope:
    """The local variables of a frame, by its number. They are read when somebody looks, and not before."""
    return Scope("", lambda: _locals(inspector, number), name="Locals")


def _stage(inspector: Inspector) -> Rows:
    stop, event = inspector.stop, inspector.whole_event
    stage = stop.stage
    module = inspector.anatomy.modules.get(stage.address)
    name = f" ({stage.module})" if stage.module else ""
    rows: list[tuple[str, Any, str]] = [
        ("stage", Text(f"{stage.kind} {stage.address}{name}"), ""),
        ("token", Text(f"{stop.token}, {stop.phase}"), ""),
    ]
    if stop.why:
        rows.append(("why", Text(stop.why), ""))
    rows += [(each, Text(str(value)), "") for each, value in stop.values]
    if known_of(event) is None:
        main, given_tensors = main_tensor(event.output), given(event, module)
        for each, tensor in returned(event, module):
            is_main = tensor is main
            rows.append((each or OUT, tensor, OUT if is_main else f"returned[{each!r}]"))
        if given_tensors:
            inputs = Group(
                counted(len(given_tensors), "tensor"),
                lambda: [(each, t, f"given[{each!r}]") for each, t in given_tensors],
            )
            rows.append(("inputs", inputs, ""))
    if stop.tensor is not None:
        rows.append(("statistics", Text(stop.tensor.line()), ""))
        if stop.tensor.focus is not None:
            rows.append((f"position {stop.tensor.focus_position}", Text(stop.tensor.focus.line()), ""))
    if stop.chosen is not None:
        rows.append(("chosen", Text(f"{stop.chosen.text!r}  {percent(stop.chosen.prob)}"), ""))
    if stop.ms is not None:
        rows.append(("time", Text(milliseconds(stop.ms, 2)), ""))
    return rows


def _candidates(inspector: Inspector) -> Rows:
    found = inspector.stop.candidates
    assert found is not None
    rows = [
        (str(each.rank), Text(f"{each.text!r}  {percent(each.prob)}  logit {each.logit:.3f}  id {each.id}"), "")
        for each in found.rows
    ]
    return [("entropy", Text(f"{found.entropy:.3f} nats"), ""), *rows]


def _lens(inspector: Inspector) -> Rows:
    found = layer_predictions(inspector)
    if not found.layers:
        return [("lens", Text(found.why_none or "no layer has run for this token"), "")]
    return [
        (each, Text(f"{said.text!r}  {percent(said.prob)}  id {said.id}"), "") for each, said in found.layers.items()
    ]


def _locals(inspector: Inspector, number: int) -> Rows:
    stack = stack_of(inspector)
    if number != stack.selected:
        select(inspector, number)
        stack = stack_of(inspector)
    return [] if stack.frame is None else [(name, value, name) for name, value in stack.frame.f_locals.items()]


def _tokens(inspector: Inspector) -> Rows:
    rows = []
    for each in inspector.run.tokens():
        generated = "" if each.generated is None else f"  generated {each.generated}"
        rows.append((f"[{each.index}]", Text(f"{each.text!r}  id {each.id}{generated}"), ""))
    return rows


def _settings(inspector: Inspector) -> Rows:
    settings = inspector.debuggee.timeline.settings_at(inspector.run.place.token)
    found = []
    for each in fields(settings):
        value = getattr(settings, each.name)
        found.append((each.name, Text(_MODELS_OWN if value is None else str(value)), ""))
    return found
