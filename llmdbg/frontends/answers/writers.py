"""Which function writes each type of answer: the one place to register a new one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from llmdbg import display
from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
from llmdbg.debugger.commands import Answer, Command, Moved, Quit
from llmdbg.debugger.comparison.outcome import ComparedStage, Comparison
from llmdbg.debugger.comparison.row_outcome import RowComparison
from llmdbg.debugger.editing.edits import Edit
from llmdbg.debugger.execution.branches import BranchRow
from llmdbg.debugger.execution.stop import End, Stop, TokenRow
from llmdbg.debugger.inspection.adapter_answer import AdapterShares
from llmdbg.debugger.inspection.beams import BeamFamily
from llmdbg.debugger.inspection.comparing import BranchComparison
from llmdbg.debugger.inspection.cost import Cost
from llmdbg.debugger.inspection.edit_effect import EditEffect
from llmdbg.debugger.inspection.frames import FrameList, FrameRow
from llmdbg.debugger.inspection.lanes import LaneTable
from llmdbg.debugger.inspection.local_values import Locals
from llmdbg.debugger.inspection.nonfinite import NonfiniteHunt
from llmdbg.debugger.inspection.operations import Operations
from llmdbg.debugger.inspection.ranks import RankCheck, RankTable
from llmdbg.debugger.inspection.source import SourceCode
from llmdbg.debugger.inspection.topics import ModelInfo, TokenTable
from llmdbg.debugger.inspection.values_answer import Values
from llmdbg.debugger.inspection.verify import Proof
from llmdbg.display import Displayed
from llmdbg.explain.explanation import Explanation
from llmdbg.explain.glossary import Term
from llmdbg.frontends.answers import control, json_fields, notebook, stops
from llmdbg.frontends.answers.adapter import adapter_blocks, adapter_tables
from llmdbg.frontends.answers.attention import attention_blocks, attention_tables
from llmdbg.frontends.answers.attribution import attribution_blocks, attribution_tables
from llmdbg.frontends.answers.beams import beams_blocks, beams_tables
from llmdbg.frontends.answers.comparison import comparison_blocks, comparison_tables
from llmdbg.frontends.answers.cost import cost_blocks, cost_tables
from llmdbg.frontends.answers.explanation import explanation_lines, term_lines
from llmdbg.frontends.answers.frames import frame_line, frames_blocks, frames_tables, locals_blocks
from llmdbg.frontends.answers.html import as_html
from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.answers.kv import cache_blocks, cache_tables, layer_blocks, layer_tables
from llmdbg.frontends.answers.lane_alone import lane_alone_blocks, lane_alone_tables
from llmdbg.frontends.answers.lanes import lanes_blocks, lanes_tables
from llmdbg.frontends.answers.lens import lens_blocks, lens_tables
from llmdbg.frontends.answers.nonfinite import nonfinite_hunt_blocks, nonfinite_hunt_tables
from llmdbg.frontends.answers.operations import operations_blocks, operations_tables
from llmdbg.frontends.answers.ranks import check_blocks, ranks_blocks, ranks_tables
from llmdbg.frontends.answers.source import source_lines
from llmdbg.frontends.answers.tables import Block, Table, as_lines, record_table
from llmdbg.frontends.answers.values import values_lines, values_tables
from llmdbg.frontends.sanitize import sanitize
from llmdbg.models.stages import Stage
from llmdbg.models.weight_differences import WeightDifferences
from llmdbg.probes.attention import AttentionMap
from llmdbg.probes.attribution import Attribution
from llmdbg.probes.candidates import Candidates
from llmdbg.probes.kv import CacheLayerDetail, CacheMap
from llmdbg.probes.lens_table import LensTable
from llmdbg.probes.statistics import Statistics

__all__ = ["blocks", "json_value", "lines", "notebook_blocks", "tables"]


@singledispatch
def blocks(answer: object) -> Sequence[Block]:
    """An answer as text and tables, from top to bottom. Raises TypeError for a type that is not registered below."""
    raise TypeError(f"no text is registered for {type(answer).__name__}: see frontends/answers/writers.py")


def lines(answer: object) -> list[str]:
    """An answer as lines of text, safe to print. Raises TypeError for a type that is not registered below."""
    return as_lines(blocks(answer))


@blocks.register(type(None))
def _(_answer: None) -> Sequence[Block]:
    return ["nothing here"]


@blocks.register(str)
def _(answer: str) -> Sequence[Block]:
    return [sanitize(line) for line in answer.split("\n")]


@blocks.register(tuple)
def _(answer: tuple[Any, ...]) -> Sequence[Block]:
    return [block for each in answer for block in blocks(each)] or ["none"]


@blocks.register(Answer)
def _(answer: Answer) -> Sequence[Block]:
    done = f"{answer.done} " if answer.done else ""
    return [f"{done}{each}" if isinstance(each, str) else each for each in blocks(answer.data)]


@blocks.register(Moved)
def _(answer: Moved) -> Sequence[Block]:
    return [*stops.whole_stop_blocks(answer.stop), *([answer.done] if answer.done else [])]


@blocks.register(Quit)
def _(_answer: Quit) -> Sequence[Block]:
    return ["left"]


blocks.register(AdapterShares, adapter_blocks)
blocks.register(AttentionMap, attention_blocks)
blocks.register(Attribution, attribution_blocks)
blocks.register(BranchComparison, control.comparison_lines)
blocks.register(BranchRow, control.branch_lines)
blocks.register(Breakpoint, control.breakpoint_lines)
blocks.register(CacheMap, cache_blocks)
blocks.register(Candidates, stops.candidates_blocks)
blocks.register(Command, control.command_lines)
blocks.register(Comparison, comparison_blocks)
blocks.register(Cost, cost_blocks)
blocks.register(Edit, control.edit_lines)
blocks.register(EditEffect, control.effect_lines)
blocks.register(End, stops.end_lines)
blocks.register(Explanation, explanation_lines)
blocks.register(FrameList, frames_blocks)
blocks.register(FrameRow, frame_line)
blocks.register(BeamFamily, beams_blocks)
blocks.register(LaneTable, lanes_blocks)
blocks.register(RowComparison, lane_alone_blocks)
blocks.register(RankTable, ranks_blocks)
blocks.register(RankCheck, check_blocks)
blocks.register(Locals, locals_blocks)
blocks.register(CacheLayerDetail, layer_blocks)
blocks.register(LensTable, lens_blocks)
blocks.register(ModelInfo, control.model_lines)
blocks.register(NonfiniteHunt, nonfinite_hunt_blocks)
blocks.register(Operations, operations_blocks)
blocks.register(Proof, control.proof_lines)
blocks.register(SourceCode, source_lines)
blocks.register(Statistics, stops.statistics_lines)
blocks.register(Stop, stops.stop_lines)
blocks.register(Term, term_lines)
blocks.register(TokenRow, stops.token_row_blocks)
blocks.register(TokenTable, stops.token_table_blocks)
blocks.register(Values, values_lines)
blocks.register(WeightDifferences, control.weight_lines)


@singledispatch
def notebook_blocks(answer: object) -> Sequence[Block]:
    """An answer as text and tables for a notebook. As `blocks`, but for what is not registered below."""
    return blocks(answer)


@notebook_blocks.register(tuple)
def _(answer: tuple[Any, ...]) -> Sequence[Block]:
    return [block for each in answer for block in notebook_blocks(each)] or ["none"]


@notebook_blocks.register(Answer)
def _(answer: Answer) -> Sequence[Block]:
    return notebook_blocks(answer.data) if not answer.done else blocks(answer)


@notebook_blocks.register(Moved)
def _(answer: Moved) -> Sequence[Block]:
    return [*notebook.stop_blocks(answer.stop), *([answer.done] if answer.done else [])]


notebook_blocks.register(Statistics, notebook.statistics_blocks)
notebook_blocks.register(Stop, notebook.stop_blocks)


@singledispatch
def tables(answer: object) -> Sequence[Table]:
    """An answer as tables, for CSV. A type that is not registered below becomes one table of its fields."""
    return [record_table([answer])]


@tables.register(tuple)
def _(answer: tuple[Any, ...]) -> Sequence[Table]:
    return [record_table(answer)]


@tables.register(Candidates)
@tables.register(EditEffect)
@tables.register(TokenTable)
def _(answer: Candidates | EditEffect | TokenTable) -> Sequence[Table]:
    return [record_table(answer.rows)]


tables.register(AdapterShares, adapter_tables)
tables.register(AttentionMap, attention_tables)
tables.register(Attribution, attribution_tables)
tables.register(CacheMap, cache_tables)
tables.register(Comparison, comparison_tables)
tables.register(Cost, cost_tables)
tables.register(CacheLayerDetail, layer_tables)
tables.register(FrameList, frames_tables)
tables.register(BeamFamily, beams_tables)
tables.register(LaneTable, lanes_tables)
tables.register(RowComparison, lane_alone_tables)
tables.register(RankTable, ranks_tables)
tables.register(LensTable, lens_tables)
tables.register(NonfiniteHunt, nonfinite_hunt_tables)
tables.register(Operations, operations_tables)
tables.register(Values, values_tables)


# What is not registered here is written field by field.
json_value.register(BranchRow, json_fields.branch_fields)
json_value.register(Breakpoint, json_fields.breakpoint_fields)
json_value.register(Candidates, json_fields.candidates_fields)
json_value.register(Command, json_fields.command_fields)
json_value.register(ComparedStage, json_fields.compared_stage_fields)
json_value.register(Edit, json_fields.edit_fields)
json_value.register(Stage, json_fields.stage_fields)
json_value.register(Statistics, json_fields.tensor_fields)
json_value.register(Stop, json_fields.whole_stop_fields)
json_value.register(TokenRow, json_fields.token_fields)
json_value.register(TokenTable, json_fields.token_table_fields)


# How values show themselves. A stop shows more than `info stage` answers: nothing else is beside it.
@display.text.register(Displayed)
def _(value: Displayed) -> str:
    return "\n".join(lines(value))


@display.html.register(Displayed)
def _(value: Displayed) -> str:
    return as_html(notebook_blocks(value))


@display.text.register(Stop)
def _(value: Stop) -> str:
    return "\n".join(as_lines(stops.whole_stop_blocks(value)))
