"""The fields of the JSON Lines contract: what stops, tokens, candidates, breakpoints, edits and branches hold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.execution.stop import Reason
from llmdbg.frontends.answers.json_values import json_value

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.commands import Command
    from llmdbg.debugger.comparison.outcome import ComparedStage
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branches import BranchRow
    from llmdbg.debugger.execution.stop import CodeLine, NamedTensor, Stop, TokenRow
    from llmdbg.debugger.inspection.topics import TokenTable
    from llmdbg.models.stages import Stage
    from llmdbg.probes.candidates import Candidate, Candidates
    from llmdbg.probes.statistics import Statistics
    from llmdbg.probes.value_statistics import ValueStatistics

Fields = dict[str, Any]

_NUMBERS = ("min", "max", "mean", "std", "norm", "nan", "inf")


def token_fields(row: TokenRow) -> Fields:
    """One token: `text` is what it stands for, `piece` how the vocabulary spells it."""
    return {"index": row.index, "id": row.id, "text": row.text, "piece": row.piece, "special": row.special}


def token_table_fields(value: TokenTable) -> Fields:
    """The sequence, and what there is to note about it."""
    return {"tokens": [token_fields(row) for row in value.rows], "notes": list(value.notes)}


def stop_fields(stop: Stop) -> Fields:
    """A stop. Candidates and the chosen token are present only at stages that have them."""
    fields: Fields = {
        "reason": stop.reason.value,
        "breakpoint": stop.breakpoint,
        "token": stop.token,
        "phase": stop.phase.value,
        "stage": stage_fields(stop.stage),
        "tensor": None if stop.tensor is None else tensor_fields(stop.tensor),
        "ms": stop.ms,
        **({} if stop.lane is None else {"lane": stop.lane}),
        **({} if stop.rank is None else {"rank": stop.rank}),
        **({} if not stop.layout else {"layout": stop.layout}),
        **({} if not stop.reordered else {"reordered": list(stop.reordered)}),
    }
    if stop.candidates is not None:
        fields |= candidates_fields(stop.candidates)
    if stop.chosen is not None:
        chosen = stop.chosen
        fields["chosen"] = {"id": chosen.id, "text": chosen.text, "prob": chosen.prob, "rank": chosen.rank}
    if stop.values:
        fields["values"] = dict(stop.values)
    if stop.why:
        fields["why"] = stop.why
    if stop.code is not None:
        fields["source"] = _source(stop.code)
    if (stop.stage.is_fine or stop.reason is Reason.EXCEPTION) and stop.takes:
        fields["takes"] = [_named_tensor(each) for each in stop.takes]
    fields |= _compared_fields(stop)
    if stop.returns:
        fields["returns"] = [_named_tensor(each) for each in stop.returns]
    if stop.ended_by is not None:
        fields |= {"ended_by": stop.ended_by, "ended_with": stop.ended_with}
    if stop.not_finite_since is not None:
        fields["not_finite_since"] = stop.not_finite_since
    return _plain(fields)


def _compared_fields(stop: Stop) -> Fields:
    """How a stop compares with the reference, with earlier runs, and on the ranks with one another."""
    fields: Fields = {}
    if stop.beside is not None:
        beside = stop.beside
        fields["beside"] = {
            "reference": beside.name,
            "apart": beside.apart,
            "by_itself": beside.by_itself,
            "equal": beside.equal,
            "by": str(beside.by),
        }
        if beside.lost:
            fields["beside"]["lost"] = beside.lost
    if stop.differs:
        fields["differs"] = True
    if stop.unequal:
        fields["unequal"] = list(stop.unequal)
    return fields


def _source(value: CodeLine) -> Fields:
    shown: Fields = {"file": value.file, "line": value.line, "function": value.function, "text": value.text}
    return {**shown, "operation": value.operation} if value.operation else shown


def whole_stop_fields(stop: Stop) -> Fields:
    """A stop, and what its stage took if that is several tensors."""
    return stop_fields(stop) | ({"takes": [_named_tensor(each) for each in stop.takes]} if stop.takes else {})


def _named_tensor(value: NamedTensor) -> Fields:
    return {"name": value.name, "shape": list(value.shape), "dtype": value.dtype, "device": value.device}


def stage_fields(value: Stage) -> Fields:
    """A stage's kind, address, module path, layer and depth."""
    return {
        "kind": value.kind.value,
        "address": value.address,
        "module": value.module,
        "layer": value.layer,
        "depth": value.depth,
    }


def tensor_fields(value: Statistics) -> Fields:
    """A tensor's statistics, and those of the focus position under `focus`.

    At a logits processor also `cut`, how many tokens have been cut, and `in_play`, the statistics of all others.
    """
    focus = None if value.focus is None else {"position": value.focus_position, **_numbers(value.focus)}
    shown = {"shape": list(value.shape), "dtype": value.dtype, "device": value.device}
    played = {} if value.cut is None else {"cut": value.cut, "in_play": _numbers(value.in_play)}
    return _plain({**shown, **_numbers(value.numbers), "focus": focus, **played})


def candidates_fields(value: Candidates) -> Fields:
    """The likeliest tokens at a stage, and what the logits processors did to each."""
    return _plain(
        {
            "candidates": [_candidate(row) for row in value.rows],
            "entropy": value.entropy,
            "left": value.left,
            "cut": dict(value.cuts),
            "former_leaders": [_candidate(row) for row in value.former],
        }
    )


def _candidate(row: Candidate) -> Fields:
    path = [{"stage": step.address, "logit": step.logit, "prob": step.prob} for step in row.path]
    return {
        "rank": row.rank,
        "id": row.id,
        "text": row.text,
        "logit": row.logit,
        "prob": row.prob,
        "cut_by": row.cut_by,
        "path": path,
        "raw_rank": row.raw_rank,
        "fell_at": row.fell_at,
    }


def _numbers(value: ValueStatistics | None) -> Fields:
    return {name: None if value is None else getattr(value, name) for name in _NUMBERS}


def breakpoint_fields(value: Breakpoint) -> Fields:
    """A breakpoint, tracepoint or watch, and how often it was hit."""
    return {
        "number": value.number,
        "address": value.target.text,
        "stages": sorted(value.target.addresses),
        "token": value.target.token,
        "phase": value.target.phase,
        "temporary": value.temporary,
        "enabled": value.enabled,
        "hits": value.hits,
        "kind": value.kind.value,
        "condition": None if value.condition is None else value.condition.text,
        "expressions": [each.text for each in value.expressions],
        "ignore": value.ignore,
        "commands": list(value.commands),
        "commands_off": [each for each in value.commands if each in value.off],
    }


def edit_fields(value: Edit) -> Fields:
    """An edit: as it was typed, what it does, and where and when."""
    return {
        "number": value.number,
        "edit": value.text,
        "does": value.change.describe(),
        "stages": sorted(value.stages),
        "since": value.since,
        "token": value.token,
        "enabled": value.enabled,
    }


def branch_fields(value: BranchRow) -> Fields:
    """A branch: where it forked from which other, where it stands, and its text."""
    return {
        "number": value.number,
        "name": value.name,
        "parent": value.parent,
        "fork": value.fork,
        "why": value.why,
        "current": value.current,
        "at": {"address": value.place.address, "token": value.place.token},
        "ids": list(value.ids),
        "text": value.text,
    }


def command_fields(value: Command[Any]) -> Fields:
    """A command, as `help` lists it."""
    return {
        "name": value.name,
        "aliases": list(value.aliases),
        "usage": value.usage,
        "summary": value.summary,
        "example": value.example,
    }


def _plain(fields: Fields) -> Fields:
    return {name: json_value(each) for name, each in fields.items()}


def compared_stage_fields(value: ComparedStage) -> Fields:
    """One stage in two runs, with how many times its floor its isolated error is."""
    fields = {each.name: json_value(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return {**fields, "times_floor": json_value(value.times_floor)}
