"""The tensor at this stop in numbers; at `tokenize`, the token table the model is fed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.rows import Row, fitted, row, wrapped
from llmdbg.frontends.visible import quoted, visible
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.stop import TokenRow
    from llmdbg.frontends.tui.snapshot import Snapshot
    from llmdbg.probes.statistics import Numbers, Statistics

_NAMES = (("mean", "mean"), ("std", "std"), ("min", "min"), ("max", "max"), ("norm", "norm"))
_LABEL = 9


def tensor_rows(shown: Snapshot, width: int) -> list[Row]:
    """What the stage that has just run gave out."""
    stage = shown.stop.stage
    if stage.kind is StageKind.TOKENIZE:
        return _token_table(shown, width)
    heading = [row((stage.address, "strong"))]
    if stage.module and stage.module != stage.address:
        heading.append(row((fitted(stage.module, width), "dim")))
    tensor = shown.stop.tensor
    if tensor is None:
        return [*heading, row(), row(("this stage gives out no tensor", "dim"))]
    time = "" if shown.stop.ms is None else f"  {shown.stop.ms:.2f} ms"
    size = "×".join(map(str, tensor.shape)) or "one number"
    heading.append(row((size, "accent"), f" {tensor.dtype} {tensor.device}", (time, "dim")))
    if stage.kind is StageKind.SAMPLE:
        return [*heading, row(), *_chosen(shown)]
    return [*heading, row(), *_numbers(tensor, shown, width)]


def _numbers(tensor: Statistics, shown: Snapshot, width: int) -> list[Row]:
    if tensor.numbers is None:
        return [row(("an empty tensor", "dim"))]
    columns = [("all", tensor.numbers)]
    if tensor.focus is not None:
        columns.append((f"position {tensor.focus_position}", tensor.focus))
    cells = max(9, min(14, (width - _LABEL) // len(columns)))
    rows = [row(" " * _LABEL, *((title.rjust(cells), "dim") for title, _ in columns))]
    for attribute, label in _NAMES:
        rows.append(row((label.ljust(_LABEL), "dim"), *(f"{getattr(n, attribute):{cells}.4g}" for _, n in columns)))
    rows += [_counts("NaN", "nan", [n for _, n in columns], cells)]
    rows.append(_counts("infinite", "inf", [n for _, n in columns], cells))
    if shown.stop.stage.kind is StageKind.PROCESSOR and tensor.numbers.inf:
        rows += [row(), *(row((line, "dim")) for line in wrapped("tokens that were cut score minus infinity", width))]
    return rows


def _counts(label: str, attribute: str, columns: list[Numbers], cells: int) -> Row:
    counts = [getattr(numbers, attribute) for numbers in columns]
    return row((label.ljust(_LABEL), "dim"), *((f"{count:{cells},}", "bad" if count else "") for count in counts))


def _chosen(shown: Snapshot) -> list[Row]:
    chosen = shown.stop.chosen
    if chosen is None:
        return []
    return [
        row(("chosen   ", "dim"), (quoted(chosen.text), "good")),
        row(("id       ", "dim"), str(chosen.id)),
        row(("chance   ", "dim"), f"{100 * chosen.prob:.2f} %"),
        row(("rank     ", "dim"), str(chosen.rank)),
    ]


def _token_table(shown: Snapshot, width: int) -> list[Row]:
    prompt = shown.tokens[: shown.prompt_length]
    rows = [row(("tokenize", "strong"), (f"  {len(prompt)} tokens", "dim"))]
    for note in shown.notes:
        rows += [row((line, "warn")) for line in wrapped(visible(note), width)]
    rows.append(row((" pos      id  piece", "dim")))
    return [*rows, *(_token_row(token, width) for token in prompt)]


def _token_row(token: TokenRow, width: int) -> Row:
    piece = fitted(visible(token.piece), max(4, width - 14))
    return row((f"{token.index:4}", "dim"), f"{token.id:8}  ", (piece, "token-special" if token.special else ""))
