"""A folder's tokenizer is a tokenizer, and takes no more time and memory than one does."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch

from llmdbg.errors import DamagedFileError, LlmdbgError, PromptError
from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec
from llmdbg.models.tokens import encode_prompt


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change(path: Path, **values: object) -> None:
    written = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**written, **values}))


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("name", ["LlamaForCausalLM", "GenerationConfig", "AutoConfig", "LlamaConfig", "pipeline"])
def test_a_class_that_is_no_tokenizer_is_refused_and_nothing_is_made_of_it(folder, file, name, monkeypatch):
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"whatever")
    change(folder / file, tokenizer_class=name)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("weights were opened for a tokenizer"))
    with pytest.raises(DamagedFileError, match=f"names {name} as the tokenizer's class"):
        load(ModelSpec(str(folder)))


def test_a_tokenizer_that_asks_for_too_much_is_given_up(folder, monkeypatch):
    monkeypatch.setattr("llmdbg.models.tokenizer_files._SECONDS", 3)
    monkeypatch.setattr("llmdbg.models.tokenizer_files._MEMORY", 2**29)
    change(folder / "tokenizer_config.json", tokenizer_class="ByT5Tokenizer", backend="python", extra_ids=30_000_000)
    began = time.monotonic()
    with pytest.raises(DamagedFileError, match=r"the tokenizer of .* takes more than"):
        load(ModelSpec(str(folder)))
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_file_of_another_kind_that_claims_a_huge_vocabulary_is_given_up(folder, monkeypatch):
    monkeypatch.setattr("llmdbg.models.tokenizer_files._SECONDS", 3)
    monkeypatch.setattr("llmdbg.models.tokenizer_files._MEMORY", 2**29)
    (folder / "tokenizer.json").unlink()
    sizes = {"num_vocab_tokens": 10**9, "default_vocab_size": 10**9, "default_num_special_tokens": 10**9}
    config = {"pattern": "(a+)+$", "version": "v3", **sizes}
    (folder / "tekken.json").write_text(json.dumps({"config": config, "vocab": []}))
    with pytest.raises(LlmdbgError):
        load(ModelSpec(str(folder)))


def test_an_ordinary_folder_is_read_once(folder, monkeypatch):
    monkeypatch.setattr("llmdbg.models.tokenizer_files.run_bounded", lambda *_, **__: pytest.fail("tried first"))
    assert load(ModelSpec(str(folder))).tokenizer is not None


def test_stop_strings_have_a_limit(folder):
    change(folder / "generation_config.json", stop_strings=["x" * 300] * 50)
    with pytest.raises(DamagedFileError, match="characters of stop_strings"):
        load(ModelSpec(str(folder)))


def test_a_tokenizer_without_a_word_for_the_unknown_says_so_in_a_line(folder):
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "x"}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    loaded = load(ModelSpec(str(folder)))
    with pytest.raises(PromptError, match=r"the model's tokenizer failed on this text: .*\[UNK\]"):
        encode_prompt(loaded.tokenizer, "Hello")
