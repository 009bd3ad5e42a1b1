"""The report of a comparison: one page, safe to open, that says what a terminal says."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.outcome import (
    ComparedStage,
    Comparison,
    Finding,
    FindingKind,
    Parting,
    SideFacts,
    TokenChances,
    TokenPair,
    Verdict,
)
from llmdbg.errors import OutputError, UsageError
from llmdbg.frontends.reports.comparison import comparison_page
from llmdbg.frontends.reports.files import check_report_file, write_report
from tests.debugger.comparison.sides import planted
from tests.tiny import tiny_model

HOSTILE = '<script>alert(1)</script><img src=x onerror="x">&amp;\x1b[31m\u202e"\''
_VOID = {"meta", "br"}
_ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "h3",
        "p",
        "section",
        "div",
        "span",
        "code",
    ),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "ul", "ol", "li", "mark", "figure"),
    *("figcaption", "svg", "path", "line", "text", "circle", "br"),
}


class _Page(HTMLParser):
    """Fails for tags that are not closed or have no place in a page without scripts, pictures and links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _ALLOWED, tag
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in ("style", "src", "href", "action"), name
            assert "url(" not in (value or ""), value
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def _read(page: str) -> str:
    """The text of a page that is whole and safe."""
    reader = _Page()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader.text


def _made(layers: int = 2, tokens: int = 3, words: str = " word", stages: int = 10) -> Comparison:
    rows = [
        ComparedStage(
            f"{layer}{f'.part_{part}' if part else ''}", layer, 1 + bool(part), 1e-3, 2e-7, 1e-7, 0.0, False, 0,
            (1e-3, 0.0, float("inf"))[:tokens] * -(-tokens // 3) if not part else (),
        )
        for layer in range(layers)
        for part in range(stages)
    ]  # fmt: skip
    ids = tuple(range(tokens))
    side = SideFacts(
        words, "cpu float32", "sdpa", (1, 2), ids, words * tokens, words, (words,) * tokens, {"torch": "2"}
    )
    finding = Finding(FindingKind.WEIGHTS, "1.part_3", words, 2e-3, 40.0)
    pair = TokenPair(1, 2, words, words)
    chances = (TokenChances(1, words, 0.5, None), TokenChances(2, words, 0.4, float("nan")))
    parting = Parting(1, pair, 0.02, True, chances)
    return Comparison(side, side, Verdict.DIVERGED, words, (finding,), tuple(rows), parting, None, (words,))


def test_a_page_needs_no_script_and_no_network_and_says_what_a_terminal_says() -> None:
    """Every tag is one of a plain page, its policy forbids the rest, and the numbers are there."""

    def scale(model: PreTrainedModel) -> None:
        model.model.layers[1].self_attn.scaling *= 1.2

    found = planted(tiny_model("llama"), scale)
    page = comparison_page(found)
    assert "default-src 'none'" in page
    text = _read(page)
    assert found.sentence in text
    assert all(each.address in text for each in found.stages)
    assert f"torch{torch.__version__}" in text
    assert page.count("<svg viewBox") == 5  # the curves, and a key for each
    assert 'class="first"' in page


def test_untrusted_text_is_shown_and_never_parsed() -> None:
    """A model's name, text, token, prompt, note and finding are data wherever they stand."""
    page = comparison_page(_made(words=HOSTILE))
    text = _read(page)
    assert text.count("<script>alert(1)</script>") >= 8
    assert "\x1b" not in unescape(page)
    assert "\u202e" not in unescape(page)


def test_the_token_where_the_texts_part_is_marked() -> None:
    """In both texts, with the likeliest tokens and how near they were."""
    page = comparison_page(_made())
    assert page.count("<mark> word</mark>") == 2
    assert "by 0.02 nats, a near-tie" in _read(page)
    assert "50.0%" in page
    ended = replace(_made(), candidate=replace(_made().candidate, ids=(0,), tokens=(" word",)))
    assert "<mark>ends here</mark>" in comparison_page(ended)


def test_thirty_layers_and_many_tokens_fit_into_300_kilobytes() -> None:
    """A page of a model of 30 layers with 14 stages each, and of a long text, can still be sent by mail."""
    assert len(comparison_page(_made(layers=30, tokens=200, stages=15)).encode()) < 300_000


@pytest.mark.parametrize("stages", [(), None])
def test_a_page_without_stages_or_findings_is_whole(stages: tuple[ComparedStage, ...] | None) -> None:
    """What was not compared has no section."""
    made = _made()
    page = comparison_page(
        replace(made, findings=(), parting=None, notes=(), stages=made.stages if stages is None else ())
    )
    assert ("Every stage" in page) == (stages is None)
    _read(page)


def test_a_file_is_private_and_one_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    """Before anything is loaded, in a line that says why."""
    target = tmp_path / "report.html"
    check_report_file(target)
    assert re.search(r"report.html \([\d,]+ bytes\)$", write_report(_made(), target))
    assert target.stat().st_mode & 0o777 == 0o600
    link, folder = tmp_path / "link.html", tmp_path / "folder.html"
    link.symlink_to(target)
    folder.mkdir()
    for path, why in (
        (tmp_path / "report.txt", "ends in .html"),
        (tmp_path / "none" / "report.html", "there is no folder"),
        (link, "it is a link"),
        (folder, "not a regular file"),
    ):
        with pytest.raises(UsageError, match=why):
            check_report_file(path)
    with pytest.raises(OutputError, match="cannot write"):
        write_report(_made(), tmp_path / "none" / "report.html")
    assert list(folder.iterdir()) == []


def test_a_fault_between_layers_is_marked_and_drawn() -> None:
    """What runs in no layer, such as a rotary embedding, belongs to the next stage of the outline."""

    def turn(model: PreTrainedModel) -> None:
        model.model.rotary_emb.inv_freq = model.model.rotary_emb.inv_freq * 0.7

    found = planted(tiny_model("llama"), turn)
    assert found.first is not None
    assert found.first.address == "model.rotary_emb"
    page = comparison_page(found)
    assert ">model.rotary_emb</text>" in page
    assert '<tr class="first"><th scope="row">0</th>' in page
    assert "<title>model.rotary_emb: " in page
