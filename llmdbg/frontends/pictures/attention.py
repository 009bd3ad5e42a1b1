"""The picture of an attention's weights: a row for each head, a column for each of the latest keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.answers.attention import attention_heading
from llmdbg.frontends.pictures.heatmap import draw_heatmap
from llmdbg.frontends.sanitize import marked, sanitize

if TYPE_CHECKING:
    from llmdbg.probes.attention import AttentionMap

_MOST_COLUMNS = 64


def draw_attention(value: AttentionMap, format: str) -> bytes:
    """The weights of the last 64 keys as a heat map."""
    shown = min(_MOST_COLUMNS, value.keys)
    left_out = f"; the last {shown} of {value.keys} keys are shown" if shown < value.keys else ""
    return draw_heatmap(
        value.weights[:, -shown:],
        rows=[f"head {head.head}" for head in value.heads],
        columns=[marked(text) for text in value.texts[-shown:]],
        title=sanitize(attention_heading(value)),
        subtitle=sanitize(f"kernel {value.kernel}; each row is a head's weights, from 0 to 1{left_out}"),
        format=format,
        low=0.0,
        high=1.0,
    )
