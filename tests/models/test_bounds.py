"""What a stranger's file may cost: a limit and a clear line each, and nothing of the rest changes."""

import json
import os
import pathlib
import pickle
import struct
import time
from contextlib import suppress

import pytest

from llmdbg.cli import main
from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError, OutOfMemoryError, PromptError
from llmdbg.models import configurations, tokens
from llmdbg.models.checkpoints import read_config, tensors
from llmdbg.models.loading import load
from llmdbg.models.tokens import MOST_TEXT_BYTES, TokenizerVocabulary, encode_prompt
from tests.models.refusals import change_config, refusal, spec
from tests.sessions import do, tiny_session, tiny_tokenizer

DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def _soon():
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**8},
        {"num_hidden_layers": 10**18},
        {"layer_types": ["full_attention"] * 10, "num_hidden_layers": 10_001},
    ],
)
@pytest.mark.parametrize("random_weights", [True, False])
def test_a_model_of_too_many_layers(a_copy, changes, random_weights):
    change_config(folder := a_copy(), **changes)
    line = refusal(folder, DamagedFileError, random_weights=random_weights)
    assert "num_hidden_layers" in line and "10,000 layers are the most" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "xlm", "emb_dim": 2048, "n_layers": 10**8, "n_heads": 2},
        {"model_type": "gpt2", "n_layer": 9_999, "n_embd": 8, "n_head": 2},
        {"model_type": "jamba", "num_hidden_layers": 9_999, "num_experts": 10**6},
    ],
    ids=lambda config: config["model_type"],
)
def test_a_model_that_takes_for_ever_to_build(tmp_path, monkeypatch, config):
    monkeypatch.setattr(configurations, "_BUILD_SECONDS", 2)
    (tmp_path / "config.json").write_text(json.dumps(config))
    line = refusal(tmp_path, DamagedFileError, random_weights=True)
    assert "asks for too much: to build the model, without any weights, takes more than" in line or "the most" in line


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": 10**10},
        {"hidden_size": 10**7, "head_dim": 8},
        {"intermediate_size": 10**11},
    ],
)
@pytest.mark.parametrize("random_weights", [True, False])
def test_a_model_larger_than_memory(a_copy, changes, random_weights):
    change_config(folder := a_copy(), **changes)
    assert "are free" in refusal(folder, OutOfMemoryError, random_weights=random_weights)


@pytest.mark.parametrize("kind", [["llama"], {"a": 1}, 3, True])
def test_a_model_type_that_is_no_text(a_copy, kind):
    change_config(folder := a_copy(), model_type=kind)
    assert "no model_type that is a text" in refusal(folder, DamagedFileError)


@pytest.mark.parametrize("part", [[], {"model_type": ["llama"]}, {"model_type": {"x": []}}])
def test_a_part_of_a_configuration_that_is_nonsense(a_copy, part):
    change_config(folder := a_copy(), text_config=part)
    with pytest.raises(LoadError):
        load(spec(folder))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors.index.json"])
def test_json_that_is_nested_too_deep(a_copy, name):
    folder = a_copy()
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(DEEP)
    assert "nested too deep" in refusal(folder, DamagedFileError)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json"])
def test_a_tokenizer_that_is_nested_too_deep(a_copy, name):
    (folder := a_copy()).joinpath(name).write_text(DEEP)
    assert "tokenizer" in refusal(folder, DamagedFileError)


def with_header(path, header, size=0, length=None):
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    os.truncate(path, max(size, path.stat().st_size))
    return path


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [10**9, "a"], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": "aa", "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [2**63], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 1.5]},
        {"dtype": "F32", "shape": [1], "data_offsets": [True, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": "ab"},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": {"a": 1}, "data_offsets": [0, 0]},
        [],
        None,
        "x",
    ],
)
def test_a_header_that_makes_no_sense(tmp_path, entry):
    path = with_header(tmp_path / "model.safetensors", json.dumps({"a": entry}).encode())
    with pytest.raises(DamagedFileError, match="makes no sense"):
        tensors(path)


def test_a_header_that_is_nested_too_deep(tmp_path):
    path = with_header(tmp_path / "model.safetensors", b'{"a":' + DEEP.encode())
    with pytest.raises(DamagedFileError, match="not JSON"):
        tensors(path)


def test_a_header_that_is_larger_than_memory_is_not_read(tmp_path):
    # A file of holes, which takes no room on the disk.
    path = with_header(tmp_path / "model.safetensors", b"{", size=2**40, length=2**39)
    with pytest.raises(DamagedFileError, match="no header"):
        tensors(path)


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_model.bin", "weights.pt"])
def test_a_configuration_names_no_pickled_weights(a_copy, name):
    folder = a_copy()
    (folder / name).write_bytes(b"\x80\x04.")
    change_config(folder, transformers_weights=name)
    assert "no safetensors" in refusal(folder, DamagedFileError)


def test_a_configuration_may_name_its_weights(a_copy):
    folder = a_copy()
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    change_config(folder, transformers_weights="other.safetensors")
    load(spec(folder))


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "experts_implementation"])
@pytest.mark.parametrize("value", ["evil/kernel", {"": "evil/kernel@main"}])
def test_a_configuration_chooses_no_kernel_of_the_hub(a_copy, key, value):
    change_config(folder := a_copy(), **{key: value})
    assert "a kernel from the Hub" in refusal(folder, ModelRequestError)
    change_config(folder := a_copy("other"), text_config={key: value})
    assert "a kernel from the Hub" in refusal(folder, ModelRequestError)


CODE = """
import pathlib
pathlib.Path(TRAP).touch()
class X: pass
def generate(*_arguments, **_more): pass
"""


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self._path,)


def _config_with_code(folder):
    change_config(folder, auto_map={"AutoConfig": "evil.X", "AutoModelForCausalLM": "evil.X"})


def _unknown_kind_with_code(folder):
    change_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.X", "AutoModelForCausalLM": "evil.X"})


def _tokenizer_with_code(folder):
    path = folder / "tokenizer_config.json"
    extra = {"auto_map": {"AutoTokenizer": ["evil.X", "evil.X"]}, "tokenizer_class": "X"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **extra}))


def _pickled_weights(folder):
    (folder / "model.safetensors").unlink()


def _pickle_called_safetensors(folder):
    (folder / "model.safetensors").write_bytes((folder / "pytorch_model.bin").read_bytes())


def _template(text):
    return lambda folder: (folder / "chat_template.jinja").write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda _folder: None,
        _config_with_code,
        _unknown_kind_with_code,
        _tokenizer_with_code,
        _pickled_weights,
        _pickle_called_safetensors,
        lambda folder: change_config(folder, transformers_weights="adapter_model.bin"),
        lambda folder: change_config(folder, hidden_act="__import__('pathlib').Path(TRAP).touch()"),
        lambda folder: change_config(folder, architectures=["os.system"], dtype="load"),
        _template("{{ cycler.__init__.__globals__.os.system('touch TRAP') }}"),
        _template("{{ lipsum.__globals__['os'].system('touch TRAP') }}"),
        _template("{{ '{0.__globals__}'.format(raise_exception) }}"),
        _template("{{ [raise_exception]|map(attribute='__globals__')|list }}"),
        _template("{% include 'evil.py' %}"),
    ],
)
def test_no_code_of_a_model_folder_runs(a_copy, tmp_path, change):
    folder, trap = a_copy(), tmp_path / "trap"
    code = CODE.replace("TRAP", repr(str(trap)))
    for name in ("evil.py", "custom_generate/generate.py", "modeling.py", "conftest.py", "__init__.py"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Trap(trap)))
    change(folder)
    main([str(folder), "-p", "hello", "--chat", "--batch", "-n", "2", "-ex", "continue", "-ex", "verify"])
    main([str(folder), "-p", "hello", "--batch", "-n", "2", "-ex", "continue", "-ex", "verify"])
    assert not trap.exists() and not (folder / "TRAP").exists()


def test_a_tokenizer_that_panics_is_one_line(capfd, a_copy):
    folder = a_copy()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    # A regular expression that takes exponential time: the library gives up, by a panic.
    slow = {"type": "Split", "pattern": {"Regex": "(h+)+$"}, "behavior": "Isolated", "invert": False}
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "pre_tokenizer": slow}))
    assert main([str(folder), "-p", "h" * 40 + "!", "--batch"]) == 2
    assert "the model's tokenizer failed on this text" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json", "chat_template.jinja", "vocab.txt"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_pipe_or_a_device_is_no_part_of_a_model(a_copy, name, make):
    path = a_copy() / name
    path.unlink(missing_ok=True)
    make(path)
    assert f"{name} cannot be part of a model" in refusal(path.parent, DamagedFileError)


def test_files_of_a_model_may_be_links_to_files_and_lead_nowhere(a_copy):
    folder = a_copy()
    (folder / "config.json").rename(folder.parent / "blob")
    (folder / "config.json").symlink_to(folder.parent / "blob")
    (folder / "added_tokens.json").symlink_to("/nowhere")
    load(spec(folder))


@pytest.mark.parametrize(("name", "size"), [("tokenizer.json", 2**31), ("chat_template.jinja", 2**21)])
def test_a_small_file_that_is_huge(a_copy, name, size):
    path = a_copy() / name
    path.touch()
    os.truncate(path, size)
    assert "is larger than" in refusal(path.parent, DamagedFileError)


def test_a_configuration_that_is_huge(a_copy):
    folder = a_copy()
    os.truncate(folder / "config.json", 2**27)
    with pytest.raises(LoadError, match="larger than 64"):
        read_config(folder)


LOOP = "{% for a in range(100000) %}" * 3 + "X" + "{% endfor %}" * 3


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (LOOP.replace("X", ""), "takes more than"),
        (LOOP.replace("X", "x" * 1000), "takes more than"),
        ("{{ 'a' * 20000000 }}", "makes more than 8 MiB"),
        ("{{ 'a' * 10**11 }}", "takes more than 1 GiB of memory"),
        ("{{ 10**(10**9) }}", "takes more than"),
        ("{{ 'a'.ljust(10**11) }}", "takes more than 1 GiB of memory"),
        ("{{ '%99999999999d' % 1 }}", "takes more than 1 GiB of memory"),
        (
            "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "memory",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "refused these messages"),
        ("{{ raise_exception('a\x1bb') }}", "refused these messages: a\x1bb"),
        ("{{ ''.__class__.__mro__ }}", "refused these messages"),
        ("{{ messages.__class__.__base__.__subclasses__() }}", "refused these messages"),
    ],
)
def test_a_chat_template_is_bounded(monkeypatch, template, said):
    monkeypatch.setattr(tokens, "_TEMPLATE_SECONDS", 2)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(PromptError, match="the model's chat template") as caught:
        encode_prompt(tokenizer, "hello", chat=True)
    assert said in str(caught.value)


def test_a_chat_template_makes_what_it_made():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}é☂{% endfor %}"
    messages = [{"role": "system", "content": "be\nkind"}, {"role": "user", "content": "hello"}]
    made = encode_prompt(tokenizer, "hello", chat=True, system="be\nkind")
    assert made.text == tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("text", ["x" * (MOST_TEXT_BYTES + 1), "é" * (MOST_TEXT_BYTES // 2 + 1)])
def test_a_prompt_longer_than_any_model_reads(text):
    with pytest.raises(PromptError, match="the prompt is longer than"):
        encode_prompt(None, text)
    with pytest.raises(PromptError, match="the system message is longer"):
        encode_prompt(tiny_tokenizer(), "hi", chat=True, system=text)


@pytest.mark.parametrize("option", ["--prompt-file", "-x"])
def test_a_file_on_the_command_line_is_read_within_bounds(capsys, tmp_path, tiny_folder, option):
    os.mkfifo(pipe := tmp_path / "pipe")
    (large := tmp_path / "large").touch()
    os.truncate(large, 2**40)
    prompt = [] if option == "--prompt-file" else ["-p", "hi"]
    for path, said in (
        (pipe, "a pipe or a device"),
        ("/dev/zero", "a pipe or a device"),
        (tmp_path, "a folder"),
        (large, "it is larger than"),
    ):
        assert main([str(tiny_folder), *prompt, "--batch", option, str(path)]) == 2
        assert said in capsys.readouterr().err


def test_a_file_of_commands_is_read_within_bounds(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    for path in (pipe, "/dev/zero"):
        with pytest.raises(Exception, match="a pipe or a device"):
            do(tiny_session(), f"source {path}")


@pytest.mark.parametrize("word", ["\udcff", '"\udcff"', '"\\ud800"', "a\udc80b"])
def test_a_token_that_is_no_utf8(word):
    from llmdbg.errors import CommandError

    session = tiny_session()
    do(session, "goto sample")
    for command in ("ban", "force"):
        with pytest.raises(CommandError, match=r"no token stands for|tokens here"):
            do(session, f"{command} {word}")
    with pytest.raises(CommandError):
        do(session, f"break 1 if rank({word!r}) < 3")
    for vocabulary in (TokenizerVocabulary(None), TokenizerVocabulary(tiny_tokenizer())):
        assert vocabulary.id_of("\udcff") is None
        assert isinstance(vocabulary.split("\udcff"), list)


@pytest.mark.parametrize("rest", ["", " \udcff", " 1 \udcff", " \udcff\udc80 > \udcff.txt", ' "\udcff"'])
def test_no_command_fails_on_what_is_no_utf8(rest, tmp_path, monkeypatch):
    from llmdbg.debugger.commands import COMMANDS
    from llmdbg.errors import LlmdbgError

    monkeypatch.chdir(tmp_path)
    session = tiny_session(max_new_tokens=2)
    do(session, "goto sample")
    for command in COMMANDS:
        with suppress(LlmdbgError):
            do(session, f"{command.name}{rest}")
