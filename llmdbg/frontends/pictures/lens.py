"""The picture of the lens: a row for each layer, a cell for each of its likeliest tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.errors import CommandError
from llmdbg.frontends.answers.lens import history
from llmdbg.frontends.pictures.heatmap import draw
from llmdbg.frontends.sanitize import quoted

if TYPE_CHECKING:
    from llmdbg.probes.lens_table import LensTable

_MOST_TEXT = 14
_MOST_FOLLOWED = 8


def _draw(value: LensTable, format: str) -> bytes:
    if not value.rows:
        raise CommandError("nothing has run that the lens could read: there is no picture yet")
    rows = list(reversed(value.rows))
    top = len(rows[0].top)
    followed = rows[0].followed[:_MOST_FOLLOWED]
    return draw(
        [[*(each.prob for each in row.top), *(each.prob for each in row.followed[:_MOST_FOLLOWED])] for row in rows],
        rows=[row.address for row in rows],
        columns=[*(f"{rank + 1}." for rank in range(top)), *(_short(quoted(each.text)) for each in followed)],
        cells=[
            [
                *(_short(quoted(each.text)) for each in row.top),
                *(f"#{each.rank:,}" for each in row.followed[:_MOST_FOLLOWED]),
            ]
            for row in rows
        ],
        title=f"what each layer would say behind position {value.position} (logit lens)",
        subtitle=f"{history(value)}; shaded by probability; {_told(len(rows[0].followed))}",
        format=format,
        low=0.0,
        high=1.0,
    )


def _told(followed: int) -> str:
    """What the last columns are."""
    if followed > _MOST_FOLLOWED:
        return f"the last columns are ranks of the first {_MOST_FOLLOWED} of {followed} tokens that are followed"
    return "the last columns are ranks of tokens that are followed"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


PICTURES = {"LensTable": _draw}
