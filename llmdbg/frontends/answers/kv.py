"""What the KV cache holds, as lines of text and as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import byte_count, counted
from llmdbg.frontends.answers.tables import Block, Column, Table, with_columns
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from llmdbg.probes.kv import CacheLayer, CacheLayerDetail, CacheMap, RotaryAngles

_ANGLES_SHOWN = 8


def _span(first: int | None, last: int | None) -> str:
    return "nothing" if first is None else f"{first} to {last}"


def _rotation_text(value: RotaryAngles) -> str:
    """The rotary angles of a position, one for each frequency, as fractions of a full turn."""
    angles = " ".join(f"{angle / (2 * math.pi):+.3f}" for angle in value.angles[:_ANGLES_SHOWN])
    more = "" if len(value.angles) <= _ANGLES_SHOWN else f" … ({len(value.angles)} frequencies)"
    place = "" if value.position_id is None else f"position id {value.position_id}, "
    return f"{place}rotated by {angles}{more} of a turn (read at {value.read_at})"


def cache_blocks(value: CacheMap) -> list[Block]:
    """The whole cache, and a line for each layer."""
    growth = byte_count(value.growth)
    kept = f", which keep {byte_count(value.storage)} of memory allocated" if value.storage > value.bytes else ""
    lines: list[Block] = [
        f"{sanitize(value.cache)}: {byte_count(value.bytes)} in {counted(len(value.layers), 'layer')}{kept}; "
        f"+{growth} a token"
    ]
    lines.append(f"seen from position {value.position} {quoted(value.text)}")
    if value.padding:
        lines.append(f"padding, masked: the first {counted(value.padding, 'position')}")
    lines.append(f"positions: {sanitize(value.positions)}")
    if value.rotation is not None:
        lines.append(_rotation_text(value.rotation))
    return [*lines, _without_empty(_layers(value.layers))]


def _layers(layers: Sequence[CacheLayer]) -> Table:
    columns = (
        Column("layer"),
        Column("kind", left=True),
        Column("holds", left=True),
        Column("in sight", left=True),
        Column("dropped"),
        Column("drops next"),
        Column("bytes", byte_count),
        Column("a token", byte_count),
        Column("keys", left=True),
    )
    return Table(columns, tuple(map(_layer_row, layers)))


def _without_empty(table: Table) -> Table:
    numbers = range(len(table.columns))
    return with_columns(table, (n for n in numbers if any(row[n] is not None for row in table.rows)))


def cache_tables(value: CacheMap) -> Sequence[Table]:
    """A row for each layer."""
    return [_layers(value.layers)]


def _layer_row(layer: CacheLayer) -> tuple[Any, ...]:
    sight = None if layer.sees_from is None else f"from {layer.sees_from}"
    first = layer.tensors[0] if layer.tensors else None
    shape = None if first is None else f"{first.name} {first.dtype}{list(first.shape)}"
    holds = None if layer.kind in ("state", "none") else _span(layer.first, layer.last)
    numbers = (layer.dropped or None, layer.drops_next, layer.bytes, layer.growth)
    return (layer.layer, layer.kind, holds, sight, *numbers, shape)


def layer_blocks(value: CacheLayerDetail) -> list[Block]:
    """One layer's cache in detail, and the norms of its keys and values."""
    layer = value.layer
    lines: list[Block] = [f"layer {layer.layer} of {sanitize(value.cache)}: {layer.kind}, {byte_count(layer.bytes)}"]
    if layer.first is not None:
        lines.append(f"holds positions {_span(layer.first, layer.last)}; +{byte_count(layer.growth)} a token")
    if layer.capacity is not None:
        lines.append(f"has room for {counted(layer.capacity, 'position')}")
    if layer.window is not None:
        drops = "none" if layer.drops_next is None else f"position {layer.drops_next}"
        dropped = counted(layer.dropped, "position")
        lines.append(f"window of {layer.window}: it has dropped {dropped}, the next token drops {drops}")
    if layer.sees_from is not None:
        padding = f", {layer.padding} of those held are padding" if layer.padding else ""
        lines.append(f"position {value.position} {quoted(value.text)} can see from {layer.sees_from} on{padding}")
    lines += [
        f"{each.name} {each.dtype}{list(each.shape)} {each.device}, {byte_count(each.bytes)}" for each in layer.tensors
    ]
    lines.append(f"positions: {sanitize(value.positions)}")
    if value.rotation is not None:
        lines.append(_rotation_text(value.rotation))
    return [*lines, *((_norms(value),) if len(value.key_norms) else ())]


def layer_tables(value: CacheLayerDetail) -> Sequence[Table]:
    """A row for each position that the layer holds."""
    return [_norms(value)]


def _norms(value: CacheLayerDetail) -> Table:
    shown = "{:.4g}".format
    first = value.layer.first or 0
    rows = tuple(
        (first + index, float(key), float(each))
        for index, (key, each) in enumerate(zip(value.key_norms, value.value_norms, strict=True))
    )
    return Table((Column("position"), Column("norm of keys", shown), Column("norm of values", shown)), rows)
