"""Numbers, sizes, times, lists and near matches, as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.formatting import (
    byte_count,
    counted,
    did_you_mean,
    large_number,
    likeliest,
    listed,
    milliseconds,
    near_matches,
    nearest_or_all,
    percent,
    percent_in_prose,
    percent_of_many,
    quote,
    quote_list,
    seconds,
    shortened,
    significant,
)

shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0, 1, "0.0%"),
        (1, 1, "100.0%"),
        (0.4123, 1, "41.2%"),
        (0.0004, 1, "<0.1%"),
        (0.0006, 1, "0.1%"),
        (0.004, 0, "<1%"),
        (0.006, 0, "1%"),
        (0.00004, 2, "<0.01%"),
        (0.5, 0, "50%"),
        (math.nan, 1, "NaN"),
    ],
)
def test_percentages_in_tables(share: float, decimals: int, text: str) -> None:
    assert percent(share, decimals) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (1e-5, "less than 0.1%"),
        (0.001, "0.1%"),
        (0.0316, "3.2%"),
        (0.0996, "10%"),
        (0.41, "41%"),
        (0.9999, "99.9%"),
        (1, "100%"),
        (10.79, "1079%"),
    ],
)
def test_percentages_in_prose(share: float, text: str) -> None:
    assert percent_in_prose(share) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (1e-9, "<0.001%"), (1.23e-5, "0.00123%"), (0.125, "12.5%"), (1, "100%")]
)
def test_shares_of_many_values(share: float, text: str) -> None:
    assert percent_of_many(share) == text


@given(shares)
def test_what_is_not_nothing_never_reads_as_nothing(share: float) -> None:
    for text in (percent(share), percent(share, 0), percent_in_prose(share), percent_of_many(share)):
        number = float(text.removeprefix("less than ").strip("<%"))
        assert (number == 0) == (share == 0), text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (46080, "45 KiB"),
        (46592, "45.5 KiB"),
        (2**20, "1 MiB"),
        (538_060_032, "513.1 MiB"),
        (2**30 - 1, "1.0 GiB"),
        (14_500_000_000, "13.5 GiB"),
        (3 * 2**40, "3 TiB"),
    ],
)
def test_sizes_are_binary_and_say_so(count: int | None, text: str) -> None:
    assert byte_count(count) == text


@pytest.mark.parametrize(
    ("ms", "decimals", "text"),
    [
        (0.4123, 2, "0.41 ms"),
        (123.456, 1, "123.5 ms"),
        (9.994, None, "9.99 ms"),
        (9.996, None, "10.0 ms"),
        (99.94, None, "99.9 ms"),
        (99.96, None, "100 ms"),
    ],
)
def test_milliseconds(ms: float, decimals: int | None, text: str) -> None:
    assert milliseconds(ms, decimals) == text


def test_seconds() -> None:
    assert (seconds(0.816), seconds(9.99), seconds(13.6)) == ("0.82 s", "9.99 s", "14 s")


def test_counts_and_numbers() -> None:
    assert (counted(1, "token"), counted(0, "token"), counted(49152, "token")) == (
        "1 token",
        "0 tokens",
        "49,152 tokens",
    )
    assert counted(2, "forward pass", "forward passes") == "2 forward passes"
    assert (large_number(912), large_number(49_152), large_number(134_515_008)) == ("912", "49.2 k", "134.5 M")
    assert (large_number(7_240_000_000), large_number(999_999)) == ("7.2 B", "1.0 M")
    assert (significant(0.7), significant(41.23), significant(12345.0)) == ("0.7", "41.2", "1.23e+04")


def test_lists_and_quotes() -> None:
    assert listed([1]) == "1"
    assert listed([1, 2, 3]) == "1, 2 and 3"
    assert listed(["auto", "always", "never"], "or") == "auto, always or never"
    assert quote(" is") == '" is"'
    assert quote_list((" a", "b")) == '" a" and "b"'


def test_the_nearest_word_is_one_that_may_be_meant_or_all_are_listed() -> None:
    assert nearest_or_all("brek", ["step", "break", "breakpoint"]) == "the nearest is 'break'"
    assert nearest_or_all("mpl", ["mlp", "complete"]) == "the nearest is 'mlp'", "of two equally alike, the one as long"
    assert nearest_or_all("zzz", ["step", "break"]) == "there are step and break"


def test_near_matches_leave_out_what_is_not_alike() -> None:
    assert near_matches("temprature", ["temperature", "top_k", "temperate"], most=3) == ["temperature", "temperate"]
    assert near_matches("xyzzyq", ["temperature", "top_k"]) == []
    assert near_matches("attn", ["self_attn"]) == ["self_attn"]
    assert near_matches("attn", ["self_attn"], alike=0.65) == []
    for word, other in (("twelve", "tokenize"), ("list", "lens"), ("foo", "focus"), ("dance", "disable")):
        assert near_matches(word, [other]) == [], word
    assert did_you_mean("llamma", ["gpt2", "llama"]) == " (did you mean llama?)"
    assert did_you_mean("xyzzyq", ["llama"]) == ""


@given(st.text(max_size=12), st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_the_likeliest_of_several_comes_first(word: str, known: list[str]) -> None:
    found = near_matches(word, known, most=len(known))
    assert set(found) <= set(known)
    assert found[:1] == near_matches(word, known)


def test_what_is_far_too_long_is_shown_without_its_middle() -> None:
    plain = "a" * 300 + " " + "b" * 300
    assert shortened(plain) == plain
    assert shortened(f"no {'a' * 1000} here") == f"no {'a' * 120}... (820 more characters) ...{'a' * 60} here"
    assert shortened("ab " * 2000).startswith("ab ab ")


@given(st.integers(0, 5000), st.integers(0, 900), st.integers(0, 30))
def test_a_message_has_a_longest_length(letters: int, words: int, copies: int) -> None:
    text = f"begin {'x' * letters} {'word ' * words}{'y' * letters} " * copies + "end"
    short = shortened(text)
    assert len(short) <= min(len(text), 3000) + 40
    assert shortened(short) == short
    assert short.startswith("begin" if copies else "end") and short.endswith("end")


@pytest.mark.parametrize(
    ("rank", "shown"),
    [
        (1, "the likeliest"),
        (2, "the 2nd likeliest"),
        (3, "the 3rd likeliest"),
        (11, "the 11th likeliest"),
        (21, "the 21st likeliest"),
        (303, "the 303rd likeliest"),
        (1112, "the 1,112th likeliest"),
    ],
)
def test_a_rank_is_said_in_words(rank: int, shown: str) -> None:
    assert likeliest(rank) == shown
