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
_SPANS_SHOWN = 4


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
        Column("reads", left=True),
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
    first = layer.tensors[0] if layer.tensors else None
    shape = None if first is None else f"{first.name} {first.dtype}{list(first.shape)}"
    holds = None if layer.kind in ("state", "none") else _span(layer.first, layer.last)
    numbers = (layer.dropped or None, layer.drops_next, layer.bytes, layer.growth)
    return (layer.layer, layer.kind, holds, _reads(layer), *numbers, shape)


def _reads(layer: CacheLayer) -> str | None:
    """What the focus reads in a layer, and a mark where that is not what the configuration says."""
    if layer.sees is None:
        return None if layer.window_from is None else "?"
    return f"{spans_text(layer.sees)}{' (not as configured)' if layer.mask_differs else ''}"


def spans_text(spans: Sequence[tuple[int, int]]) -> str:
    """Runs of positions: `0 to 3, 7, 9 to 12`."""
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in spans[:_SPANS_SHOWN]]
    more = f" and {len(spans) - _SPANS_SHOWN} more" if len(spans) > _SPANS_SHOWN else ""
    return ", ".join(shown) + more or "nothing"


def sight_lines(layer: CacheLayer, position: int, text: str) -> list[str]:
    """What the focus reads in a layer by this run's mask, and where that is not what the configuration says."""
    who = f"position {position} {quoted(text)}"
    due = f"{layer.window_from} to {position}"
    rule = _rule(layer)
    if layer.sees is None:
        why = f": {sanitize(layer.unknown)}" if layer.unknown else ""
        return [f"{who} should read {due}, by {rule}; the mask of this run is not known{why}"]
    heads = ", some of it in some heads only" if layer.some_heads else ""
    lines = [f"{who} reads {spans_text(layer.sees)}, by the mask of this run{heads}"]
    if layer.mask_differs:
        lines.append(f"NOT as configured: by {rule} it would read {due}")
    return lines


def _rule(layer: CacheLayer) -> str:
    """What confines a layer's attention, by the configuration."""
    if layer.chunk is not None:
        rule = f"its chunks of {layer.chunk}"
    else:
        rule = "causality alone" if layer.limit is None else f"its window of {layer.limit}"
    return f"{rule} and the padding" if layer.padding else rule


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
    if layer.window_from is not None:
        lines += sight_lines(layer, value.position, value.text)
    if layer.padding:
        lines.append(f"{layer.padding} of the held positions are padding")
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
