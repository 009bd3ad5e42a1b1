"""What the KV cache holds: in total, and a row for each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import byte_count
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.probes.kv import CacheLayer, CacheMap

_WAITING = "…"
_WIDE = 60
_LAYER, _HOLDS, _SEES, _SEES_WIDE, _BYTES = 3, 11, 6, 12, 9


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    found: CacheMap | str = state.asked("kv") or _WAITING
    if isinstance(found, str):
        return [row((line, "dim")) for line in wrapped(sanitize(found), width)]
    growth = "" if found.growth is None else f" +{byte_count(found.growth)} a token"
    whole = byte_count(found.bytes)
    about = fitted(f"{growth} · {sanitize(found.cache)}", max(0, width - len(whole))).rstrip()
    rows = [row((whole, "accent"), (about, "dim"))]
    if found.storage > found.bytes:
        rows.append(row((fitted(f"{byte_count(found.storage)} of memory allocated", width).rstrip(), "dim")))
    if found.padding:
        rows.append(row((fitted(f"positions 0 to {found.padding - 1} are padding", width).rstrip(), "warn")))
    rows += [row((line, "dim")) for line in wrapped(_positions(found), width)]
    heads = f"{'':{_LAYER}} {'holds':<{_HOLDS}} {'reads':>{_sees_width(width)}} {'bytes':>{_BYTES}}"
    rows.append(row((fitted(heads, width), "dim")))
    head = tuple(rows)
    return LazyRows(
        len(head) + len(found.layers),
        lambda y: head[y] if y < len(head) else _layer(found.layers[y - len(head)], width),
    )


def _positions(found: CacheMap) -> str:
    if found.rotation is None:
        return sanitize(found.positions)
    angles = " ".join(f"{angle:+.2f}" for angle in found.rotation.angles[:4])
    place = "" if found.rotation.position_id is None else f"id {found.rotation.position_id} "
    return f"rotary: {place}by {angles} … rad"


def _layer(layer: CacheLayer, width: int) -> Row:
    holds = f"{layer.first}-{layer.last}"
    if layer.first is None:
        holds = layer.kind if layer.kind in ("state", "none") else "nothing"
    sees_width = _sees_width(width)
    sees = _sees(layer, whole=width >= _WIDE)
    line = fitted(
        f"{holds:<{_HOLDS}} {sees:>{sees_width}} {byte_count(layer.bytes):>{_BYTES}}",
        min(_HOLDS + sees_width + _BYTES + 2, max(0, width - _LAYER - 1)),
    )
    drops = "" if layer.drops_next is None else f" ✂{layer.drops_next}"
    more = f" {layer.kind}" if width >= _WIDE and layer.first is not None else ""
    number = f"{layer.layer:{_LAYER}} "
    room = max(0, width - len(number) - len(line))
    return row(
        (number, "dim"),
        line,
        (fitted(f"{drops}{more}", room).rstrip(), "dim"),
    )


def _sees_width(width: int) -> int:
    return _SEES_WIDE if width >= _WIDE else _SEES


def _sees(layer: CacheLayer, *, whole: bool) -> str:
    """What the focus reads there, or only from where on; `!` marks what is not as configured."""
    if layer.sees is None:
        return "" if layer.window_from is None else "?"
    mark = "!" if layer.mask_differs else ""
    if not layer.sees:
        return f"none{mark}"
    (first, last), *others = layer.sees
    if not whole:
        return f"{first}-{mark}"
    return f"{first}-{last}{f'…{others[-1][1]}' if others else ''}{mark}"


PANE = Pane("kv", "k", PaneSlot.TAB, _draw, question="kv", about="what the KV cache holds, layer by layer")
