"""What an editor shows of a stop: the stack, scopes, variables, expressions and completions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.completion import complete
from llmdbg.debugger.commands.words import Words
from llmdbg.debugger.inspection.frames import addresses_by_module, select
from llmdbg.debugger.inspection.lazy_values import OUT, LazyValues
from llmdbg.debugger.inspection.printing import evaluated
from llmdbg.debugger.inspection.stop_scopes import SETTINGS, STAGE, Scope, locals_scope, scopes_of_stage
from llmdbg.errors import UsageError
from llmdbg.frontends.dap import arguments
from llmdbg.frontends.dap.stack import Stack
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.inspection.lazy_values import ValueRow
    from llmdbg.frontends.dap.breakpoints import EditorBreakpoints
    from llmdbg.frontends.dap.wire import Message, Wire

_HINTS = {"Locals": "locals"}


class Looking:
    """Answers the questions of an editor that stands at a stop."""

    def __init__(
        self, debugger: Debugger, breakpoints: EditorBreakpoints, wire: Wire, editor: arguments.Initialize
    ) -> None:
        self._debugger, self._breakpoints, self._wire = debugger, breakpoints, wire
        self._line, self._column = int(editor.lines_start_at1), int(editor.columns_start_at1)
        self._stack = Stack(debugger)
        self._values = LazyValues(lambda: addresses_by_module(debugger.inspector))
        self.handlers: dict[str, Callable[[Message], None]] = {
            "stackTrace": self._stack_trace,
            "scopes": self._scopes,
            "variables": self._variables,
            "completions": self._completions,
            "loadedSources": self._loaded_sources,
            "breakpointLocations": self._breakpoint_locations,
        }

    def forget(self) -> None:
        """Let go of every value: the run is about to resume."""
        self._values.forget()

    def moved(self) -> None:
        """The run stands somewhere else, or other values stand here."""
        self._values.forget()
        self._stack.moved()

    def select(self, frame: int | None) -> None:
        """Select the frame that the editor is at, if it is one of the forward's. Raises UsageError."""
        number = self._stack.number(frame)
        if number is not None:
            select(self._debugger.inspector, number)

    def evaluated(self, asked: arguments.Evaluate) -> dict[str, Any]:
        """The value of an expression, a tensor as its shape. Raises CommandError."""
        number = self._stack.number(asked.frame_id)
        number = self._stack.own() if number is None else number
        if number is not None:
            select(self._debugger.inspector, number)
        value = evaluated(self._debugger.inspector, asked.expression)
        if isinstance(value, str):
            return {"result": "\n".join(map(sanitize, value.split("\n"))), "variablesReference": 0}
        row = self._values.row(asked.expression, value, f"({asked.expression})")
        found = self._variable(row)
        return {"result": found.pop("value"), **{key: each for key, each in found.items() if key not in _NOT_RESULTS}}

    def assignment(self, asked: arguments.SetVariable) -> tuple[str, str]:
        """The command line that changes a variable, and what its new value is shown as. Raises UsageError."""
        holder, index = self._values.value(asked.variables_reference, asked.name)
        if index is not None:
            value = f"torch.as_tensor({asked.value}, dtype=out.dtype, device=out.device)"
            return f"edit out.index_put(tuple(torch.tensor({index}, device=out.device)), {value})", asked.value
        if isinstance(holder, Scope) and holder.name == SETTINGS:
            return f"set {asked.name} {asked.value}", asked.value
        if isinstance(holder, Scope) and holder.name == STAGE and asked.name == OUT:
            return f"edit {asked.value}", asked.value
        raise UsageError(
            f"{asked.name} cannot be set: `out` and its elements, and settings can; `edit` and `set` do the rest"
        )

    def counted_from_1(self, each: arguments.LineBreakpoint) -> arguments.LineBreakpoint:
        """A breakpoint with its line as Python counts lines."""
        return arguments.LineBreakpoint(
            each.line + 1 - self._line, each.condition, each.hit_condition, each.log_message
        )

    def as_counted(self, answer: dict[str, Any]) -> dict[str, Any]:
        """An answer with its lines and columns as the editor counts them."""
        offsets = {"line": 1 - self._line, "column": 1 - self._column}
        return {key: max(0, each - offsets[key]) if key in offsets else each for key, each in answer.items()}

    def _stack_trace(self, message: Message) -> None:
        asked = arguments.read(arguments.StackTrace, message)
        found, total = self._stack.frames(asked.start_frame, asked.levels)
        self._wire.respond(message, {"stackFrames": [self.as_counted(each) for each in found], "totalFrames": total})

    def _scopes(self, message: Message) -> None:
        number = self._stack.number(arguments.read(arguments.Scopes, message).frame_id)
        inspector = self._debugger.inspector
        if number is not None:
            found = (locals_scope(inspector, number),)
        else:
            # At a line, an op or an exception the stage is a place in a frame; a module's own frame is gone.
            own = self._stack.own() if inspector.stop.code is not None else None
            found = (*(() if own is None else (locals_scope(inspector, own),)), *scopes_of_stage(inspector))
        self._wire.respond(message, {"scopes": [self._scope(each) for each in found]})

    def _scope(self, scope: Scope) -> dict[str, Any]:
        size = scope.size
        return {
            "name": scope.name,
            "variablesReference": self._values.hold(scope),
            "expensive": scope.expensive,
            **({"indexedVariables": size} if size else {}),
            **({"presentationHint": _HINTS[scope.name]} if scope.name in _HINTS else {}),
        }

    def _variables(self, message: Message) -> None:
        asked = arguments.read(arguments.Variables, message)
        if asked.start < 0 or asked.count < 0:
            raise UsageError("variables: start and count are 0 or more")
        rows = self._values.rows(
            asked.variables_reference,
            asked.start,
            asked.count,
            named=asked.filter != "indexed",
            indexed=asked.filter != "named",
        )
        self._wire.respond(message, {"variables": [self._variable(each) for each in rows]})

    def _variable(self, row: ValueRow) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": sanitize(row.name),
            "value": sanitize(row.text),
            "variablesReference": row.reference,
        }
        if row.kind:
            found["type"] = row.kind
        if row.indexed:
            found |= {"indexedVariables": row.indexed, "namedVariables": row.named}
        if row.expression:
            found["evaluateName"] = row.expression
        return found

    def _completions(self, message: Message) -> None:
        asked = arguments.read(arguments.Completions, message)
        run = self._debugger.run
        words = Words.of(run.stages.all(), self._debugger.breakpoints.list(), len(run.tokens()))
        cursor = _characters(asked.text, asked.column - self._column)
        found = complete(asked.text, cursor, words)
        start = _units(asked.text[: found.start])
        length = _units(asked.text[found.start : cursor])
        targets = [{"label": each, "start": start + self._column, "length": length} for each in found.options]
        self._wire.respond(message, {"targets": targets})

    def _loaded_sources(self, message: Message) -> None:
        files = self._breakpoints.files()
        self._wire.respond(message, {"sources": [{"name": Path(each).name, "path": each} for each in files]})

    def _breakpoint_locations(self, message: Message) -> None:
        asked = arguments.read(arguments.BreakpointLocations, message)
        if asked.source.path is None:
            raise UsageError("breakpointLocations: the source has no path")
        offset = 1 - self._line
        last = asked.line if asked.end_line is None else asked.end_line
        lines = self._breakpoints.possible_lines(asked.source.path, asked.line + offset, last + offset)
        self._wire.respond(message, {"breakpoints": [{"line": each - offset} for each in lines]})


_NOT_RESULTS = ("name", "evaluateName")


def _units(text: str) -> int:
    """How many UTF-16 code units a text has, which is how the protocol counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _characters(text: str, units: int) -> int:
    """How many characters of a text its first `units` UTF-16 code units are."""
    data = text.encode("utf-16-le", "surrogatepass")[: max(0, units) * 2]
    return len(data.decode("utf-16-le", "ignore"))
