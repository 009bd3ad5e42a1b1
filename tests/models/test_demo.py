"""The demo model: a GGUF file, converted once."""

import pytest
import torch
import transformers

from llmdbg.errors import (
    LoadError,
)
from llmdbg.models import demo
from llmdbg.models.loading import load
from llmdbg.models.spec import LoadProgress, ModelSpec
from tests.models.refusals import spec


@pytest.mark.slow
def test_a_gguf_file():
    heard: list[LoadProgress] = []
    loaded = load(spec(demo.demo_file()), heard.append)

    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.decode(loaded.tokenizer("Hello there")["input_ids"]) == "Hello there"
    converting = [each for each in heard if each.stage == "converting"]
    assert converting[-1].done == (converting[-1].total or 0) > 80_000_000


@pytest.mark.slow
def test_the_demo_model_is_converted_once_and_is_the_gguf(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "cache_folder", lambda: tmp_path)
    heard: list[LoadProgress] = []
    first = load(ModelSpec("smollm2"), heard.append)
    assert "converting" in {each.stage for each in heard}
    heard.clear()
    second = load(ModelSpec("smollm2"), heard.append)
    assert "converting" not in {each.stage for each in heard}

    folders = list(tmp_path.iterdir())
    assert len(folders) == 1, "nothing half-written may be left"
    source = demo.demo_file()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype="float32")
    wanted = theirs.state_dict()
    for loaded in (first, second):
        got = loaded.model.state_dict()
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert second.tokenizer is not None
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    chat = [{"role": "user", "content": "Hi ☂"}]
    assert second.tokenizer.apply_chat_template(chat, tokenize=False) == tokenizer.apply_chat_template(
        chat, tokenize=False
    )
    assert second.tokenizer("Hi ☂\n  x")["input_ids"] == tokenizer("Hi ☂\n  x")["input_ids"]


@pytest.mark.slow
def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "cache_folder", lambda: tmp_path)

    def full(*_arguments, **_settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers.LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(LoadError, match="No space left on device"):
        load(ModelSpec("smollm2"))

    assert list(tmp_path.iterdir()) == []
