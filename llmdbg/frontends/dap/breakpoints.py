"""The editor's breakpoints as the debugger's: lines of source files, stages by their address, and exceptions.

An editor sends its whole list whenever one of them changes. Those that it has sent before keep their number and hits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.breakpoints.conditions import parse_condition
from llmdbg.debugger.breakpoints.expression_syntax import parse_expressions
from llmdbg.debugger.breakpoints.parse import BreakpointSpec, parse_break
from llmdbg.debugger.breakpoints.triggers import Nonfinite
from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.stopping import set_breakpoint
from llmdbg.errors import CommandError, LlmdbgError, UsageError
from llmdbg.frontends.answers.stops import value_words
from llmdbg.frontends.sanitize import sanitize
from llmdbg.models.source_files import functions_in, lines_of, source_file
from llmdbg.models.stages import line_parts

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.frontends.dap.arguments import ExceptionFilter, FunctionBreakpoint, LineBreakpoint

NONFINITE, RAISED = "nonfinite", "raised"
FILTERS = (
    {
        "filter": NONFINITE,
        "label": "NaN or infinity begins",
        "description": "Stops at the first stage whose values are not finite although what it took was.",
        "default": False,
        "supportsCondition": True,
        "conditionDescription": "norm > 100 and layer >= 8",
    },
    {
        "filter": RAISED,
        "label": "Exceptions in a forward",
        "description": "Stops where a forward raises an exception, before it goes on its way.",
        "default": True,
    },
)
_HITS = re.compile(r"\s*(?P<how>>=|>|)\s*(?P<count>\d{1,9})\s*")
_IN_BRACES = re.compile(r"\{([^{}]+)\}")
_COMMANDS = ("break", "trace", "watch")


@dataclass(frozen=True, slots=True)
class _Set:
    number: int
    ignore: int
    log: str
    note: str


class EditorBreakpoints:
    """The breakpoints that an editor has set in a debugger."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger
        self._groups: dict[str, dict[Hashable, _Set]] = {}
        self.stops_at_raised = True

    def lines(self, path: str, wanted: Iterable[LineBreakpoint]) -> list[dict[str, Any]]:
        """Set all breakpoints of a file. Returns what became of each, in the protocol's words."""
        file = self._file(path)
        named = [(("line", each.line), each) for each in wanted]

        def spec(each: LineBreakpoint) -> BreakpointSpec:
            condition = parse_condition(each.condition) if each.condition else None
            if each.log_message:
                logged = tuple(_IN_BRACES.findall(each.log_message))
                shown = parse_expressions(", ".join(logged)) if logged else ()
                return BreakpointSpec(
                    BreakpointKind.TRACE, f"{file}:{each.line}", condition=condition, expressions=shown
                )
            return BreakpointSpec(BreakpointKind.BREAK, f"{file}:{each.line}", condition=condition)

        return self._replace(os.path.realpath(path), [(key, each, each.log_message or "", spec) for key, each in named])

    def stages(self, wanted: Iterable[FunctionBreakpoint]) -> list[dict[str, Any]]:
        """Set all breakpoints at stages. `trace ADDRESS EXPR` and `watch EXPR` are taken as well."""

        def spec(each: FunctionBreakpoint) -> BreakpointSpec:
            word, _, rest = each.name.strip().partition(" ")
            if word in _COMMANDS and rest:
                parsed: BreakpointSpec = COMMANDS.parse(each.name).parsed
            else:
                parsed = parse_break(each.name.strip())
            if not parsed.address:
                raise CommandError("a function breakpoint is an address: 12.mlp, *.mlp if norm > 100")
            return _with_condition(parsed, each.condition)

        return self._replace("stages", [(each.name, each, "", spec) for each in wanted])

    def exceptions(self, filters: Iterable[str], options: Iterable[ExceptionFilter]) -> list[dict[str, Any]]:
        """Set which exceptions stop the run. Raises UsageError for an unknown filter."""
        conditions = {**dict.fromkeys(filters, None), **{each.filter_id: each.condition for each in options}}
        known = [str(each["filter"]) for each in FILTERS]
        for each in conditions:
            if each not in known:
                raise UsageError(f"there is no exception filter {each!r}: they are {' and '.join(known)}")
        self.stops_at_raised = RAISED in conditions
        wanted = [(name, condition) for name, condition in conditions.items() if name == NONFINITE]

        def spec(each: tuple[str, str | None]) -> BreakpointSpec:
            return _with_condition(parse_break(each[0]), each[1])

        made = self._replace("exceptions", [(each[0], each, "", spec) for each in wanted])
        by_name = dict(zip((name for name, _ in wanted), made, strict=True))
        return [by_name.get(name, {"verified": True}) for name in conditions]

    def begin_again(self) -> None:
        """The run starts from its beginning: hits that are to be ignored are ignored once more."""
        for group in self._groups.values():
            for each in group.values():
                if each.ignore and self._point(each.number) is not None:
                    self._debugger.breakpoints.change(each.number, ignore=each.ignore)

    def is_exception(self, stop: Stop) -> bool:
        """Whether a stop is where values that are not finite begin, by whoever's breakpoint."""
        point = None if stop.breakpoint is None else self._point(stop.breakpoint)
        return point is not None and isinstance(point.trigger, Nonfinite)

    def is_at_a_stage(self, number: int) -> bool:
        """Whether a breakpoint is one at a stage, that is no line's."""
        point = self._point(number)
        return point is not None and not any(line_parts(each) for each in point.target.addresses)

    def logged(self, stop: Stop) -> str | None:
        """The text of a logpoint with its values, for a stop that it made; None for any other tracepoint."""
        found = next(
            (each for group in self._groups.values() for each in group.values() if each.number == stop.breakpoint), None
        )
        if found is None or not found.log:
            return None
        values = {name: value_words([("", value)])[1:] for name, value in stop.values}
        return _IN_BRACES.sub(lambda part: values.get(part[1].strip(), "?"), sanitize(found.log))

    def listed(self) -> dict[int, Breakpoint]:
        """All that there are, whoever set them, by their number."""
        return {each.number: each for each in self._debugger.breakpoints.list()}

    def changes(self, before: dict[int, Breakpoint]) -> list[dict[str, Any]]:
        """What has become of them since `listed`, in the protocol's words: new ones, and those that are gone."""
        now = self.listed()
        new = [each for number, each in now.items() if number not in before]
        gone = [number for number in before if number not in now]
        return [
            *(
                {"reason": "new", "breakpoint": {"id": each.number, "verified": True, "message": sanitize(each.line)}}
                for each in new
            ),
            *({"reason": "removed", "breakpoint": {"id": number, "verified": False}} for number in gone),
        ]

    def possible_lines(self, path: str, first: int, last: int) -> list[int]:
        """The lines of a file, between two, that can be stopped at."""
        lines = {line for code in functions_in(self._file(path)) for line in lines_of(code)}
        return sorted(line for line in lines if first <= line <= last)

    def files(self) -> list[str]:
        """The source files of the model's forwards."""
        loaded = self._debugger.debuggee.loaded
        modules = self._debugger.debuggee.anatomy.modules.values() if loaded is None else loaded.model.modules()
        return sorted({file for each in modules if (file := source_file(each))})

    def _file(self, path: str) -> str:
        """A file as Python knows it, if the editor's path is a link to it or from it."""
        real = os.path.realpath(path)
        return next((each for each in self.files() if os.path.realpath(each) == real), path)

    def _replace(self, name: str, wanted: list[tuple[Hashable, Any, str, Any]]) -> list[dict[str, Any]]:
        before, after = self._groups.get(name, {}), dict[Hashable, _Set]()
        answers = []
        keyed = [((key, each), each, log, spec) for key, each, log, spec in wanted]
        gone = before.keys() - {key for key, *_ in keyed}
        for key in gone:
            if self._point(before[key].number) is not None:
                self._debugger.breakpoints.delete(before[key].number)
        for key, each, log, spec in keyed:
            try:
                kept = after.get(key) or before.get(key)
                if kept is None or self._point(kept.number) is None:
                    kept = self._set(spec(each), getattr(each, "hit_condition", None), log)
                after[key] = kept
                answers.append(self._answer(kept))
            except LlmdbgError as error:
                answers.append({"verified": False, "message": sanitize(str(error)), "reason": "failed"})
        self._groups[name] = after
        return answers

    def _set(self, spec: BreakpointSpec, hits: str | None, log: str) -> _Set:
        ignore = _ignored(hits) if hits else 0
        answer = set_breakpoint(self._debugger, spec)
        point: Breakpoint = answer.data
        if ignore:
            self._debugger.breakpoints.change(point.number, ignore=ignore)
        return _Set(point.number, ignore, log, answer.done)

    def _answer(self, kept: _Set) -> dict[str, Any]:
        point = self._point(kept.number)
        assert point is not None
        answer: dict[str, Any] = {"id": kept.number, "verified": True}
        if kept.note:
            answer["message"] = kept.note.rstrip(":")
        lines = [int(parts[1]) for each in point.target.addresses if (parts := line_parts(each)) and parts[1] != "*"]
        if lines:
            answer["line"] = min(lines)
        return answer

    def _point(self, number: int) -> Breakpoint | None:
        return next((each for each in self._debugger.breakpoints.list() if each.number == number), None)


def _with_condition(spec: BreakpointSpec, condition: str | None) -> BreakpointSpec:
    if not condition:
        return spec
    both = condition if spec.condition is None else f"({spec.condition.text}) and ({condition})"
    return BreakpointSpec(spec.kind, spec.address, spec.group, spec.trigger, parse_condition(both), spec.expressions)


def _ignored(hits: str) -> int:
    found = _HITS.fullmatch(hits)
    if found is None or (found["how"] != ">" and int(found["count"]) < 1):
        raise CommandError(f"a hit count is N or >= N (from the Nth hit on) or > N, not {hits!r}")
    return int(found["count"]) - (found["how"] != ">")
