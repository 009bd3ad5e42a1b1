"""The drawings of what comes after the layers: scores, settings, the choice, the end and the cache."""

from __future__ import annotations

from rich.cells import cell_len

from llmdbg.explain.tour_facts import CachePicture, Chance, ChoicePicture, EndingPicture, ScoresPicture, SettingsPicture
from llmdbg.formatting import byte_count, counted, percent
from llmdbg.frontends.cell_text import bar_of, fitted
from llmdbg.frontends.sanitize import marked, quoted, token_text
from llmdbg.frontends.tour_drawing.base import MOST_BAR, TEXT_WIDTH, Line, draw


@draw.register
def _scores(picture: ScoresPicture, width: int, height: int) -> list[Line]:
    lines: list[Line] = [((f"  {fitted('token', TEXT_WIDTH)}   score  chance", "dim"),)]
    bar = max(4, min(MOST_BAR, width - TEXT_WIDTH - 22))
    shown = picture.chances[: max(1, height - 2)]
    for each in shown:
        head = ((f"  {fitted(quoted(each.text), TEXT_WIDTH)}", "strong"), (f"{each.score:8.2f}", ""))
        lines.append((*head, (f"{percent(each.before):>8} ", ""), (bar_of(each.before, bar), "bar")))
    rest = picture.others + sum(each.before for each in picture.chances[len(shown) :])
    others = f"{picture.left - len(shown):,} others"
    lines.append(((f"  {fitted(others, TEXT_WIDTH)}        {percent(rest):>8} ", "dim"), (bar_of(rest, bar), "bar")))
    return lines


@draw.register
def _settings(picture: SettingsPicture, width: int, height: int) -> list[Line]:
    bar = max(3, min(20, (width - TEXT_WIDTH - 22) // 2))
    side = bar + 8
    after = f"with {picture.after}" if picture.supposed else "with these settings"
    lines: list[Line] = [
        ((f"  {fitted('token', TEXT_WIDTH)} {fitted('as the model says', side)}  {fitted(after, side)}", "dim"),)
    ]
    for each in picture.chances[: max(1, height - 2)]:
        now = "    cut" if each.after == 0 else f"{percent(each.after):>7}"
        lines.append(
            (
                (f"  {fitted(quoted(each.text), TEXT_WIDTH)}", "cut" if each.after == 0 else "strong"),
                (f"{percent(each.before):>7} ", ""),
                (bar_of(each.before, bar), "bar"),
                (f"  {now} ", "dim" if each.after == 0 else ""),
                (bar_of(each.after, bar), "bar"),
            )
        )
    shown = min(len(picture.chances), max(1, height - 2))
    left = picture.chances[shown:]
    before = picture.others[0] + sum(each.before for each in left)
    rest = picture.others[1] + sum(each.after for each in left)
    numbers = (f"{percent(before):>7} ", ""), (bar_of(before, bar), "bar"), (f"  {percent(rest):>7} ", "")
    lines.append(((f"  {fitted('all others', TEXT_WIDTH)}", "dim"), *numbers, (bar_of(rest, bar), "bar")))
    return lines


@draw.register
def _choice(picture: ChoicePicture, width: int, height: int) -> list[Line]:
    bar = max(4, min(MOST_BAR, width - TEXT_WIDTH - 16))
    lines: list[Line] = []
    most = max(1, height - 3)
    shown = list(picture.chances[:most])
    if not any(each.chosen for each in shown):
        shown[-1] = next(each for each in picture.chances if each.chosen)
    lines.extend(_candidate(each, bar) for each in shown)
    rest = 1.0 - sum(each.after for each in shown)
    lines.append(
        ((f"  {fitted('all others', TEXT_WIDTH)}{percent(max(0.0, rest)):>7} ", "dim"), (bar_of(rest, bar), "bar"))
    )
    before = "".join(marked(each) for each in picture.before)
    chosen = marked(picture.chosen) or "∅"
    room = max(1, width - cell_len(chosen) - 4)
    tail = before if cell_len(before) <= room else "…" + _last_cells(before, room - 1)
    lines += [(), ((f"  {tail}", "dim"), (chosen, "token-focus"))]
    return lines


def _candidate(each: Chance, bar: int) -> Line:
    style = "good" if each.chosen else "strong"
    head = f"{'▶' if each.chosen else ' '} {fitted(quoted(each.text), TEXT_WIDTH)}"
    return (head, style), (f"{percent(each.after):>7} ", style), (bar_of(each.after, bar), "bar")


def _last_cells(text: str, cells: int) -> str:
    while cell_len(text) > cells:
        text = text[1:]
    return text


@draw.register
def _ending(picture: EndingPicture, width: int, _height: int) -> list[Line]:
    bar = max(4, min(MOST_BAR, width - 42))
    lines: list[Line] = []
    for text, prob in picture.ends:
        head = fitted(f"chance of {token_text(text)}", 26)
        lines.append(((head, "strong"), (f"{percent(prob, 2):>14} ", ""), (bar_of(prob, bar), "bar")))
    for name, (used, limit) in (("tokens written", picture.tokens), ("positions taken", picture.context)):
        number = f"{used:,}" if limit is None else f"{used:,} of {limit:,}"
        part = 0.0 if not limit else used / limit
        lines.append(((fitted(name, 26), "strong"), (f"{number:>14} ", ""), (bar_of(part, bar), "bar")))
    return lines


@draw.register
def _cache(picture: CachePicture, width: int, _height: int) -> list[Line]:
    whole = picture.kept + picture.fed
    room = max(4, min(60, width - 30))
    fed = max(1, round(picture.fed / whole * room))
    layers = f"through {counted(picture.layers, 'layer')}"
    lines: list[Line] = [
        (("without a cache  ", "strong"), ("█" * room, "bar"), (f" {whole:,}", "")),
        (("with the cache   ", "strong"), ("░" * (room - fed), "dim"), ("█" * fed, "good"), (f" {picture.fed:,}", "")),
        ((f"{'':17}█ positions that go {layers} now", "dim"),),
    ]
    if picture.kept:
        lines.append(((f"{'':17}░ {counted(picture.kept, 'position')} whose keys and values are kept", "dim"),))
    if picture.bytes is not None:
        held = f"{byte_count(picture.bytes)} kept"
        held += "" if picture.per_token is None else f", and {byte_count(picture.per_token)} more with each token"
        lines.append(((f"{'':17}{held}", ""),))
    return lines
