"""The panes of attention and of the KV cache: readable at 36 by 12, and with the numbers of this run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.cells import cell_len

from llmdbg.debugger.debugger import Debugger
from llmdbg.frontends.tui.panes import pane_named
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
    assert rows[0].startswith("1.self_attn mean of")
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
    assert rows[0].startswith("0.self_attn head 2")
    read = found.heads[2].reads[0]
    line = next(line for line in rows if line.split()[0] == str(read.position) and "%" in line)
    assert f"{100 * read.weight:.0f}%" in line


def test_columns_end_with_the_latest_key() -> None:
    session = tiny_session("llama", text="Hello there, you all")
    do(session, "goto logits@2")
    (legend,) = [line for line in _drawn(session, "attention") if "keys" in line]
    assert " to 21 " in legend


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
