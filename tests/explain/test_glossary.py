"""The glossary: complete, findable, and in the same plain words throughout."""

from __future__ import annotations

import re

import pytest

from llmdbg.explain.glossary import GLOSSARY, TERM_NAMES, nearest_names, term, terms_in

WANTED = (
    "token tokenizer vocabulary embedding vector matrix tensor layer attention head query key value prefill decode "
    "RoPE position MLP activation norm logit softmax probability temperature top-k top-p min-p greedy sampling entropy "
    "EOS BPE dtype bfloat16 quantisation parameter weight perplexity surprise attribution NaN breakpoint branch GQA"
)
PHRASES = ("residual stream", "KV cache", "sliding window", "repetition penalty", "chat template", "special token")
MORE = ("context length", "logit lens")


@pytest.mark.parametrize("word", [*WANTED.split(), *PHRASES, *MORE])
def test_every_word_that_is_needed_has_an_entry(word: str) -> None:
    assert term(word) is not None


def test_case_hyphens_and_plurals_do_not_matter() -> None:
    assert term("Top P") == term("top-p") == term("top_p")
    assert term("LOGITS") == term("logit")
    assert term("tokens") == term("token")
    assert term("no such word") is None


@pytest.mark.parametrize("entry", GLOSSARY, ids=TERM_NAMES)
def test_an_entry_is_short_plain_and_leads_on(entry) -> None:
    for text in (entry.text, entry.like):
        assert text.isascii()
        assert "!" not in text
        assert re.fullmatch(r"[A-Z\"].*\.", text), text
        assert "  " not in text
    assert len(entry.text) <= 230, "at most three lines on a narrow screen"
    assert len(entry.like) <= 110
    assert entry.see
    for other in entry.see:
        assert term(other) is not None, (entry.name, other)
        assert term(other) != entry


def test_no_two_entries_have_a_name_in_common() -> None:
    names = [name.lower() for entry in GLOSSARY for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


def test_the_nearest_word() -> None:
    assert nearest_names("residul")[0] in ("residual", "residual stream")
    assert "temperature" in nearest_names("temprature")
    assert nearest_names("xyzzyq") == []


def test_terms_are_found_in_the_order_of_the_text_and_not_in_the_models_words() -> None:
    assert terms_in("Softmax turns the logits into probabilities.") == ("softmax", "logits", "probability")
    assert terms_in('the token " attention" came') == ("token",)
    assert terms_in("a headline about monkeys") == ()


def test_an_entry_can_be_said_in_one_sentence():
    for entry in GLOSSARY:
        first = entry.first_sentence
        assert entry.text.startswith(first) and first.endswith(".") and not first.endswith(" al."), entry.name
