"""Folders in which a file is missing, damaged, or may not be opened."""

import json

import pytest
import torch

from llmdbg.errors import (
    DamagedFileError,
    LoadError,
    ModelRequestError,
)
from llmdbg.models.loading import load
from tests.models.refusals import change_config, refusal, spec


def test_no_weights(a_copy):
    folder = a_copy()
    (folder / "model.safetensors").unlink()
    assert "no weights" in refusal(folder, LoadError)
    assert load(spec(folder, random_weights=True)).model is not None


def test_no_tokenizer(a_copy):
    folder = a_copy()
    for path in folder.glob("*token*"):
        path.unlink()
    assert "no tokenizer" in refusal(folder, LoadError)


def test_no_configuration(a_copy):
    folder = a_copy()
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(folder, LoadError)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_truncated_safetensors(a_copy, keep):
    path = a_copy() / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)] if isinstance(keep, float) else whole[:keep])
    assert "download it again" in refusal(path.parent, DamagedFileError).lower()


def test_safetensors_with_surplus_bytes(a_copy):
    path = a_copy() / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"more")
    message = refusal(path.parent, DamagedFileError)
    assert "4 bytes more" in message
    assert "download it again" in message


def test_a_missing_shard(a_copy):
    folder = a_copy()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00002-of-00002.safetensors" in refusal(folder, DamagedFileError)


def test_a_git_lfs_pointer(a_copy):
    folder = a_copy()
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    assert "git lfs pull" in refusal(folder, DamagedFileError)


def test_pickled_weights_are_refused_unless_asked_for_by_name(a_copy):
    folder = a_copy()
    state = load(spec(folder)).model.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")

    assert "--allow-pickle" in refusal(folder, ModelRequestError)
    got = load(spec(folder, allow_pickle=True)).model.state_dict()
    assert all(torch.equal(got[name], state[name]) for name in state)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
def test_truncated_pickled_weights(a_copy, legacy, keep):
    folder = a_copy()
    state = load(spec(folder)).model.state_dict()
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)] if isinstance(keep, float) else whole[:keep])
    assert "download" in refusal(folder, DamagedFileError, allow_pickle=True)


def test_pickled_weights_of_the_old_kind(a_copy):
    folder = a_copy()
    state = load(spec(folder)).model.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    got = load(spec(folder, allow_pickle=True)).model.state_dict()
    assert all(torch.equal(got[name], state[name]) for name in state)


def test_a_pickle_that_is_a_git_lfs_pointer(a_copy):
    folder = a_copy()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    assert "git lfs pull" in refusal(folder, DamagedFileError, allow_pickle=True)


def test_remote_code_is_refused_unless_asked_for_by_name(a_copy):
    folder = a_copy()
    change_config(
        folder, model_type="homemade", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    )
    (folder / "own.py").write_text(
        "import pathlib\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "pathlib.Path(__file__).with_name('ran').touch()\n"
        "class Config(LlamaConfig):\n    model_type = 'homemade'\n"
        "class Model(LlamaForCausalLM):\n    config_class = Config\n"
    )
    assert "--trust-remote-code" in refusal(folder, ModelRequestError)
    assert not list(folder.rglob("ran"))
    assert type(load(spec(folder, trust_remote_code=True)).model).__name__ == "Model"
