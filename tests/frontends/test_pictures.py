"""Pictures of answers: what is larger is darker, texts are shown and never parsed, equal answers give equal bytes."""

from __future__ import annotations

import importlib.util
import io
import xml.etree.ElementTree as ElementTree
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from llmdbg.errors import CommandError
from llmdbg.frontends.export import export
from llmdbg.frontends.pictures import picture
from llmdbg.frontends.pictures.canvas import printable
from llmdbg.frontends.pictures.heatmap import draw_heatmap
from llmdbg.probes.attribution import Attribution, AttributionTerm
from llmdbg.probes.lens import Lens
from llmdbg.probes.lens_table import LensTable, lens_table
from tests.sessions import do, tiny_session

HOSTILE = ("$x_1$", "<script>&", "\x1b[31m", "\u202e", "日本", "🦊", "\\frac{1}{2}", "")


def pixels(data: bytes) -> np.ndarray:
    return np.rint(255 * np.asarray(imread(io.BytesIO(data)), dtype=float)[..., :3]).mean(axis=2)


def texts(data: bytes) -> str:
    return "\n".join(each.text or "" for each in ElementTree.fromstring(data.decode()).iter() if each.text)


def of(values: list[list[float | None]], format: str = "png", **more: object) -> bytes:
    names = {"rows": [str(y) for y in range(len(values))], "columns": [str(x) for x in range(len(values[0]))]}
    return draw_heatmap(values, **{**names, "title": "a title", "format": format, **more})  # type: ignore[arg-type]


def test_the_larger_is_the_darker() -> None:
    light, dark = (pixels(of([[value] * 20] * 10, low=0, high=1)) for value in (0.1, 0.9))
    middle = tuple(each // 2 for each in light.shape)
    assert dark[middle] < light[middle] - 50


def test_what_is_no_number_is_grey() -> None:
    image = pixels(of([[None] * 20] * 10, low=0, high=1))
    assert image[image.shape[0] // 2, image.shape[1] // 2] == 0xDD
    assert np.array_equal(image, pixels(of([[float("nan")] * 20] * 10, low=0, high=1)))


@pytest.mark.parametrize("format", ["png", "svg"])
def test_equal_answers_give_equal_bytes(format: str) -> None:
    assert of([[0.1, 0.9]], format) == of([[0.1, 0.9]], format)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("format", ["png", "svg"])
def test_any_text_is_drawn_and_none_is_obeyed(text: str, format: str) -> None:
    data = of([[0.5]], format, rows=[text], columns=[text], cells=[[text]], title=text, subtitle=text)
    if format == "svg":
        found = texts(data)
        assert found.count(printable(text)) >= 3 or not text
        assert "\x1b" not in found
        assert "<script" not in data.decode()


def test_what_the_font_cannot_draw_is_spelled() -> None:
    assert printable("a🦊") == "a‹U+1F98A›"
    assert printable(" café ⏎") == " café ⏎"


def test_the_lens_has_its_layers_tokens_and_ranks() -> None:
    session = tiny_session()
    do(session, "goto sample@1")
    table = do(session, "info lens").data
    found = texts(picture(table, "svg"))
    for row in table.rows:
        assert row.address in found
        assert f"#{row.followed[0].rank:,}" in found
    assert "logit lens" in found


def test_an_attribution_has_a_bar_for_each_part() -> None:
    session = tiny_session()
    do(session, "goto sample@1")
    value = do(session, "info attribution").data
    found = texts(picture(value, "svg"))
    assert all(each.address in found for each in value.terms)
    assert f"{value.sum:.3f}" in found


def test_attention_has_its_heads_and_tokens() -> None:
    session = tiny_session(text="Hello")
    do(session, "goto 1")
    found = texts(picture(do(session, "info attention").data, "svg"))
    assert all(f"head {head}" in found for head in range(4))
    assert all(letter in found for letter in "Helo")


def test_from_a_command_into_a_file(tmp_path: Path) -> None:
    session = tiny_session()
    session.exporter = export
    do(session, "goto 1")
    for topic in ("lens", "attention", "attribution"):
        do(session, f"info {topic} > {tmp_path}/{topic}.png")
        do(session, f"info {topic} > {tmp_path}/{topic}.svg")
        assert min(pixels((tmp_path / f"{topic}.png").read_bytes()).shape) > 100
        ElementTree.parse(tmp_path / f"{topic}.svg")


@pytest.mark.slow
def test_many_followed_tokens_are_cut_and_it_is_said() -> None:
    lens = Lens(4, None, None, torch.nn.Linear(4, 200))
    vectors = {str(layer): torch.randn(4) for layer in range(80)}
    table = lens_table(lens, vectors, {}, str, position=0, follow=range(100))
    data = picture(table, "png")
    assert max(pixels(data).shape) < 4000
    assert "of the first 8 of 100 followed tokens" in " ".join(texts(picture(table, "svg")).split())


def test_what_is_not_finite_has_a_picture_and_nothing_at_all_has_none() -> None:
    lens = Lens(4, None, None, torch.nn.Linear(4, 9))
    broken = torch.full((1, 9), float("nan"))
    table = lens_table(lens, {"0": torch.randn(4)}, {}, str, position=0, own=("logits", broken))
    assert "has no probability" in texts(picture(table, "svg"))
    values = (float("nan"), float("inf"), -float("inf"), 2.0)
    terms = tuple(AttributionTerm(f"{n}.mlp", "mlp", n, value) for n, value in enumerate(values))
    assert "3.mlp" in texts(picture(Attribution(1, "a", 0, "3", terms, float("nan"), 1.0, None, ()), "svg"))
    with pytest.raises(CommandError, match="no picture yet"):
        picture(LensTable(0, (), None, None, None, model=False), "svg")


def test_a_longer_bar_is_a_larger_part() -> None:
    terms = tuple(AttributionTerm(f"{n}.mlp", "mlp", n, value) for n, value in enumerate((4.0, 2.0, -1.0, 0.0)))
    drawn = imread(io.BytesIO(picture(Attribution(1, "a", 0, "3", terms, 5.0, 5.0, None, ()), "png")))
    image = np.rint(255 * np.asarray(drawn)[..., :3])
    orange = (image == (0xFF, 0x7F, 0x0E)).all(axis=2).sum(axis=1)
    bars = [int(max(group)) for filled, group in groupby(orange, lambda row: row > 0) if filled]
    # The first is the legend's.
    assert len(bars) == 4
    assert bars[1] / bars[3] == pytest.approx(4, rel=0.05)
    assert bars[2] / bars[3] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("value", ["a sentence", (), 3])
def test_what_has_no_picture_is_said(value: object) -> None:
    with pytest.raises(CommandError, match="no picture"):
        picture(value, "svg")


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CommandError, match=r"pip install 'llm-generation-debugger\[pictures\]'"):
        picture("anything", "svg")
