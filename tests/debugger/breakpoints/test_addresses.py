"""From what a person types to stages, and a near name where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.debugger.breakpoints.addresses import AddressBook
from llmdbg.errors import AddressError
from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import Stage, StageKind
from tests.sessions import tiny_session
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def book():
    return AddressBook(dissect(tiny_model("llama")), [Stage(StageKind.PROCESSOR, "sample.top_p")])


@pytest.mark.parametrize(
    ("typed", "named", "token"),
    [
        ("tokenize", {"tokenize"}, None),
        ("embed", {"embed"}, None),
        ("1", {"1"}, None),
        ("layer 1", {"1"}, None),
        ("layer 1.mlp", {"1.mlp"}, None),
        ("1.mlp.down_proj", {"1.mlp.down_proj"}, None),
        ("norm", {"norm"}, None),
        ("logits", {"logits"}, None),
        ("sample", {"sample"}, None),
        ("sample.top_p", {"sample.top_p"}, None),
        ("*.mlp", {"0.mlp", "1.mlp"}, None),
        ("0-1", {"0", "1"}, None),
        ("layers 0-1", {"0", "1"}, None),
        ("0-1.self_attn", {"0.self_attn", "1.self_attn"}, None),
        ("1@5", {"1"}, 5),
        (" *.mlp @ 12 ", {"0.mlp", "1.mlp"}, 12),
        ("model.layers.1.mlp", {"1.mlp"}, None),
    ],
)
def test_what_is_typed_names_stages(book, typed, named, token):
    target = book.resolve(typed)

    assert (set(target.addresses), target.token) == (named, token)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("mpl", "'0.mlp'"),
        ("logit", "'logits'"),
        ("0.slf_attn", "'0.self_attn'"),
        ("tokenise", "'tokenize'"),
        ("7", "0 to 1"),
        ("0-9", "0 to 1"),
        ("12.mlp", "0 to 1"),
        ("sample.topp", "'sample.top_p'"),
        ("1@x", "number of a generated token"),
        ("", "there are, among others, 'tokenize', 'embed', '0'"),
        ("*.nothing", "there are, among others, "),
    ],
)
def test_what_names_nothing_is_told_with_what_does(book, typed, hint):
    with pytest.raises(AddressError, match=r"^[^\n]+$") as caught:
        book.resolve(typed)
    assert hint in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_resolves_or_is_refused(text):
    book = AddressBook(_ANATOMY)
    try:
        assert book.resolve(text).addresses
    except AddressError as error:
        assert str(error)


_ANATOMY = dissect(tiny_model("gpt2"))


def test_no_address_is_taken_that_a_session_file_could_not_hold():
    book = tiny_session().run.stages.addresses
    for text in ("[0" + "0" * 320 + "].mlp", "layer" + " " * 500 + "0"):
        with pytest.raises(AddressError, match="at most 300 characters"):
            book.resolve(text)
