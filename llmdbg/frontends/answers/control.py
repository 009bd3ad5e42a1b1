"""Breakpoints, edits, branches, comparisons, the model and the commands as lines of text."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import byte_count, counted, large_number, listed, percent
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.commands import Command
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branches import BranchRow
    from llmdbg.debugger.inspection.comparing import BranchComparison
    from llmdbg.debugger.inspection.edit_effect import EditEffect
    from llmdbg.debugger.inspection.likely import LikelyToken
    from llmdbg.debugger.inspection.topics import ModelInfo
    from llmdbg.debugger.inspection.verify import Proof
    from llmdbg.models.weight_differences import WeightDifferences

_MOST_BRANCH_TEXT = 60  # characters
_MOST_PATTERNS = 100


def breakpoint_lines(value: Breakpoint) -> list[str]:
    """A breakpoint in one line, and its commands below it."""
    off = f"  (off: `commands {value.number} on` switches it on)"
    return [
        sanitize(value.line),
        *(f"    {sanitize(each)}{off if each in value.off else ''}" for each in value.commands),
    ]


def branch_lines(value: BranchRow) -> list[str]:
    """A branch in one line, indented below the one it forked from."""
    sign, indent = "*" if value.current else " ", "  " * value.depth
    why = f" from token {value.fork}, {sanitize(value.why)}" if value.why else ""
    text = sanitize(value.text)
    text = text if len(text) <= _MOST_BRANCH_TEXT else f"{text[:_MOST_BRANCH_TEXT]}…"
    name, place = f"{value.number} {sanitize(value.name)}", f"{value.place.address}@{value.place.token}"
    return [f'{sign} {indent}{name}{why}: "{text}" (at {place})']


def edit_lines(value: Edit) -> list[str]:
    """An edit in one line."""
    return [sanitize(value.line)]


def effect_lines(value: EditEffect) -> list[str]:
    """What an edit changed: the likeliest tokens before and after it, stage by stage."""
    lines = [f"note: {sanitize(value.note)}"] if value.note else []
    for row in value.rows:
        lines.append(f"{row.address:>8}  {_likely(row.before)}  →  {_likely(row.after)}")
    return lines


def comparison_lines(value: BranchComparison) -> list[str]:
    """Two branches side by side, from the first token in which they differ."""
    if value.first is None:
        return [f"{sanitize(value.here)} and {sanitize(value.there)} are the same, token by token"]
    lines = [f"token  {sanitize(value.here):24}  {sanitize(value.there)}"]
    for pair in value.tokens:
        here = _paired(pair.here, forced=pair.token in value.forced_here)
        there = _paired(pair.there, forced=pair.token in value.forced_there)
        lines.append(f"{pair.token:5}  {here:24}  {there}".rstrip())
    lines += _compared_candidates(value)
    if value.reran:
        where = listed([sanitize(each) for each in value.reran], "and")
        lines.append(f"token {value.compared} ran again on {where} for its candidates: no stop had recorded them")
    return lines


def _compared_candidates(value: BranchComparison) -> list[str]:
    """The candidates of both branches side by side; once where they are the same, as they are before a forced token."""
    here, there = ([_likely([each]) for each in side] for side in (value.candidates_here, value.candidates_there))
    title = f"candidates of token {value.compared}"
    if here and here == there:
        return [f"{title}, the same in both", *(f"{rank:5}  {text}" for rank, text in enumerate(here, 1))]
    rows = enumerate(zip_longest(here, there, fillvalue=""), 1)
    return [title, *(f"{rank:5}  {one:24}  {other}".rstrip() for rank, (one, other) in rows)]


def _paired(token: tuple[int, str] | None, *, forced: bool) -> str:
    return "" if token is None else f"{quoted(token[1])} {token[0]}{', forced' if forced else ''}"


def proof_lines(value: Proof) -> list[str]:
    """What `verify` found."""
    if value.differs is None:
        but = ", but for what the notes say" if value.notes else ""
        tokens = counted(value.tokens, "token")
        found = f"verified{but}: generate() gives the same {tokens}, and the logits are equal bit by bit"
    else:
        found = f"NOT the same: at token {value.first} generate() gives different {value.differs}"
    return [found, *(f"note: {sanitize(note)}" for note in value.notes)]


def _likely(tokens: Iterable[LikelyToken]) -> str:
    return " ".join(f"{quoted(each.text)} {percent(each.prob)}" for each in tokens)


def model_lines(value: ModelInfo) -> list[str]:
    """The model's name, sizes, dtype, device, context and sampling settings."""
    context = counted(value.context, "token") if value.context else "no limit"
    weights = "" if value.parameters is None else f", {large_number(value.parameters)} weights"
    size = "" if value.bytes is None else f", {byte_count(value.bytes)}"
    vocabulary = "not recorded" if value.vocabulary is None else f"{value.vocabulary:,}"
    rows = () if value.weights is None else value.weights.rows(_MOST_PATTERNS)
    told = " ".join(value.notes)
    return [
        f"{sanitize(value.name)}: {value.architecture}, {counted(value.layers, 'layer')}{weights}",
        f"{value.dtype} on {value.device}{size}, attention {value.attention}",
        f"context {context}, vocabulary {vocabulary}{value.sampling and f', {value.sampling}'}",
        *(f"note: {sanitize(note)}" for note in value.notes),
        # In finer patterns than the notes have room for.
        *(f"{kind}: {sanitize(which)}" for kind, which in rows if which not in told),
    ]


def weight_lines(value: WeightDifferences) -> list[str]:
    """The tensors that differ, a line for each kind of difference."""
    rows = value.rows(_MOST_PATTERNS)
    return [f"{kind}: {sanitize(which)}" for kind, which in rows] or ["the weights are those of the configuration"]


def command_lines(value: Command[Any]) -> list[str]:
    """A command, as `help` lists it."""
    names = f" (or {', '.join(value.aliases)})" if value.aliases else ""
    return [f"{value.usage:24} {value.summary}{names}  e.g. `{value.example}`"]
