"""The drawings of what is inside the model: weights, vectors, products, heads and layers."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from llmdbg.explain.tour_facts import (
    GrowthPicture,
    LengthsPicture,
    ProductPicture,
    SharingPicture,
    StripsPicture,
    TablePicture,
    TrafficPicture,
    WeightsPicture,
    WindowPicture,
)
from llmdbg.formatting import byte_count, counted, percent, seconds
from llmdbg.frontends.cell_text import bar_of, fitted
from llmdbg.frontends.sanitize import quoted, token_text
from llmdbg.frontends.tour_drawing.base import (
    BAR_WIDTH,
    MOST_BAR,
    TEXT_WIDTH,
    Line,
    draw,
    heat,
    length_text,
    scale_of,
)


@draw.register
def _weights(picture: WeightsPicture, width: int, height: int) -> list[Line]:
    lines: list[Line] = []
    room = min(44, max(10, width - BAR_WIDTH - 12))
    if picture.files:
        shown = picture.files if len(picture.files) <= 4 else picture.files[:3]
        lines += [((fitted(token_text(name), room), ""), (f"{byte_count(size):>10}", "strong")) for name, size in shown]
        if len(shown) < len(picture.files):
            rest = sum(size for _, size in picture.files[len(shown) :])
            more = f"… and {len(picture.files) - len(shown)} more files"
            lines.append(((fitted(more, room), "dim"), (f"{byte_count(rest):>10}", "dim")))
        if picture.seconds is not None:
            lines.append(((fitted("  read in", room), "dim"), (f"{seconds(picture.seconds):>10}", "dim")))
    whole = sum(size for _, size in picture.kinds) or 1
    lines.append((("in memory, by what the weights are for:", "dim"),))
    for name, size in picture.kinds[: max(1, height - len(lines))]:
        bar = bar_of(size / whole, BAR_WIDTH)
        lines.append(((fitted(name, 20), ""), (f"{byte_count(size):>10} ", "strong"), (bar, "bar")))
    return lines


@draw.register
def _traffic(picture: TrafficPicture, width: int, _height: int) -> list[Line]:
    rows = (
        ("once: the weights", picture.weights),
        ("once: the prompt's ids", picture.prompt),
        ("each token: its id", picture.token),
        ("and back: the scores", picture.scores),
    )
    bar, whole = max(4, min(MOST_BAR, width - 40)), picture.weights or 1
    return [
        ((fitted(name, 26), ""), (f"{byte_count(size):>10} ", "strong"), (bar_of(size / whole, bar), "bar"))
        for name, size in rows
    ]


@draw.register
def _table(picture: TablePicture, width: int, _height: int) -> list[Line]:
    room = max(10, width - 34)
    scale = scale_of([each for _, _, numbers in picture.rows for each in numbers])
    lines: list[Line] = [(("   id     token          its numbers", "dim"),)]
    for id, text, numbers in picture.rows:
        here = id == picture.looked_up
        head = f"{'▶' if here else ' '}{id:7}  {fitted(quoted(text), 13)} "
        spans = heat(numbers, room, scale)
        lines.append(((head, "here" if here else "dim"), *spans, (" …" if picture.width > room else "", "dim")))
    chosen = next((numbers for id, _, numbers in picture.rows if id == picture.looked_up), ())
    first = "  ".join(f"{each:+.3f}" for each in chosen[:6])
    more = f"  … {picture.width:,} in all" if picture.width > 6 else ""
    lines.append(((f"▶ as numbers: {first}{more}"[:width], ""),))
    return lines


@draw.register
def _product(picture: ProductPicture, width: int, _height: int) -> list[Line]:
    lines: list[Line] = [(("   number of the vector      × weight         = product", "dim"),)]
    for index, x, weight in picture.terms:
        numbers = f"{x:+12.5f}   × {weight:+12.5f} = {x * weight:+12.5f}"
        lines.append(((f"   {index:>6}: ", "dim"), (numbers, "")))
    left = picture.count - len(picture.terms)
    what = f"and {counted(left, 'other product')}, together" if left else ""
    if what:
        lines.append(((fitted(f"   {what}", 42), "dim"), (f"= {picture.others:+12.5f}", "")))
    if picture.bias is not None:
        lines.append(((fitted("   and a learned constant (bias)", 42), "dim"), (f"= {picture.bias:+12.5f}", "")))
    lines.append(((fitted("   all added up", 42), "strong"), (f"= {picture.total:+12.5f}", "good")))
    computed = f"   what the model computed (its row {picture.row:,})"
    lines.append(((fitted(computed, 44), "strong"), (f"{picture.computed:+12.5f}", "good")))
    return lines


@draw.register
def _sharing(picture: SharingPicture, width: int, height: int) -> list[Line]:
    each = max(1, picture.heads // max(1, picture.shared))
    lines: list[Line] = []
    shown = min(picture.shared, max(1, height - 1))
    for number in range(shown):
        heads = " ".join(f"{head:2}" for head in range(number * each, (number + 1) * each))
        line = ((f"keys and values {number:2}", "accent"), ("  ◀──  heads ", "dim"), (heads, "strong"))
        lines.append(line)
    if shown < picture.shared:
        lines.append(((f"… and {picture.shared - shown} more sets", "dim"),))
    return lines


@draw.register
def _window(picture: WindowPicture, width: int, height: int) -> list[Line]:
    lines: list[Line] = []
    room = max(1, width - TEXT_WIDTH - 8)
    last = picture.first + len(picture.pieces) - 1
    first_cell = max(0, last - room // 2 + 1)
    for index, text in list(enumerate(picture.pieces))[-max(1, height - 1) :]:
        position = picture.first + index
        begin = 0 if picture.window is None else max(0, position - picture.window + 1)
        cells = "".join("■ " if begin <= key <= position else "· " for key in range(first_cell, last + 1))
        lines.append(((f"{position:5} {fitted(quoted(text), TEXT_WIDTH)} ", "dim"), (cells[:room], "accent")))
    lines.append(((f"{'':{TEXT_WIDTH + 7}}positions {first_cell} to {last}", "dim"),))
    return lines


@draw.register
def _strips(picture: StripsPicture, width: int, height: int) -> list[Line]:
    room = max(10, width - 24)
    each = max(1, min(4, (height - 1) // max(1, len(picture.strips))))
    lines: list[Line] = []
    for name, numbers in picture.strips:
        scale = scale_of(numbers)
        rows = min(each, -(-len(numbers) // room))
        for line in range(rows):
            part = numbers[line * room : (line + 1) * room]
            head = f"{name:<10}{f'{len(numbers):,}':>6} " if line == 0 else " " * 17
            more = " …" if line == rows - 1 and len(numbers) > rows * room else ""
            lines.append(((head, "strong"), *heat(part, room, scale), (more, "dim")))
    return lines


@draw.register
def _lengths(picture: LengthsPicture, width: int, _height: int) -> list[Line]:
    longest = max(length for _, length in picture.rows) or 1.0
    bar = max(4, min(MOST_BAR, width - 30))
    lines: list[Line] = []
    for index, (name, length) in enumerate(picture.rows):
        edge = index in (0, len(picture.rows) - 1)
        head = fitted(name if edge else f"+ {name}", 20)
        number = f"{length_text(length):>8} "
        lines.append(((head, "strong" if edge else ""), (number, ""), (bar_of(length / longest, bar), "bar")))
    return lines


@draw.register
def _growth(picture: GrowthPicture, width: int, height: int) -> list[Line]:
    longest = max(length for _, length, _, _ in picture.rows) or 1.0
    bar = max(4, min(MOST_BAR, width - 50))
    lines: list[Line] = []
    rows = _spread(picture.rows, max(2, height))
    left = len(picture.rows) - len(rows)
    for address, length, text, prob in rows:
        name = address if address == "embed" else f"layer {address}"
        says = "" if text is None else f" says {fitted(quoted(text), TEXT_WIDTH).rstrip()}"
        sure = "" if prob is None else f" {percent(prob)}"
        spans = (
            (fitted(name, 10), "strong"),
            (f"{length_text(length):>8} ", ""),
            (bar_of(length / longest, bar), "bar"),
        )
        lines.append((*spans, (says, "accent"), (sure, "dim")))
    if left:
        said = f" ({counted(left, 'layer')} left out: no room)"
        taken = sum(cell_len(text) for text, _ in lines[0])
        lines[0] = (*lines[0], (fitted(said, max(0, width - taken)).rstrip(), "dim"))
    return lines


def _spread(
    rows: Sequence[tuple[str, float, str | None, float | None]], most: int
) -> list[tuple[str, float, str | None, float | None]]:
    """At most `most` of the rows, evenly spread, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (most - 1))] for index in range(most)]
