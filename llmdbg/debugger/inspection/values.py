"""`info values [ADDRESS][SLICE] [by magnitude | as heat | as mean heat]`: the values themselves; `x` is the same.

ADDRESS is a stage that has run for this token, followed by `.in` for its input (`in` alone for the current stage), or a
parameter: `model.embed_tokens.weight`, `12.mlp.down_proj.weight`. One of several values is named after `.return` or
`.in`: `12.mlp.gate.return.router_indices`, `12.self_attn.in.attention_mask`, `12.self_attn.return.1`. Without ADDRESS,
or with `.`, it is the current stage, and the pane follows the run. SLICE is written as in Python; without one it is the
vector at the focus if a dimension runs over positions, else everything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.parameters import ParameterFacts, stored
from llmdbg.debugger.inspection.slices import read_slice, slice_text
from llmdbg.debugger.inspection.values_answer import PANE_COUNT, Values, ValuesAsked
from llmdbg.debugger.inspection.values_question import ValuesQuestion, read_question, split_part
from llmdbg.debugger.known_values import unrecorded
from llmdbg.debugger.named_values import given, returned, value_at
from llmdbg.debugger.positions import focus_in
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import AddressError, CommandError
from llmdbg.formatting import listed
from llmdbg.probes.axes import Axes, cut, whole
from llmdbg.probes.heat import heat
from llmdbg.probes.statistics import dtype_name
from llmdbg.probes.values import ValueSummary, summary, unreadable, window

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent

COUNT = 128
"""How many values an answer lists."""
_LARGEST = 8
_PANE_LARGEST = 1000
_ANSWER_CELLS, _PANE_CELLS = (24, 72), (64, 160)


@dataclass(frozen=True, slots=True)
class _Slice:
    """A slice and its origin."""

    tensor: Tensor
    """The slice."""
    axes: Axes
    """What it takes of each dimension."""
    shape: tuple[int, ...]
    """Shape of the whole tensor."""
    address: str = ""
    """The stage's address, or the parameter's name."""
    part: str = "output"
    """`output`, `input` or `parameter`."""
    token: int | None = None
    """The generated token being produced; None for a parameter."""
    value: str = ""
    """Which of several values of the stage; empty for the first."""
    note: str = ""
    """How a parameter was made readable; empty if it is as stored."""


def ask(inspector: Inspector, arguments: str) -> Values | str:
    """Answer `info values` and `x ADDRESS[SLICE]`, and make the pane show the same.

    Raises AddressError for a name that is neither a stage nor a parameter, CommandError if it cannot be shown.
    """
    choice = read_question(arguments)
    return _answer(inspector, _asked(inspector), choice, 0)


def go_on(inspector: Inspector) -> Values | str:
    """Answer `x` alone: the values after the last ones listed, or the first if the run has moved since."""
    asked = _asked(inspector)
    moved = asked.at != (inspector.run.place, inspector.focus.position)
    return _answer(inspector, asked, asked.choice, 0 if moved else asked.next)


def shown(inspector: Inspector) -> Values | str:
    """What the pane shows at a stop: the values asked for last, where the pane was scrolled to."""
    asked = _asked(inspector)
    asked.pane = None
    try:
        source = _source(inspector, asked.choice)
    except CommandError as error:
        # A slice that fits the prefill may not fit a decode.
        return str(error)
    if isinstance(source, str):
        return source
    most = _PANE_LARGEST if asked.choice.how == "magnitude" else _LARGEST
    found = _values(source, asked.choice, summary(source.tensor, source.axes, largest=most), _PANE_CELLS)
    asked.pane = _in_window(found, source, asked.pane_window)
    return asked.pane


def fetch(inspector: Inspector, wanted: tuple[int, int]) -> Values | str:
    """The pane's answer with `wanted[1]` values from the `wanted[0]`th on. Copies those and computes nothing else."""
    asked = _asked(inspector)
    asked.pane_window = wanted
    source = _source(inspector, asked.choice) if asked.pane is not None else None
    if asked.pane is None or source is None or isinstance(source, str):
        return shown(inspector)
    asked.pane = _in_window(asked.pane, source, wanted)
    return asked.pane


def _in_window(found: Values, source: _Slice, wanted: tuple[int, int]) -> Values:
    """The answer with the values in a window; with the first ones by magnitude, or if the slice ends before it."""
    beginning = found.how == "magnitude" or wanted[0] >= found.size
    return _at(found, source, *((0, PANE_COUNT) if beginning else wanted))


def _asked(inspector: Inspector) -> ValuesAsked:
    return inspector.asked.values


def _answer(inspector: Inspector, asked: ValuesAsked, choice: ValuesQuestion, offset: int) -> Values | str:
    source = _source(inspector, choice)
    if choice != asked.choice:
        asked.pane_window = (0, PANE_COUNT)
    asked.choice, asked.at, asked.next = choice, (inspector.run.place, inspector.focus.position), 0
    if isinstance(source, str):
        return source
    by_magnitude = choice.how == "magnitude"
    most = offset + COUNT if by_magnitude else _LARGEST
    known = summary(source.tensor, source.axes, largest=most) if by_magnitude or not offset else None
    found = _at(_values(source, choice, known, _ANSWER_CELLS), source, offset, COUNT)
    if offset and not found.numbers:
        return f"there are no more: {found.address}{found.slice} has {found.size:,} values"
    asked.next = offset + len(found.numbers)
    return replace(found, summary=None) if offset else found


def _values(source: _Slice, choice: ValuesQuestion, known: ValueSummary | None, cells: tuple[int, int]) -> Values:
    tensor, heated = source.tensor, choice.how in ("heat", "mean heat")
    picture = heat(tensor, rows=cells[0], columns=cells[1], mean=choice.how == "mean heat") if heated else None
    return Values(
        f"{choice.name}{choice.slice}",
        source.address,
        source.part,
        source.token,
        source.shape,
        dtype_name(tensor.dtype),
        str(tensor.device),
        slice_text(source.axes, source.shape),
        tuple(tensor.shape),
        tensor.numel(),
        choice.how,
        0,
        (),
        summary=known,
        heat=picture,
        note=source.note,
        value=source.value,
    )


def _at(found: Values, source: _Slice, offset: int, count: int) -> Values:
    """The answer with the values from `offset` on."""
    if found.heat is not None:
        return found
    if found.how == "magnitude":
        largest = () if found.summary is None else found.summary.largest[offset : offset + count]
        numbers, indices = tuple(each.value for each in largest), tuple(each.index for each in largest)
        return replace(found, offset=offset, numbers=numbers, indices=indices)
    return replace(found, offset=offset, numbers=window(source.tensor, offset, count))


def _source(inspector: Inspector, choice: ValuesQuestion) -> _Slice | str:
    """The slice asked for, or a sentence that says why there is none yet."""
    name, part, _ = split_part(choice.name)
    if not name:
        taken = _taken(inspector, inspector.event, choice)
    else:
        found = _one(inspector, name)
        if isinstance(found, ParameterFacts):
            if name != choice.name:
                raise CommandError(f"{name} is a parameter: only stages have {part}s")
            return _parameter(found, choice)
        taken = _recorded(inspector, found, choice)
    if isinstance(taken, CommandError):
        raise taken
    return taken


def named(inspector: Inspector, name: str) -> Target | ParameterFacts:
    """The stages with this name, or else the parameter. Raises AddressError if there is neither."""
    try:
        return inspector.run.stages.addresses.resolve(name)
    except AddressError as error:
        if (found := stored(inspector, name)) is not None:
            return found
        raise AddressError(str(error).replace("no stage is", "no stage and no parameter is", 1)) from error


def _one(inspector: Inspector, name: str) -> str | ParameterFacts:
    """The address of the one stage that a name means, or else the parameter."""
    target = named(inspector, name)
    if isinstance(target, ParameterFacts):
        return target
    if len(target.addresses) > 1:
        raise CommandError(f"{name} names {len(target.addresses)} stages: name just one")
    if not target.at(inspector.event.token):
        raise CommandError(
            f"only values of token {inspector.event.token}, the current one, can be shown: `goto {name}` first"
        )
    return next(iter(target.addresses))


def _recorded(inspector: Inspector, address: str, choice: ValuesQuestion) -> _Slice | str | CommandError:
    if address == "tokenize" != inspector.event.stage.address:
        return "tokenize runs once, before the forward: `info tokens` shows its ids"
    if address == inspector.event.stage.address:
        return _taken(inspector, inspector.event, choice)

    def take(event: StageEvent) -> _Slice | str | CommandError:
        taken = _taken(inspector, event, choice)
        return replace(taken, tensor=taken.tensor.detach().clone()) if isinstance(taken, _Slice) else taken

    about = (split_part(choice.name), choice.slice, inspector.focus.position)
    found = inspector.replay.recorded(RecordRequest("values", frozenset([address]), take, about=about))
    default = f"{address} has not run yet for token {inspector.event.token}"
    taken: _Slice | str | CommandError = found.get(address, default)
    return taken


def _taken(inspector: Inspector, event: StageEvent, choice: ValuesQuestion) -> _Slice | str | CommandError:
    """The slice of a stage's output or input. Runs inside the forward: raises nothing, does not wait for the device."""
    address = event.stage.address
    _, part, path = split_part(choice.name)
    is_input = part == "input"
    if path and (why := unrecorded(event, inputs=is_input)):
        return CommandError(why)
    if path:
        value = _named(inspector, event, path, is_input=is_input)
        if isinstance(value, CommandError):
            return value
    else:
        value = (*event.args, *event.kwargs.values()) if is_input else event.output
    tensor = main_tensor(value)
    if tensor is None and (why := unrecorded(event, inputs=is_input)):
        return CommandError(why)
    if tensor is None:
        what = f"no numbers as {'.'.join(path)}: it is {type(value).__name__}" if path else "no numbers"
        return f"{address} {'takes' if is_input else 'returns'} {what}"
    if why := unreadable(tensor):
        return CommandError(f"{address} cannot be shown: {why}")
    try:
        axes = read_slice(choice.slice, tensor.shape) if choice.slice else _at_focus(inspector, event, tensor)
    except CommandError as error:
        return error
    return _Slice(cut(tensor, axes), axes, tuple(tensor.shape), address, part, event.token, ".".join(path))


def _named(inspector: Inspector, event: StageEvent, path: tuple[str, ...], *, is_input: bool) -> Any:
    """The value that `path` names; a CommandError that lists the names if there is none."""
    module = inspector.anatomy.modules.get(event.stage.address)
    try:
        return value_at(event, module, path, is_input=is_input)
    except KeyError:
        names = [name for name, _ in (given if is_input else returned)(event, module)]
        known = f"only {listed(names)}" if names and names != [""] else "a single value"
        does = "takes" if is_input else "returns"
        return CommandError(f"{event.stage.address} {does} no {'.'.join(path)}: it {does} {known}")


def _at_focus(inspector: Inspector, event: StageEvent, tensor: Tensor) -> Axes:
    """Selects the vector at the focus; everything if no dimension runs over positions."""
    axis, position = focus_in(event, tensor, len(inspector.prompt.ids), inspector.focus.position)
    if axis is None:
        return whole(tensor.shape)
    last = tensor.dim() - 1
    return tuple(
        position if n == axis else 0 if size == 1 and n < last else range(size) for n, size in enumerate(tensor.shape)
    )


def _parameter(found: ParameterFacts, choice: ValuesQuestion) -> _Slice:
    if why := unreadable(found.tensor):
        raise CommandError(f"{found.name} cannot be shown: {why}")
    shape = tuple(found.tensor.shape)
    axes = read_slice(choice.slice, shape)
    return _Slice(cut(found.tensor.detach(), axes), axes, shape, found.name, "parameter", note=found.note)
