"""Text from a model or a file is shown, never obeyed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.frontends.visible import quoted, visible


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
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_nothing_a_terminal_would_obey_is_left(text):
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in visible(text))
    assert quoted(text) == f'"{visible(text)}"'
