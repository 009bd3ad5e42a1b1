"""The logit lens as lines and as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdbg.formatting import percent
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.probes.lens_table import LensRow, LensTable

_SHOWN = 3


def lens_blocks(value: LensTable) -> list[Block]:
    """A line for each layer: its likeliest tokens, and the rank and probability of each followed token."""
    if not value.rows:
        return ["the lens has nothing to read yet: no layer has run"]
    followed = value.rows[0].followed
    columns = (
        Column("after"),
        Column("entropy", lambda entropy: f"{entropy:.2f}"),
        *(Column(_title(rank), left=True) for rank in range(1, _SHOWN + 1)),
        *(Column(quoted(each.text)) for each in followed),
    )
    rows = tuple(
        (row.address, row.entropy, *_likeliest(row), *(f"{each.rank:,} {percent(each.prob)}" for each in row.followed))
        for row in value.rows
    )
    heading = f"what the model would say after position {value.position} if it stopped there (lens)"
    return [
        heading,
        Table(columns, rows),
        prediction_history(value),
        *(f"note: {sanitize(note)}" for note in value.notes),
    ]


def prediction_history(value: LensTable) -> str:
    """Where the prediction first leads and from where on it stays ahead, in a sentence; empty without a prediction."""
    prediction = value.prediction
    if prediction is None:
        return ""
    name = quoted(prediction.text)
    if math.isnan(prediction.prob):
        return f"{name} has no probability: the last of the scores are not finite"
    if value.first is None:
        return f"{name} never leads: at the end it has rank {prediction.rank:,}"
    if value.stays is None:
        return f"{name} first leads after {value.first}, but at the end it has rank {prediction.rank:,}"
    stays = "and stays ahead" if value.first == value.stays else f"and stays ahead from {value.stays} on"
    return f"{name} first leads after {value.first} {stays}"


def _title(rank: int) -> str:
    return "likeliest" if rank == 1 else f"{rank}."


def _likeliest(row: LensRow) -> list[str]:
    texts = [f"{percent(each.prob):>6} {quoted(each.text)}" for each in row.top[:_SHOWN]]
    return texts + [""] * (_SHOWN - len(texts))


def lens_tables(value: LensTable) -> Sequence[Table]:
    """A row for each candidate and each followed token of each layer."""
    titles = ("position", "after", "layer", "rank", "id", "text", "logit", "prob", "entropy", "followed")
    rows = tuple(cells for row in value.rows for cells in _cells(value.position, row))
    return [Table(tuple(map(Column, titles)), rows)]


def _cells(position: int, row: LensRow) -> list[tuple[object, ...]]:
    listed = [
        (position, row.address, row.layer, rank, each.id, each.text, each.logit, each.prob, row.entropy, False)
        for rank, each in enumerate(row.top, 1)
    ]
    followed = [
        (position, row.address, row.layer, each.rank, each.id, each.text, each.logit, each.prob, row.entropy, True)
        for each in row.followed
    ]
    return [*listed, *followed]
