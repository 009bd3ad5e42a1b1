"""A tokenizer that fails, in whatever way: one plain line that names it, and the run goes on where it can."""

import json

import pytest

from llmdbg.cli import main
from llmdbg.models.tokenizer_calls import TokenizerFailedError, ask_tokenizer
from llmdbg.models.tokens import TokenizerVocabulary, encode_prompt
from tests.sessions import tiny_tokenizer

LINE = "the model's tokenizer (TokenizersBackend) fails to decode ids ("


class PanicException(BaseException):
    """As a library written in Rust names it."""


def raising(error):
    def fail(*_arguments, **_more):
        raise error

    return fail


@pytest.mark.parametrize("error", [ValueError("no\nsuch thing"), Exception(), PanicException("at src/lib.rs")])
def test_whatever_a_tokenizer_raises_is_one_line(error):
    with pytest.raises(TokenizerFailedError) as caught:
        ask_tokenizer(raising(error))
    assert str(caught.value) in ("no such thing", "Exception", "at src/lib.rs")


def test_what_stops_the_program_is_passed_on():
    with pytest.raises(KeyboardInterrupt):
        ask_tokenizer(raising(KeyboardInterrupt))


@pytest.mark.parametrize("error", [RuntimeError("broken"), PanicException("broken")])
def test_a_text_that_cannot_be_decoded_is_put_together_from_tokens(error):
    tokenizer = tiny_tokenizer()
    ids = tokenizer("The quick brown fox")["input_ids"]
    tokenizer.decode = raising(error)
    vocabulary = TokenizerVocabulary(tokenizer)
    assert TokenizerVocabulary(tokenizer).failure is None
    assert vocabulary.decode([*ids, tokenizer.eos_token_id]) == "The quick brown fox"
    assert vocabulary.failure == f"{LINE}broken): texts are put together from single tokens"
    assert vocabulary.failure in encode_prompt(tokenizer, "The quick").notes


@pytest.mark.parametrize("error", [RuntimeError("broken"), PanicException("broken")])
@pytest.mark.parametrize("method", ["convert_tokens_to_string", "convert_ids_to_tokens"])
def test_a_token_that_cannot_be_decoded_is_shown_as_the_vocabulary_spells_it(error, method):
    tokenizer = tiny_tokenizer()
    [id] = tokenizer("\u00e9")["input_ids"][:1]
    setattr(tokenizer, method, raising(error))
    assert TokenizerVocabulary(tokenizer).text(id) in (f"<id {id}>", tokenizer.backend_tokenizer.id_to_token(id))


def test_a_decoder_that_fails_is_told_in_one_line(capfd, a_copy):
    path = a_copy() / "tokenizer.json"
    # A regular expression that takes exponential time: the library gives up.
    slow = {"type": "Replace", "pattern": {"Regex": "(h+)+$"}, "content": ""}
    written = json.loads(path.read_text())
    decoder = {"type": "Sequence", "decoders": [written["decoder"], slow]}
    path.write_text(json.dumps({**written, "decoder": decoder}))
    assert main([str(path.parent), "-p", "h" * 40 + "!", "--batch", "-n", "2", "-ex", "continue"]) == 0
    out, err = capfd.readouterr()
    assert LINE in out
    assert "a bug in llmdbg" not in out + err
