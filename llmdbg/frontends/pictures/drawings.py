"""Which function draws each type of answer: the one place to register a new one. Importing it imports matplotlib."""

from __future__ import annotations

from functools import singledispatch

from llmdbg.errors import CommandError
from llmdbg.frontends.pictures.attention import draw_attention
from llmdbg.frontends.pictures.attribution import draw_attribution
from llmdbg.frontends.pictures.lens import draw_lens
from llmdbg.probes.attention import AttentionMap
from llmdbg.probes.attribution import Attribution
from llmdbg.probes.lens_table import LensTable


@singledispatch
def draw(answer: object, format: str) -> bytes:
    """An answer as the bytes of an `svg` or `png` file. Raises CommandError for a type that is not registered below."""
    raise CommandError("this answer has no picture: lens, attribution and attention have one")


draw.register(AttentionMap, draw_attention)
draw.register(Attribution, draw_attribution)
draw.register(LensTable, draw_lens)
