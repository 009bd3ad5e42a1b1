"""Adapters beside a model's weights: applied, or refused."""

import importlib.util
import json
import shutil
import warnings

import pytest
import torch

from llmdbg import open_session
from llmdbg.errors import DamagedFileError, ModelRequestError, WeightsError
from llmdbg.models.loading import load
from tests.models.refusals import refusal, spec

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}


def with_adapter(folder, **changes):
    """Put an adapter's configuration into a folder."""
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}))
    return folder


@pytest.fixture
def peft_installed(monkeypatch):
    """A PEFT that is there to be found, whether it is installed or not."""
    real = importlib.util.find_spec
    monkeypatch.setattr("llmdbg.models.adapters.importlib.util.find_spec", lambda name: name == "peft" or real(name))


def test_without_peft_the_base_model_is_not_run_unsaid(a_copy, monkeypatch):
    folder = with_adapter(a_copy())
    monkeypatch.setattr("llmdbg.models.adapters.importlib.util.find_spec", lambda _name: None)
    message = refusal(folder, ModelRequestError)
    assert "adapter_config.json" in message
    assert "pip install peft" in message
    # Random weights are nobody's, adapted or not.
    assert load(spec(folder, random_weights=True)).model is not None
    (folder / "adapter_config.json").unlink()
    assert load(spec(folder)).notes == ()


@pytest.mark.usefixtures("peft_installed")
def test_an_adapter_without_its_weights(a_copy):
    folder = with_adapter(a_copy())
    assert "no adapter_model.safetensors" in refusal(folder, DamagedFileError)
    (folder / "adapter_model.bin").write_bytes(b"anything")
    assert "--allow-pickle" in refusal(folder, ModelRequestError)
    (folder / "adapter_config.json").write_text("[]")
    assert "not a configuration" in refusal(folder, DamagedFileError)


@pytest.fixture
def adapted(a_copy, tmp_path):
    """A folder with weights and an adapter, and its adapted model as PEFT runs it."""
    import peft

    folder = a_copy()
    model = load(spec(folder)).model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT uses names that transformers deprecates
        tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, each in tuned.named_parameters():
            if "lora_" in name:
                each.normal_(0, 0.5)
    tuned.save_pretrained(tmp_path / "adapter")
    for file in (tmp_path / "adapter").glob("adapter_*"):
        shutil.copy(file, folder)
    return folder, tuned.eval()


def test_an_adapter_is_applied_and_told(adapted):
    folder, tuned = adapted
    loaded = load(spec(folder))

    assert loaded.notes == ("the adapter in the model's folder (LORA, rank 2) is applied by PEFT",)
    assert loaded.weights.rows() == ()
    ids = torch.arange(10)[None]
    assert torch.equal(loaded.model(ids).logits, tuned(ids).logits)
    with open_session(folder, "Hello", max_new_tokens=2, greedy=True) as session:
        session.do("break 1.self_attn.q_proj.lora_A.default")
        session.do("continue")
        session.do("delete")
        session.do("continue")
        assert session.do("verify").data.differs is None


def test_what_is_missing_from_the_model_or_from_its_adapter_is_named(adapted):
    from safetensors.torch import load_file, save_file

    folder, _ = adapted
    whole = load_file(folder / "adapter_model.safetensors")
    lost = sorted(whole)[0]
    save_file({name: whole[name] for name in whole if name != lost}, folder / "adapter_model.safetensors")
    with pytest.raises(WeightsError) as caught:
        load(spec(folder))
    assert len(caught.value.differences.missing) == 1
    assert "lora_A" in caught.value.differences.missing[0]

    save_file(whole, folder / "adapter_model.safetensors")
    base = load_file(folder / "model.safetensors")
    del base["model.norm.weight"]
    save_file(base, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        load(spec(folder))
    assert caught.value.differences.missing == ("model.norm.weight",)
