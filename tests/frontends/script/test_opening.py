"""The front door: everything is checked before a model is loaded, and a loaded one is left as it was found."""

from __future__ import annotations

import gc
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

import llmdbg
from llmdbg.errors import AddressError, CommandError, ModelRequestError, PromptError, SettingsError, UsageError
from llmdbg.frontends.script import opening
from llmdbg.models.spec import ModelSpec
from tests.engine.runs import hooks_on
from tests.sessions import tiny_tokenizer
from tests.tiny import tiny_model

REFUSED: list[tuple[dict[str, Any], type[llmdbg.LlmdbgError], str]] = [
    ({"prompt": ""}, PromptError, "the prompt is empty"),
    ({"prompt": " \n"}, PromptError, "the prompt is empty"),
    ({"prompt": "caf\udce9"}, PromptError, "the prompt is not UTF-8 (at character 3)"),
    ({"prompt": ["Hi"]}, UsageError, "prompt takes text, not a list"),
    ({"prompt": None}, UsageError, "prompt takes text, not None"),
    ({"model": 3}, UsageError, "model takes a name, a path, a loaded transformers model or None, not 3"),
    ({"model": torch.nn.Linear(1, 1)}, UsageError, "model takes a name, a path, a loaded transformers model or None"),
    ({"model": ""}, ModelRequestError, "model is a Hub name"),
    ({"tokenizer": tiny_tokenizer()}, UsageError, "tokenizer goes with a loaded model"),
    ({"tokenizer": "gpt2"}, UsageError, "tokenizer takes a transformers tokenizer or None, not 'gpt2'"),
    ({"chat": 1}, UsageError, "chat takes True or False, not 1"),
    ({"system": "Be brief"}, UsageError, "system is a message for the chat template, so it needs chat=True"),
    ({"system": 3, "chat": True}, UsageError, "system takes text or None, not 3"),
    ({"system": "\udce9", "chat": True}, PromptError, "system is not UTF-8"),
    ({"left_pad": -1}, UsageError, "left_pad takes a number from 0 to 100000, not -1"),
    ({"left_pad": 1.5}, UsageError, "left_pad takes a whole number, not 1.5"),
    ({"max_new_tokens": 0}, SettingsError, "max_new_tokens must be from 1 to 2147483647, not 0"),
    ({"max_new_tokens": "9"}, UsageError, "max_new_tokens takes a whole number or None, not '9'"),
    ({"max_new_tokens": True}, UsageError, "max_new_tokens takes a whole number or None, not True"),
    ({"greedy": None}, UsageError, "greedy takes True or False, not None"),
    (
        {"greedy": True, "top_k": 3, "min_p": 0.1},
        SettingsError,
        "greedy takes the likeliest token, so it cannot go with top_k and min_p",
    ),
    ({"temperature": 0}, SettingsError, "temperature 0 means no sampling: use greedy instead"),
    ({"temperature": "hot"}, UsageError, "temperature takes a number or None, not 'hot'"),
    ({"temperature": float("nan")}, SettingsError, "temperature must be a finite number greater than 0, not nan"),
    ({"temperature": float("inf")}, SettingsError, "temperature must be a finite number greater than 0, not inf"),
    ({"temperature": 10**400}, UsageError, "temperature takes a number or None, not 1000"),
    ({"top_k": 2.0}, UsageError, "top_k takes a whole number or None, not 2.0"),
    ({"top_k": -1}, SettingsError, "top_k must be from 1 to 2147483647, or 0 for all tokens, not -1"),
    ({"top_p": -0.1}, SettingsError, "top_p must be from 0 to 1"),
    ({"top_p": 2}, SettingsError, "top_p must be from 0 to 1, which keeps all tokens, not 2"),
    ({"top_p": False}, UsageError, "top_p takes a number or None, not False"),
    ({"min_p": 2}, SettingsError, "min_p must be from 0 to 1"),
    ({"repetition_penalty": 0}, SettingsError, "repetition_penalty must be a finite number greater than 0, not 0"),
    ({"seed": None}, UsageError, "seed takes a whole number, not None"),
    ({"seed": 2**32}, SettingsError, "seed must be from 0 to 4294967295"),
    ({"dtype": "int3"}, UsageError, "dtype takes 'auto', 'float32', 'bfloat16' or 'float16', not 'int3'"),
    ({"dtype": torch.float16}, UsageError, "dtype takes 'auto', 'float32', 'bfloat16' or 'float16', not a dtype"),
    ({"device": torch.device("cpu")}, UsageError, "device takes text, not a device"),
    ({"device": "tpu"}, ModelRequestError, "there is no device 'tpu': device takes auto, cpu, cuda or cuda:N"),
    ({"attn": "fast"}, UsageError, "attn takes 'sdpa', 'eager', 'flash_attention_2' or None, not 'fast'"),
    ({"attn": "flash_attention_2", "device": "cpu"}, ModelRequestError, "use attn sdpa"),
    ({"quantize": "2bit"}, UsageError, "quantize takes '4bit', '8bit' or None, not '2bit'"),
    ({"random_weights": "yes"}, UsageError, "random_weights takes True or False, not 'yes'"),
    ({"trust_remote_code": 1}, UsageError, "trust_remote_code takes True or False, not 1"),
    ({"allow_pickle": 0}, UsageError, "allow_pickle takes True or False, not 0"),
    ({"allow_missing": 1}, UsageError, "allow_missing takes True or False, not 1"),
    ({"breakpoints": "12"}, UsageError, "breakpoints takes a list of strings, not '12'"),
    ({"breakpoints": [12]}, UsageError, "breakpoints[0] takes text, not 12"),
    ({"breakpoints": ["1", "0 if"]}, CommandError, "breakpoints[1]: "),
    ({"commands": ["info lens", "fly"]}, CommandError, "commands[1]: there is no command 'fly'"),
    ({"commands": ["source /nope"]}, CommandError, "commands[0]: cannot read /nope: No such file or directory"),
    ({"commands": ["set temperature 0"]}, SettingsError, "commands[0]: temperature 0 means no sampling"),
    ({"commands": ["info lens", "x 0.mlp > f"]}, CommandError, "commands[1]: what kind of file is 'f'?"),
    ({"commands": 5}, UsageError, "commands takes a list of strings, not 5"),
]


def refusal(error: type[llmdbg.LlmdbgError], model: Any, prompt: Any = "Hi", **more: Any) -> str:
    """What a call that must fail says, in one line and in the words of Python."""
    with pytest.raises(error) as caught:
        llmdbg.open_session(model, prompt, **more)
    message = str(caught.value)
    assert "\n" not in message
    assert "--" not in message
    return message


@pytest.mark.parametrize(("given", "error", "words"), REFUSED, ids=[str(list(given)) for given, _, _ in REFUSED])
def test_what_cannot_be_is_said_before_anything_is_loaded(given, error, words, tiny_folder, monkeypatch):
    sought = []
    monkeypatch.setattr("llmdbg.models.loading.find_source", lambda *given: sought.append(given) or 1 / 0)
    if given.get("model") == "":
        monkeypatch.undo()  # what a name stands for is found out there

    assert words in refusal(error, **{"model": tiny_folder, **given})
    assert not sought


LOADING = {
    "dtype": "float32",
    "device": "cpu",
    "attn": "eager",
    "quantize": "4bit",
    "random_weights": True,
    "trust_remote_code": True,
    "allow_pickle": True,
    "allow_missing": True,
    "engine": "vllm",
}


@pytest.mark.parametrize("name", LOADING)
def test_a_loaded_model_takes_nothing_about_loading(name):
    message = refusal(UsageError, tiny_model("llama"), **{name: LOADING[name]})
    assert message == f"a loaded model takes no {name}, which is for loading: leave it out"


def test_the_parameters_of_loading_are_all_there():
    spec = {each.name for each in fields(ModelSpec)}
    assert spec == {*LOADING, "name"}


def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    assert "there is no folder or file" in refusal(ModelRequestError, Path("gone/model"))
    assert "model is a Hub name, a folder or a .gguf file" in refusal(ModelRequestError, tmp_path / "gone")


def test_errors_from_below_name_python_parameters(a_copy):
    folder = a_copy()
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    assert "add random_weights=True to do without" in refusal(llmdbg.LlmdbgError, folder)
    (folder / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
    template = folder / "chat_template.jinja"
    template.unlink()
    assert "leave chat=True and system out" in refusal(PromptError, folder, chat=True, random_weights=True)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder_may_be_a_text_or_a_path(tiny_folder, as_text):
    with llmdbg.open_session(str(tiny_folder) if as_text else tiny_folder, "The quick", max_new_tokens=2) as session:
        assert session.debugger.debuggee.name == "tiny"
        assert session.stop.stage.address == "tokenize"


def test_numbers_of_numpy_are_numbers(tiny_folder):
    whole: dict[str, Any] = {"max_new_tokens": np.int64(3), "top_k": np.int32(5), "seed": np.uint8(7)}
    real: dict[str, Any] = {"temperature": np.float32(0.5)}
    with llmdbg.open_session(tiny_folder, "The quick", **whole, **real) as session:
        settings = session.debugger.debuggee.settings
    assert settings is not None
    assert (settings.max_new_tokens, settings.temperature, settings.top_k, settings.seed) == (3, 0.5, 5, 7)
    assert {type(each) for each in (settings.max_new_tokens, settings.top_k, settings.seed)} == {int}


def test_chat_and_system_reach_the_template(tiny_folder):
    with llmdbg.open_session(tiny_folder, "The quick", chat=True, system="tea", max_new_tokens=1) as session:
        assert session.debugger.debuggee.prompt.text == "<|system|>tea<|user|>The quick<|assistant|>"


def test_breakpoints_and_commands_are_done_at_once(tiny_folder):
    with llmdbg.open_session(
        tiny_folder, "The quick", breakpoints=["1 if token >= 1"], commands=["zero 0.mlp", "continue"], max_new_tokens=3
    ) as session:
        assert (session.stop.stage.address, session.stop.token) == ("1", 1)
        assert [each.target.text for each in session.breakpoints] == ["1"]
        assert session.debugger.run.edits.list()


def everything(model: PreTrainedModel) -> dict[str, Any]:
    """All that a session could leave behind in a model."""
    modules = dict(model.named_modules())
    return {
        "modes": {name: module.training for name, module in modules.items()},
        "names": {name: sorted(vars(module)) for name, module in modules.items()},
        "hooks": hooks_on(model),
        "tensors": {name: (id(each), each._version) for name, each in model.state_dict(keep_vars=True).items()},
        "buffers": {name: id(each) for name, each in model.named_buffers()},
        "flags": {name: (each.requires_grad, each.grad) for name, each in model.named_parameters()},
        "generation config": model.generation_config.to_dict(),
        "config": model.config.to_dict(),
    }


@pytest.fixture(params=["llama", "gpt2", "qwen3_moe", "mamba"])
def training(request) -> PreTrainedModel:
    """A model in the middle of its training: some modules frozen, some in eval mode, with gradients."""
    model = tiny_model(request.param)
    model.train()
    first = next(model.children())
    next(each for each in first.modules() if each is not first).eval()
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 != 0)
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    model.generation_config.temperature = 0.7
    model.generation_config.do_sample = True
    return model


def test_a_loaded_model_is_left_as_it_was_found(training):
    before = everything(training)
    with llmdbg.open_session(training, "Hello there", max_new_tokens=5) as session:
        assert not any(module.training for module in training.modules())
        session.run_script(["break *", "next 3", "token", "delete", "scale 0 2", "info lens", "reverse-token"])
        assert hooks_on(training)
    assert everything(training) == before


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"breakpoints": ["1.nothing"]}, AddressError),
        ({"commands": ["next", "switch nowhere"]}, CommandError),
        ({"chat": True}, PromptError),
        ({"prompt": "x" * 300}, PromptError),
        ({"commands": ["next 3", "print 1/0"]}, CommandError),
    ],
)
def test_a_session_that_does_not_open_leaves_the_model_as_it_was_found(given, error):
    model = tiny_model("llama").train()
    before = everything(model)
    refusal(error, model, **{"max_new_tokens": 3, **given})
    assert everything(model) == before


def test_a_body_that_fails_leaves_the_model_as_it_was_found():
    model = tiny_model("llama").train()
    before = everything(model)
    with pytest.raises(ZeroDivisionError), llmdbg.open_session(model, "Hello there", max_new_tokens=3) as session:
        session.do("next 4")
        _ = 1 / 0
    assert everything(model) == before


def test_a_session_that_is_dropped_leaves_the_model_as_it_was_found():
    model = tiny_model("llama").train()
    before = everything(model)
    session = llmdbg.open_session(model, "Hello there", max_new_tokens=3, commands=["next 4"])
    assert hooks_on(model)
    del session
    gc.collect()
    assert everything(model) == before


def test_a_model_may_be_in_several_sessions():
    model = tiny_model("llama").train()
    before = everything(model)
    ids = (
        model.eval().generate(torch.tensor([list(b"Hello there")]), max_new_tokens=6, do_sample=False)[0, 11:].tolist()
    )
    model.train()
    first = llmdbg.open_session(model, "Hello there", greedy=True, max_new_tokens=6, commands=["break *", "next 3"])
    second = llmdbg.open_session(model, "Hello there", greedy=True, max_new_tokens=6)
    second.do("zero 0.mlp")
    second.do("next 2")
    first.do("delete")
    first.do("continue")
    assert list(first.close().ids) == ids
    assert not model.training
    second.do("continue")
    assert list(second.close().ids) != ids
    assert everything(model) == before


def test_a_loaded_model_generates_what_generate_does():
    model, tokenizer = tiny_model("llama"), None
    with llmdbg.open_session(model, "Hello there", tokenizer=tokenizer, max_new_tokens=6, temperature=0.8) as session:
        session.do("continue")
        assert session.do("verify").data.differs is None
        assert session.notes == ("this model has no tokenizer: it is fed the prompt's bytes as ids",)
    assert session.end is not None
    assert len(session.end.ids) == 6


def test_a_loaded_model_with_its_tokenizer(tiny_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    with llmdbg.open_session(tiny_folder, "The quick", greedy=True, max_new_tokens=4, chat=True) as session:
        session.do("continue")
    with llmdbg.open_session(
        model, "The quick", tokenizer=tokenizer, greedy=True, max_new_tokens=4, chat=True
    ) as other:
        other.do("continue")
        assert other.debugger.debuggee.name == "tiny"
        assert other.tokens()[0].text == "<|user|>"
    assert other.end == session.end


def test_a_model_that_cannot_be_stepped_is_refused():
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 32}
    encoder = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    assert "encoder-decoder" in refusal(ModelRequestError, encoder)
    assert "LlamaModel does not generate text" in refusal(ModelRequestError, LlamaModel(tiny_model("llama").config))
    with torch.device("meta"):
        nowhere = AutoModelForCausalLM.from_config(tiny_model("llama").config)
    assert "meta device" in refusal(ModelRequestError, nowhere)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"breakpoints": ["1", "0.mpl"]}, "breakpoints[1]: no stage is called '0.mpl': the nearest is '0.mlp'"),
        ({"commands": ["# look", "info stage", "x 0.mpl"]}, "commands[2]: "),
        ({"commands": ["info stage", "delete 9"]}, "commands[1]: there is no breakpoint 9"),
        ({"breakpoints": ["1"], "commands": ["print 1 / 0"]}, "commands[0]: print 1 / 0: ZeroDivisionError"),
    ],
)
def test_a_command_that_fails_once_the_model_is_loaded_says_which_it_is(tiny_folder, given, words):
    assert refusal(llmdbg.LlmdbgError, tiny_folder, **given).startswith(words)


@pytest.mark.parametrize(
    ("name", "why"), [("m" * 5_000, "File name too long"), ("~nobody-of-this-name/m", "home directory")]
)
def test_a_name_that_the_system_refuses_is_told_in_one_short_line(name, why):
    message = refusal(ModelRequestError, name)
    assert message.startswith("cannot look for the model '")
    assert why in message
    assert len(message) < 160


def test_an_error_nobody_expected_is_one_line_too(tiny_folder, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(opening, "cut_prompt", fails)
    assert refusal(llmdbg.LlmdbgError, tiny_folder) == "the session could not be opened: RuntimeError: two lines"
