"""The panes of attention and of the KV cache: readable at 36 by 12, and with the numbers of this run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len

from llmdbg.debugger.debugger import Debugger
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.panes.key_columns import KeyColumns
from llmdbg.frontends.tui.widgets.rows import Row
from llmdbg.probes.attention import AttentionMap
from tests.frontends.tui.states import state_at
from tests.sessions import answered, do, tiny_session

NAMES = ("llama", "mistral", "gpt_oss", "bamba")


def _drawn(session: Debugger, name: str, width: int = 36, height: int = 12) -> list[str]:
    rows: Sequence[Row] = pane_named(name).draw(state_at(session, name), width, height)
    assert all(cell_len(each.text) <= width for each in rows), [each.text for each in rows]
    return [each.text for each in rows]


@pytest.mark.parametrize("width", [20, 36, 80])
@pytest.mark.parametrize("name", NAMES)
def test_every_head_has_a_row_of_its_weights(name: str, width: int) -> None:
    session = tiny_session(name, text="Hello there, you all")
    do(session, "goto logits@2")
    rows = _drawn(session, "attention", width)
    found = answered("attention", session)
    assert isinstance(found, AttentionMap)
    assert rows[0].startswith("1.self_attn, mean")
    if width < 36:
        return
    heads = rows[-len(found.heads) :]
    for head, line in zip(found.heads, heads, strict=True):
        assert line.split()[0] == str(head.head)
        assert f"{head.entropy:.2f}" in line
    reads = [line for line in rows if "█" in line and '"' in line]
    assert f"{100 * found.mean[0].weight:.0f}%" in "".join(reads)


def test_a_chosen_head_is_told_with_the_tokens_it_reads() -> None:
    session = tiny_session("llama", text="Hello there, you all")
    do(session, "goto logits@2")
    do(session, "info attention 0 head 2")
    rows = _drawn(session, "attention")
    found = answered("attention", session)
    assert isinstance(found, AttentionMap)
    assert rows[0].startswith("0.self_attn, head 2: what")
    read = found.heads[2].reads[0]
    line = next(line for line in rows if line.split()[0] == str(read.position) and "%" in line)
    assert f"{100 * read.weight:.0f}%" in line


def test_columns_end_with_the_latest_key() -> None:
    session = tiny_session("llama", text="Hello there, you all")
    do(session, "goto logits@2")
    (legend,) = [line for line in _drawn(session, "attention") if "keys" in line]
    assert legend == "keys 2 to 21, +2 earlier"
    assert not [line for line in _drawn(session, "attention", 80) if "keys" in line], "where all are shown, none is"


@pytest.mark.parametrize(("width", "cell"), [(36, 1), (80, 2), (120, 4), (200, 8), (400, 12)])
def test_every_column_is_below_its_position_and_its_token(width: int, cell: int) -> None:
    session = tiny_session("llama", text="Hello there, you all")
    do(session, "goto logits@2")
    found = answered("attention", session)
    assert isinstance(found, AttentionMap)
    columns = KeyColumns.of(found, width - 16)
    rows = _drawn(session, "attention", width, 30)
    (ruler,) = [line for line in rows if line.startswith("head ")]
    map_rows = rows[-len(found.heads) :]
    assert columns.cell == cell
    shown = len(columns.texts)
    assert shown == min(found.keys, width - 16)
    for position in map(int, re.findall(r"\d+", ruler.partition("nats")[0])):
        at = 5 + (position - columns.position) * cell
        assert ruler[at:].startswith(str(position))
        for head, line in zip(found.heads, map_rows, strict=True):
            drawn = line[at].strip()
            assert bool(drawn) == bool(found.weights[head.head, position - found.first_key] >= 0.005)
    labels = rows[rows.index(ruler) - len(columns.labels(30)) : rows.index(ruler)]
    for index, text in enumerate(columns.texts):
        column = [line[5 + index * cell :] for line in labels]
        if cell >= 5:
            assert column[0].startswith(text[: cell - 2])
        else:
            written = "".join(each[:1].strip() for each in column)
            assert (text.replace(" ", "") or "·").startswith(written.rstrip("…") or "nothing")
            assert len(text.strip()) <= 10 or written.endswith("…"), "what is cut says so"


def test_a_token_wider_than_its_column_and_one_without_a_letter_keep_their_place() -> None:
    columns = KeyColumns(0, ("日本", "", "abcdefgh"), 7, 1)
    assert columns.labels(3) == ["  a", "… b", "… …"]
    assert KeyColumns(0, ("日本", "", "abcdefgh"), 7, 6).labels(3) == ["日本        abcd… "]
    assert columns.labels(1) == columns.labels(0) == []


def test_one_line_has_the_tokens_that_are_read_most_each_above_its_column() -> None:
    columns = KeyColumns(1, ("there", " was", " house", " once", " wood"), 8, 2)
    weights = np.array([9, 0.1, 0.001, 0.5, 0.01, 0.3], np.float32)
    assert columns.label_line(weights, 40) == "    house", "nothing else has room"
    assert replace(columns, cell=3).label_line(weights, 40) == "there house wood"
    last = np.array([9, 0, 0, 0, 0, 1], np.float32)
    assert replace(columns, texts=(*columns.texts[:4], " wooden")).label_line(last, 12) == "        woo…"
    assert columns.label_line(last, 10) == ""
    assert columns.label_line(np.zeros(6, np.float32), 40) == ""


@pytest.mark.parametrize("width", [36, 71])
def test_a_low_pane_still_has_the_tokens_above_the_map(width: int) -> None:
    session = tiny_session("llama", text="Hello there, you all")
    do(session, "goto logits@2")
    rows = _drawn(session, "attention", width, 9)
    found = answered("attention", session)
    assert isinstance(found, AttentionMap)
    at = next(y for y, line in enumerate(rows) if line.startswith("head "))
    best = KeyColumns.of(found, width - 16)
    shown = found.weights.mean(axis=0)[best.first :]
    most = int(shown.argmax())
    assert rows[at - 1][5 + most * best.cell :].startswith(best.texts[most].strip()[:3])


def test_a_ruler_has_only_whole_numbers() -> None:
    texts = ("x",) * 40
    assert KeyColumns(0, texts, 995, 1).ruler().split() == [
        "995",
        "1000",
        "1005",
        "1010",
        "1015",
        "1020",
        "1025",
        "1030",
    ]
    assert KeyColumns(0, texts, 0, 3).ruler().startswith("0  1  2  3  ")
    assert len(KeyColumns(0, ("x",), 123_456, 1).ruler()) <= 1


@pytest.mark.parametrize(("name", "said"), [("mamba", "no head reads"), ("rwkv", "gives no weights")])
def test_a_model_without_attention_says_so_in_the_pane(name: str, said: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits")
    assert said in " ".join(_drawn(session, "attention"))


def test_before_the_forward_the_panes_say_what_they_are_for() -> None:
    session = tiny_session()
    assert "no attention has run" in " ".join(_drawn(session, "attention"))
    assert "no cache yet" in " ".join(_drawn(session, "kv"))
    for name in ("attention", "kv"):
        assert pane_named(name).draw(state_at(session), 36, 12)


@pytest.mark.parametrize("width", [20, 36, 80])
@pytest.mark.parametrize("name", (*NAMES, "mamba"))
def test_every_layer_of_the_cache_has_a_row(name: str, width: int) -> None:
    session = tiny_session(name, text="Hello there, you all")
    do(session, "goto logits@2")
    rows = _drawn(session, "kv", width)
    layers = rows[-2:]
    assert [line.split()[0] for line in layers] == ["0", "1"]
    if name == "mistral":
        assert "15-21" in layers[0]
        assert width < 36 or "✂15" in layers[0]
    if name in ("mamba", "bamba"):
        assert "state" in layers[0]


def test_a_key_goes_to_the_cache() -> None:
    assert (pane_named("kv").key, pane_named("attention").key) == ("k", "6")
