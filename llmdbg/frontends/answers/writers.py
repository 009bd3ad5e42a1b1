"""Which function writes each type of answer: the one place to register a new one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
from llmdbg.debugger.commands import Command
from llmdbg.debugger.editing.edits import Edit
from llmdbg.debugger.execution.branches import BranchRow
from llmdbg.debugger.execution.stop import Stop, TokenRow
from llmdbg.debugger.inspection.comparing import BranchComparison
from llmdbg.debugger.inspection.cost import Cost
from llmdbg.debugger.inspection.edit_effect import Effect
from llmdbg.debugger.inspection.nonfinite import NonfiniteHunt
from llmdbg.debugger.inspection.source import SourceCode
from llmdbg.debugger.inspection.topics import ModelInfo, TokenTable
from llmdbg.debugger.inspection.values_answer import Values
from llmdbg.debugger.inspection.verify import Proof
from llmdbg.explain.explanation import Explanation
from llmdbg.explain.glossary import Term
from llmdbg.frontends.answers import control, json_fields, stops
from llmdbg.frontends.answers.attention import attention_lines, attention_tables
from llmdbg.frontends.answers.attribution import attribution_lines, attribution_tables
from llmdbg.frontends.answers.cost import cost_lines, cost_tables
from llmdbg.frontends.answers.explanation import explanation_lines, term_lines
from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.answers.kv import cache_lines, cache_tables, layer_lines, layer_tables
from llmdbg.frontends.answers.lens import lens_lines, lens_tables
from llmdbg.frontends.answers.nonfinite import nonfinite_hunt_lines, nonfinite_hunt_tables
from llmdbg.frontends.answers.source import source_lines
from llmdbg.frontends.answers.tables import Table, record_table
from llmdbg.frontends.answers.values import values_lines, values_tables
from llmdbg.frontends.sanitize import sanitize
from llmdbg.models.stages import Stage
from llmdbg.probes.attention import AttentionMap
from llmdbg.probes.attribution import Attribution
from llmdbg.probes.candidates import Candidates
from llmdbg.probes.kv import CacheLayerDetail, CacheMap
from llmdbg.probes.lens_table import LensTable
from llmdbg.probes.statistics import Statistics

__all__ = ["json_value", "lines", "tables"]


@singledispatch
def lines(answer: object) -> list[str]:
    """An answer as lines of text, safe to print. Raises TypeError for a type that is not registered below."""
    raise TypeError(f"no text is registered for {type(answer).__name__}: see frontends/answers/writers.py")


@lines.register(type(None))
def _(_answer: None) -> list[str]:
    return ["nothing here"]


@lines.register(str)
def _(answer: str) -> list[str]:
    return [sanitize(line) for line in answer.split("\n")]


@lines.register(tuple)
def _(answer: tuple[Any, ...]) -> list[str]:
    return [line for each in answer for line in lines(each)] or ["none"]


lines.register(AttentionMap, attention_lines)
lines.register(Attribution, attribution_lines)
lines.register(BranchComparison, control.comparison_lines)
lines.register(BranchRow, control.branch_lines)
lines.register(Breakpoint, control.breakpoint_lines)
lines.register(CacheMap, cache_lines)
lines.register(Candidates, stops.candidates_lines)
lines.register(Command, control.command_lines)
lines.register(Cost, cost_lines)
lines.register(Edit, control.edit_lines)
lines.register(Effect, control.effect_lines)
lines.register(Explanation, explanation_lines)
lines.register(CacheLayerDetail, layer_lines)
lines.register(LensTable, lens_lines)
lines.register(ModelInfo, control.model_lines)
lines.register(NonfiniteHunt, nonfinite_hunt_lines)
lines.register(Proof, control.proof_lines)
lines.register(SourceCode, source_lines)
lines.register(Statistics, stops.statistics_lines)
lines.register(Stop, stops.stop_lines)
lines.register(Term, term_lines)
lines.register(TokenTable, stops.token_table_lines)
lines.register(Values, values_lines)


@singledispatch
def tables(answer: object) -> Sequence[Table]:
    """An answer as tables, for CSV. A type that is not registered below becomes one table of its fields."""
    return [record_table([answer])]


@tables.register(tuple)
def _(answer: tuple[Any, ...]) -> Sequence[Table]:
    return [record_table(answer)]


@tables.register(Candidates)
@tables.register(Effect)
@tables.register(TokenTable)
def _(answer: Candidates | Effect | TokenTable) -> Sequence[Table]:
    return [record_table(answer.rows)]


tables.register(AttentionMap, attention_tables)
tables.register(Attribution, attribution_tables)
tables.register(CacheMap, cache_tables)
tables.register(Cost, cost_tables)
tables.register(CacheLayerDetail, layer_tables)
tables.register(LensTable, lens_tables)
tables.register(NonfiniteHunt, nonfinite_hunt_tables)
tables.register(Values, values_tables)


# What is not registered here is written field by field.
json_value.register(BranchRow, json_fields.branch_fields)
json_value.register(Breakpoint, json_fields.breakpoint_fields)
json_value.register(Candidates, json_fields.candidates_fields)
json_value.register(Command, json_fields.command_fields)
json_value.register(Edit, json_fields.edit_fields)
json_value.register(Stage, json_fields.stage_fields)
json_value.register(Statistics, json_fields.tensor_fields)
json_value.register(Stop, json_fields.stop_fields)
json_value.register(TokenRow, json_fields.token_fields)
json_value.register(TokenTable, json_fields.token_table_fields)
