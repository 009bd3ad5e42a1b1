"""A tokenizer's own steps can make any amount of text of a short one: refused when it is loaded, or before they run."""

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from llmdbg.cli import main
from llmdbg.errors import DamagedFileError, PromptError
from llmdbg.models import tokenizer_growth
from llmdbg.models.tokenizer_growth import check_growth, require_text_stays_short
from llmdbg.models.tokens import TokenizerVocabulary, encode_prompt
from tests.models.refusals import refusal
from tests.sessions import tiny_tokenizer

LONG = "a" * 1000


def times(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def change(folder, **parts):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
    return folder


def post(*pieces, ids=(0,)):
    special = {"id": "<|end|>", "ids": list(ids), "tokens": ["<|end|>"] * len(ids)}
    return {
        "type": "TemplateProcessing",
        "single": list(pieces),
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|end|>": special},
    }


A, END = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end|>", "type_id": 0}}


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("normalizer", sequence("normalizers", *[times("a", LONG)] * 5)),
        ("normalizer", sequence("normalizers", sequence("normalizers", *[times("a", "aaaa")] * 20), times("b", "c"))),
        ("normalizer", times("a", LONG * 100)),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "x*"}, "content": LONG * 11}),
        ("normalizer", {"type": "Prepend", "prepend": LONG * 11}),
        ("decoder", sequence("decoders", *[times("a", LONG)] * 5)),
        ("decoder", {"type": "Replace", "pattern": {"Regex": "x*"}, "content": LONG}),
        ("post_processor", post(*[A] * 1000)),
        ("post_processor", sequence("processors", *[post(A, A, A)] * 12)),
        ("post_processor", post(A, *[END] * 2000)),
        ("post_processor", post(A, *[END] * 40, ids=[0] * 100)),
    ],
)
def test_a_step_that_multiplies_text_is_refused_when_it_is_loaded(a_copy, part, written):
    line = refusal(change(a_copy(), **{part: written}), DamagedFileError)
    assert f"the {part.replace('_', '-')} in the tokenizer of copy" in line and "not to be trusted" in line


def table(*texts):
    import base64

    return base64.b64encode((0).to_bytes(4, "little") + b"\0".join(each.encode() for each in texts)).decode()


def test_a_table_of_characters_is_looked_at():
    written = {"type": "Precompiled", "precompiled_charsmap": table("ab", LONG, "c")}
    assert tokenizer_growth._growth(written) == 1000
    assert tokenizer_growth._growth({"type": "Precompiled", "precompiled_charsmap": "!"}) == 1


def fast(normalizer=None, decoder=None):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.decoder = normalizer, decoder
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.mark.parametrize(
    ("normalizer", "said"),
    [
        (normalizers.Replace("a", "a" * 100), "can make 90.6 MiB of its 927.7 KiB"),
        (normalizers.Sequence([normalizers.Replace("a", "a" * 20)] * 2), "makes 18.1 MiB of it"),
        (normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex("a"), "a" * 90)]), "can make"),
    ],
)
def test_a_text_that_a_normalizer_would_make_too_long_is_refused_before(monkeypatch, normalizer, said):
    tokenizer = fast(normalizer)
    check_growth(tokenizer, "it")
    assert encode_prompt(tokenizer, "a b").ids
    monkeypatch.setattr(type(tokenizer), "__call__", lambda *_, **__: pytest.fail("tokenized"))
    with pytest.raises(PromptError, match="too long for the model's tokenizer") as caught:
        encode_prompt(tokenizer, "a" * 950_000)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        normalizers.NFC(),
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]),
        normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace(Regex(" {2,}"), " ")]),
        normalizers.BertNormalizer(),
    ],
)
def test_an_honest_normalizer_takes_a_long_prompt(normalizer):
    tokenizer = fast(normalizer)
    check_growth(tokenizer, "it")
    require_text_stays_short(tokenizer, "a word and é. " * 100_000)


def test_honest_decoders_and_post_processors_are_taken():
    llama = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    for decoder in (None, decoders.ByteLevel(), decoders.Metaspace(), decoders.WordPiece(), decoders.Sequence(llama)):
        check_growth(fast(decoder=decoder), "it")
    tokenizer = fast()
    for processor in (
        processors.BertProcessing(("[UNK]", 1), ("[UNK]", 1)),
        processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing("a $A a", "$A $B", [("a", 0)])]),
    ):
        tokenizer.backend_tokenizer.post_processor = processor
        check_growth(tokenizer, "it")


def test_a_tokenizer_of_python_has_no_such_steps():
    class Own:
        backend_tokenizer = None

    check_growth(Own(), "it")
    require_text_stays_short(Own(), "a" * 10_000_000)


def test_tokens_of_any_length_are_decoded_within_bounds(a_copy, capfd):
    folder = a_copy()
    path = folder / "tokenizer.json"
    written = json.loads(path.read_text())
    vocabulary = written["model"]["vocab"]
    *_, last = vocabulary
    huge = vocabulary.pop(last)
    vocabulary["q" * 5_000_000] = huge
    written["model"]["merges"] = [each for each in written["model"]["merges"] if "".join(each) in vocabulary]
    path.write_text(json.dumps(written))
    assert main([str(folder), "-p", "hello", "--batch", "-n", "2", "-ex", f"force {huge}", "-ex", "continue"]) in (0, 2)
    assert len("".join(capfd.readouterr())) < 100_000
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
    words = TokenizerVocabulary(tokenizer)
    assert words.text(huge) == f"<id {huge}: 5,000,000 characters>"
    assert words.decode([huge] * 1000).startswith(f"<id {huge}: ")
    assert words.failure is not None and "stand for more than 64 MiB" in words.failure


def test_a_prompt_far_beyond_the_context_is_refused_by_its_beginning(monkeypatch):
    tokenizer, seen = tiny_tokenizer(), []
    own = type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, text, **more: seen.append(len(text)) or own(self, text, **more)
    )
    with pytest.raises(
        PromptError, match=r"first 512 of the prompt's 1,000,000 characters alone are \d+ tokens"
    ) as told:
        encode_prompt(tokenizer, "hello " * 166_666 + "1234", context_length=64)
    assert "context holds 64" in str(told.value)
    assert max(seen) == 512


def test_a_prompt_that_may_fit_is_tokenized_whole():
    tokenizer = tiny_tokenizer()
    text = "The quick brown fox jumps over the lazy dog " * 20
    assert encode_prompt(tokenizer, text, context_length=len(text) // 8).ids == tuple(tokenizer(text)["input_ids"])
