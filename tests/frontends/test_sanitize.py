"""Text from a model or a file is shown, never obeyed."""

import ast
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.frontends.sanitize import marked, piece_text, quoted, sanitize, spell_tokens_in_ascii, token_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred", "␛[31mred"),
        ("a\nb\tc\r", "a⏎b⇥c␍"),
        ("\u202eevil", "‹U+202E›evil"),
        ("\u200b", "‹U+200B›"),
        ("\x9b2J", "‹U+009B›2J"),
        ("\ud800", "‹U+D800›"),
        ("☂ é 日本", "☂ é 日本"),
        ("[bold]", "[bold]"),
    ],
)
def test_what_is_shown(text, shown):
    assert sanitize(text) == shown


@given(st.text(st.characters()))
def test_nothing_a_terminal_would_obey_is_left(text):
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in sanitize(text))
    assert quoted(text) == f'"{sanitize(text)}"'


@pytest.fixture
def ascii_only():
    spell_tokens_in_ascii(True)
    yield
    spell_tokens_in_ascii(False)


@pytest.mark.usefixtures("ascii_only")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" quick", "\\_quick"),
        ("a.b$c_d", "a.b$c_d"),
        ("\n\t\r", "\\n\\t\\r"),
        ("a\\_b", "a\\\\_b"),
        ("\x1b[0m\x00", "\\x1b[0m\\x00"),
        ("é中🚀", "\\xe9\\u4e2d\\U0001f680"),
        ("\u202e", "\\u202e"),
    ],
)
def test_what_is_shown_in_ascii(text, shown):
    assert marked(text) == shown


@given(st.text(st.characters()))
def test_in_ascii_no_two_texts_are_shown_alike(text):
    spell_tokens_in_ascii(True)
    try:
        shown = marked(text)
    finally:
        spell_tokens_in_ascii(False)
    assert shown.isascii()
    assert shown.isprintable()
    read = "\\\\".join(part.replace("\\_", " ") for part in shown.split("\\\\"))
    assert ast.literal_eval('"' + read.replace('"', '\\"') + '"') == text


@pytest.mark.usefixtures("ascii_only")
@pytest.mark.parametrize(
    ("piece", "text", "shown"),
    [
        ("ĠCan", " Can", "\\_Can"),
        ("▁Can", "Can", "\\_Can"),
        ("ĊĊ", "\n\n", "\\n\\n"),
        ("Can", "Can", "Can"),
        ("Ġ", "Ġ", "\\u0120"),
        ("<|im_start|>", "<|im_start|>", "<|im_start|>"),
    ],
)
def test_pieces_in_ascii_show_the_blanks_they_begin_with(piece, text, shown):
    assert piece_text(piece, text) == shown


@pytest.mark.parametrize(
    ("piece", "text", "shown"),
    [
        ("ĠCan", " Can", "·Can"),
        ("▁Can", "Can", "·Can"),
        ("ĊĊ", "\n\n", "⏎⏎"),
        ("Ġ", "Ġ", "Ġ"),
        ("a\x1bb", "a\x1bb", "a␛b"),
    ],
)
def test_blanks_of_pieces_are_plain_to_see(piece, text, shown):
    assert piece_text(piece, text) == shown


def test_tokens_are_as_they_are_elsewhere():
    assert token_text("中") == "中"
