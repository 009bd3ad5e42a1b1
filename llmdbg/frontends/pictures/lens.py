"""The picture of the lens: a row for each layer, a cell for each of its likeliest tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.errors import CommandError
from llmdbg.frontends.answers.lens import prediction_history
from llmdbg.frontends.pictures.heatmap import draw_heatmap
from llmdbg.frontends.sanitize import quoted

if TYPE_CHECKING:
    from llmdbg.probes.lens_table import LensTable

_MOST_TEXT = 14
_MOST_FOLLOWED = 8


def draw_lens(value: LensTable, format: str) -> bytes:
    """The likeliest tokens of each layer, the last layer on top. Raises CommandError if no layer has run."""
    if not value.rows:
        raise CommandError("there is no picture yet: no layer has run that the lens could read")
    rows = list(reversed(value.rows))
    top = len(rows[0].top)
    followed = rows[0].followed[:_MOST_FOLLOWED]
    return draw_heatmap(
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
        title=f"what each layer would say after position {value.position} (logit lens)",
        subtitle=f"{prediction_history(value)}; shaded by probability; {_legend(len(rows[0].followed))}",
        format=format,
        low=0.0,
        high=1.0,
    )


def _legend(followed: int) -> str:
    if followed > _MOST_FOLLOWED:
        return f"the last columns are the ranks of the first {_MOST_FOLLOWED} of {followed} followed tokens"
    return "the last columns are the ranks of the followed tokens"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"
