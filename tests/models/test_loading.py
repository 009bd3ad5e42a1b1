"""Loading, and one clear line for everything that can be wrong with a model."""

import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from llmdbg import open_session
from llmdbg.errors import (
    DamagedFileError,
    HubUnreachableError,
    LoadError,
    ModelRequestError,
    OutOfMemoryError,
    WeightsError,
)
from llmdbg.models import memory
from llmdbg.models.load_steps import LoadStep
from llmdbg.models.loading import attention_of, load
from llmdbg.models.spec import LoadProgress
from tests.models.refusals import change_config, refusal, spec


def test_a_folder(tiny_folder):
    heard: list[LoadProgress] = []
    loaded = load(spec(tiny_folder), heard.append)

    assert (loaded.name, loaded.device, loaded.dtype, loaded.attn) == ("tiny", "cpu", "float32", "sdpa")
    assert not loaded.model.training
    assert loaded.notes == ()
    size = (tiny_folder / "model.safetensors").stat().st_size
    assert heard[-1].stage == LoadStep.WEIGHTS
    assert heard[-1].done == heard[-1].total
    assert size * 0.9 < heard[-1].total <= size
    assert [each.done for each in heard[1:]] == sorted(each.done for each in heard[1:])


def test_weights_are_those_of_from_pretrained(tiny_folder):
    ours = load(spec(tiny_folder)).model.state_dict()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder).state_dict()

    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_dtype_and_attention(tiny_folder, dtype, attn):
    loaded = load(spec(tiny_folder, dtype=dtype, attn=attn))

    assert (loaded.dtype, loaded.attn) == (dtype, attn)
    assert loaded.model.dtype is getattr(torch, dtype)


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_the_attention_of_a_model_loaded_elsewhere_is_known(tiny_folder, attn):
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation=attn)
    assert attention_of(model) == attn


def test_random_weights_need_only_the_configuration(tmp_path):
    transformers.MistralConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=300
    ).save_pretrained(tmp_path)
    heard: list[LoadProgress] = []
    loaded = load(spec(tmp_path, random_weights=True, dtype="bfloat16"), heard.append)
    again = load(spec(tmp_path, random_weights=True, dtype="bfloat16"))

    assert loaded.tokenizer is None
    assert loaded.dtype == "bfloat16"
    assert any("random" in note for note in loaded.notes)
    assert heard[-1].stage == "random weights on cpu"
    assert heard[-1].total is not None
    assert heard[-1].done >= 0.9 * heard[-1].total
    first = next(loaded.model.parameters())
    assert torch.equal(first, next(again.model.parameters())), "the same command must give the same weights"
    assert first.float().std() > 0


def test_random_weights_leave_the_callers_random_stream_alone(tiny_folder):
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    load(spec(tiny_folder, random_weights=True))

    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("name", ["./nothing", "/no/such/folder", "a/b/c", "model.gguf", "not a name", ""])
def test_what_is_no_model_at_all(name):
    message = refusal(name, ModelRequestError)
    assert "Hub name, a folder or a .gguf file" in message


def test_the_hub_out_of_reach():
    message = refusal("nobody/nothing-of-that-name", HubUnreachableError)
    assert "local folder" in message


def test_a_model_the_hub_does_not_know(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    answer: Any = SimpleNamespace(headers={}, request=None, status_code=404)

    def unknown(*_arguments, **_settings):
        raise RepositoryNotFoundError("404", response=answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unknown)
    assert "no model 'nobody/nothing'" in refusal("nobody/nothing", ModelRequestError)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"model_type": "mistrall"}, ModelRequestError, "did you mean mistral?"),
        ({"model_type": "t5"}, ModelRequestError, "encoder-decoder"),
        ({"model_type": "clip"}, ModelRequestError, "not a causal language model"),
        ({"num_hidden_layers": 5}, WeightsError, "missing"),
        ({"intermediate_size": 80}, WeightsError, "of another shape"),
        ({"num_attention_heads": 5}, LoadError, ""),
        ({"num_attention_heads": 0}, DamagedFileError, "num_attention_heads is 0"),
        ({"num_hidden_layers": -1}, DamagedFileError, "num_hidden_layers is -1"),
        ({"vocab_size": 0}, DamagedFileError, "vocab_size is 0"),
        ({"num_hidden_layers": "two"}, LoadError, "num_hidden_layers"),
    ],
)
def test_a_configuration_that_does_not_fit(a_copy, changes, kind, words):
    folder = a_copy()
    change_config(folder, **changes)
    assert words in refusal(folder, kind)


def test_weights_with_no_place_in_the_model_are_told(a_copy):
    folder = a_copy()
    change_config(folder, num_hidden_layers=2)
    assert "the model does not use 9 tensors of the weights" in load(spec(folder)).notes[0]


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "generation_config.json"])
def test_a_file_that_is_not_json(a_copy, file):
    folder = a_copy()
    (folder / file).write_text('{"a": ')
    refusal(folder, DamagedFileError)


@pytest.mark.parametrize("text", ["[]", '{"max_new_tokens": -3}', '{"cache_implementation": "none such"}'])
def test_a_generation_config_that_cannot_be_used(a_copy, text):
    folder = a_copy()
    (folder / "generation_config.json").write_text(text)
    assert "generation_config.json" in refusal(folder, DamagedFileError)
    # Nothing reads it there.
    assert load(spec(folder, random_weights=True)).model is not None


def test_a_generation_config_that_is_missing_is_not_missed(a_copy):
    folder = a_copy()
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert load(spec(folder)).notes == ()


def test_not_enough_memory_is_found_out_before_loading(a_copy, monkeypatch):
    folder = a_copy()
    monkeypatch.setattr(memory, "available", lambda _device: 10 * 2**10)
    message = refusal(folder, OutOfMemoryError)
    assert "10 KiB are free" in message
    assert "needs" in message


def test_a_random_seventy_billion_is_refused_by_its_size(tmp_path):
    transformers.LlamaConfig(
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=800,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=128,
    ).save_pretrained(tmp_path)
    message = refusal(tmp_path, OutOfMemoryError, random_weights=True, dtype="bfloat16")
    assert "1.2 TiB" in message


def test_running_out_while_loading_is_told(tiny_folder, monkeypatch):
    def out(*_arguments, **_settings):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 99")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", out)
    refusal(tiny_folder, OutOfMemoryError)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_without_cuda(tiny_folder, device):
    assert "--device cpu" in refusal(tiny_folder, ModelRequestError, device=device)


def test_a_device_that_does_not_exist(tiny_folder):
    assert "auto, cpu, cuda" in refusal(tiny_folder, ModelRequestError, device="tpu")


def test_attention_that_is_not_available(tiny_folder, tmp_path):
    assert "--attn sdpa" in refusal(tiny_folder, ModelRequestError, attn="flash_attention_2", device="cpu")
    config = transformers.MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=320)
    transformers.MptForCausalLM(config).save_pretrained(tmp_path)
    for path in tiny_folder.glob("*token*"):
        shutil.copy(path, tmp_path)
    assert "--attn" in refusal(tmp_path, ModelRequestError, attn="sdpa")


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantisation_that_is_not_available(tiny_folder, quantize, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _: None)
        assert "pip install bitsandbytes" in refusal(tiny_folder, ModelRequestError, quantize=quantize, device="cpu")
    monkeypatch.setattr("bitsandbytes.supported_torch_devices", {"cuda"})
    assert "does not run on cpu" in refusal(tiny_folder, ModelRequestError, quantize=quantize, device="cpu")


@pytest.mark.parametrize(("quantize", "kind"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_quantised_weights_generate_what_generate_does(quantize, kind):
    session = open_session(
        "smollm2", "The capital of France is", greedy=True, max_new_tokens=4, quantize=quantize, device="cpu"
    )
    projection = session.debugger.debuggee.anatomy.modules["12.mlp.down_proj"]
    assert type(projection).__name__ == kind
    session.do("goto 12@2")
    session.do("continue")
    assert session.do("verify").data.differs is None


@pytest.mark.cuda
def test_onto_cuda(tiny_folder, cuda):
    loaded = load(spec(tiny_folder, device="cuda", dtype="bfloat16"))

    assert loaded.device == "cuda:0"
    assert {parameter.device.type for parameter in loaded.model.parameters()} == {"cuda"}
