"""From text to ids and back, with Mistral's own tokenizer among others."""

import copy
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import transformers
from tokenizers.processors import TemplateProcessing

from llmdbg.errors import PromptError
from llmdbg.models.tokens import TokenizerVocabulary, encode_prompt
from tests.sessions import tiny_tokenizer

QUESTION = "Can you write an email explaining what an LLM is?"
IDS = (1, 2418, 368, 3324, 396, 4927, 20400, 767, 396, 16704, 28755, 349, 28804)


def mistral_file() -> Path:
    """Mistral's own SentencePiece file, as the package mistral-common carries it."""
    package = find_spec("mistral_common")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "data" / "tokenizer.model.v1"


@pytest.fixture(scope="module")
def bare_folder(tmp_path_factory):
    """A folder that holds only that file and a configuration."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copy(mistral_file(), folder / "tokenizer.model")
    transformers.MistralConfig().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bare(bare_folder):
    return transformers.AutoTokenizer.from_pretrained(bare_folder)


@pytest.fixture(scope="module")
def mistral(bare_folder, tmp_path_factory):
    """The tokenizer as a Mistral folder carries it: as a LlamaTokenizer with its own settings."""
    folder = tmp_path_factory.mktemp("mistral")
    transformers.LlamaTokenizer.from_pretrained(bare_folder, add_bos_token=True).save_pretrained(folder)
    shutil.copy(mistral_file(), folder / "tokenizer.model")
    transformers.MistralConfig().save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_the_walk_through(mistral):
    prompt = encode_prompt(mistral, QUESTION)
    tokens = [TokenizerVocabulary(mistral).token(id) for id in prompt.ids]

    assert prompt.ids == IDS
    assert prompt.notes == ()
    assert (tokens[0].piece, tokens[0].special) == ("<s>", True)
    pieces = "<s> ▁Can ▁you ▁write ▁an ▁email ▁explaining ▁what ▁an ▁LL M ▁is ?"
    assert [token.piece for token in tokens] == pieces.split()
    assert [token.text for token in tokens[9:12]] == [" LL", "M", " is"]


def test_a_bare_auto_tokenizer_feeds_another_id_and_that_is_said(bare):
    prompt = encode_prompt(bare, QUESTION)

    assert prompt.ids == tuple(bare(QUESTION)["input_ids"]), "what transformers feeds is what must be shown"
    assert prompt.ids == (6325, *IDS[2:])
    assert any("no <s> in front" in note for note in prompt.notes)
    [note] = [note for note in prompt.notes if "tokenizer.model" in note]
    assert "2418 '▁Can'" in note
    assert "6325 'Can'" in note


def test_mistral_commons_own_library_agrees(mistral):
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

    assert tuple(SentencePieceTokenizer(mistral_file()).encode(QUESTION, bos=True, eos=False)) == IDS


def test_a_byte_level_vocabulary_shows_spaces_and_spells_half_characters():
    tokenizer = tiny_tokenizer()
    vocabulary = TokenizerVocabulary(tokenizer)
    prompt = encode_prompt(tokenizer, "The quick ☂")
    tokens = [vocabulary.token(id) for id in prompt.ids]

    assert "".join(token.text for token in tokens[:-3]) == "The quick "
    assert [token.text for token in tokens[-3:]] == ["<0xE2>", "<0x98>", "<0x82>"]
    assert prompt.notes == ()


def test_a_chat_goes_through_the_template_once():
    tokenizer = tiny_tokenizer()
    prompt = encode_prompt(tokenizer, "Hi", chat=True, system="Be kind.")

    assert prompt.text == "<|system|>Be kind.<|user|>Hi<|assistant|>"
    specials = [id for id in prompt.ids if TokenizerVocabulary(tokenizer).token(id).special]
    assert len(specials) == 0 or tokenizer.convert_ids_to_tokens(specials)[0] == "<|system|>"


TWICE = "<s> is in front twice"


def test_a_bos_in_the_text_that_the_tokenizer_adds_as_well_is_noted(mistral):
    prompt = encode_prompt(mistral, f"<s>{QUESTION}")
    assert prompt.ids[:2] == (1, 1)
    why = "the text begins with it, and the tokenizer adds it as well: leave it out of the text"
    assert prompt.notes == (f"{TWICE}: {why}",)
    assert not any(TWICE in note for note in encode_prompt(mistral, f"{QUESTION}<s>").notes)


@pytest.mark.parametrize(
    ("template", "text", "twice"),
    [
        ("{{ bos_token }}{{ messages[0].content }}", "Hi", False),
        ("{{ bos_token }}{{ messages[0].content }}", "<s>Hi", True),
        ("{{ bos_token }}{{ bos_token }}{{ messages[0].content }}", "Hi", True),
        ("{{ messages[0].content }}", "<s>Hi", False),
    ],
)
def test_a_bos_that_a_chat_has_twice_is_noted(mistral, template, text, twice):
    tokenizer = copy.deepcopy(mistral)
    tokenizer.chat_template = template
    prompt = encode_prompt(tokenizer, text, chat=True)
    assert (prompt.ids[:2] == (1, 1)) is twice
    assert any(f"{TWICE}: the chat template" in note for note in prompt.notes) is twice


def test_whatever_a_tokenizer_puts_in_front_is_noticed_twice():
    tokenizer = tiny_tokenizer()
    start, user = (tokenizer.convert_tokens_to_ids(each) for each in ("<|system|>", "<|user|>"))
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<|system|> <|user|> $A", special_tokens=[("<|system|>", start), ("<|user|>", user)]
    )
    prompt = encode_prompt(tokenizer, "<|system|><|user|>Hello")
    assert prompt.ids[:4] == (start, user, start, user)
    assert "<|system|><|user|> is in front twice" in prompt.notes[0]
    assert not any("twice" in note for note in encode_prompt(tokenizer, "<|user|>Hello").notes)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_prompt_is_refused(text):
    with pytest.raises(PromptError, match="empty"):
        encode_prompt(tiny_tokenizer(), text)


def test_a_chat_without_a_template_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(PromptError, match="no chat template"):
        encode_prompt(tokenizer, "Hi", chat=True)


def test_a_template_that_refuses_is_told():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('system messages are not allowed') }}"
    with pytest.raises(PromptError, match="refused these messages: system messages are not allowed"):
        encode_prompt(tokenizer, "Hi", chat=True)


def test_an_id_beyond_the_vocabulary_has_a_name():
    assert TokenizerVocabulary(tiny_tokenizer()).token(100_000).text == "<id 100000>"


def test_without_a_tokenizer_bytes_are_fed_and_that_is_said():
    prompt = encode_prompt(None, "Hé", vocabulary_size=300)

    assert prompt.ids == tuple("Hé".encode())
    assert "bytes" in prompt.notes[0]
    assert TokenizerVocabulary(None).decode(prompt.ids) == "Hé"
