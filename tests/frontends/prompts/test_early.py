"""The prompt's tokens from a process without torch: the same as the real ones, or none."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import transformers

from llmdbg.frontends.prompts import early
from llmdbg.frontends.prompts.cutting import Cutting, cut_before_weights, prompt_rows
from llmdbg.models.configurations import load_config
from llmdbg.models.sources import source_at_hand
from llmdbg.models.spec import ModelSpec
from llmdbg.models.tokenizer_files import load_tokenizer
from tests.frontends.prompts.groups import members
from tests.hub_server import COMMIT, NAME
from tests.models.refusals import change_config

HOW: Cutting = {"chat": False, "system": None, "left_pad": 0}
TEXT = "Can you write an email explaining what an LLM is? ☂ naïve\n\n  🙂"
ANSWER = b'[[{"index":0,"id":7,"piece":"x","text":"x","special":false,"generated":null}],1]'


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch):
    """As if torch were still to be imported."""
    monkeypatch.setattr(early, "_is_worth_it", lambda _spec: True)


def found_early(spec, how=HOW):
    """What the process finds: rows and how many tokens there are; None for nothing. It has ended then."""
    found: list[tuple[object, int]] = []
    with early.EarlyPrompt(spec, TEXT, how, lambda *rows: found.append(rows)):
        for thread in threading.enumerate():
            if thread.name == "llmdbg-early":
                thread.join(120)
    return found[0] if found else None


def found_really(spec, how=HOW):
    source = source_at_hand(spec.name)
    assert source is not None
    tokenizer, config = load_tokenizer(source, spec), load_config(source, trust_remote_code=False)
    prompt = cut_before_weights(tokenizer, config, TEXT, how)
    assert prompt is not None
    return prompt_rows(prompt, tokenizer), len(prompt.ids)


def mistral_folder(folder):
    """A folder as Mistral publishes it, with a SentencePiece file alone, which transformers converts."""
    package = find_spec("mistral_common")
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs mistral-common, for Mistral's own tokenizer file")
    shutil.copy(Path(package.submodule_search_locations[0]) / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": False}))
    transformers.MistralConfig().save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_the_tokens_are_those_of_the_real_tokenizer(tiny_folder, tmp_path):
    spec = ModelSpec(str(tiny_folder))
    assert found_early(spec) == found_really(spec)
    spec = ModelSpec(str(mistral_folder(tmp_path)))
    padded: Cutting = {**HOW, "left_pad": 2}
    assert found_early(spec, padded) == found_really(spec, padded)


@pytest.mark.slow
def test_a_chat_and_the_demo_model(tiny_folder):
    how: Cutting = {"chat": True, "system": "Be kind.", "left_pad": 0}
    spec = ModelSpec(str(tiny_folder))
    assert found_early(spec, how) == found_really(spec, how)
    spec = ModelSpec("smollm2")
    if source_at_hand(spec.name) is None:
        pytest.skip("the demo model has not been converted yet")
    assert found_early(spec, how) == found_really(spec, how)


def test_without_a_tokenizer_they_are_the_prompts_bytes(tmp_path):
    transformers.LlamaConfig(vocab_size=60).save_pretrained(tmp_path)
    spec = ModelSpec(str(tmp_path), random_weights=True)
    assert found_early(spec) == found_really(spec)
    assert found_early(ModelSpec(str(tmp_path))) is None, "with weights a tokenizer is needed"


def growing(folder):
    """A tokenizer that makes a terabyte of a letter."""
    written = json.loads((folder / "tokenizer.json").read_text())
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
    written["normalizer"] = {"type": "Sequence", "normalizers": [step] * 4}
    (folder / "tokenizer.json").write_text(json.dumps(written))


def with_code(folder):
    """A tokenizer that is Python code, which leaves a trace where it runs."""
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Mine: pass\n")
    path = folder / "tokenizer_config.json"
    changes = {"auto_map": {"AutoTokenizer": ["mine.Mine", None]}, "tokenizer_class": "Mine"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        growing,
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        lambda folder: change_config(folder, num_hidden_layers=10**9),
        lambda folder: change_config(folder, model_type="of no kind"),
        lambda folder: os.mkfifo(folder / "merges.txt"),
    ],
)
def test_what_is_refused_later_gives_no_tokens_and_no_error(a_copy, damage, capfd):
    folder = a_copy()
    damage(folder)
    assert found_early(ModelSpec(str(folder))) is None
    assert capfd.readouterr() == ("", "")


def test_no_code_of_the_folder_runs(a_copy):
    folder = a_copy()
    with_code(folder)
    found_early(ModelSpec(str(folder)))
    assert not (folder / "ran").exists()


def test_a_model_that_is_not_here_is_not_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("nobody/nothing", str(tmp_path / "none"), str(tmp_path)):
        assert found_early(ModelSpec(name)) is None


def test_a_model_of_the_hub_that_is_in_its_cache(monkeypatch, tmp_path, tiny_folder):
    kept = tmp_path / "models--somebody--tiny"
    shutil.copytree(tiny_folder, kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert found_early(ModelSpec(NAME)) == found_really(ModelSpec(str(tiny_folder)))


def test_nothing_is_started_where_nothing_is_gained(monkeypatch, tiny_folder):
    monkeypatch.undo()
    spec = ModelSpec(str(tiny_folder))
    assert "torch" in sys.modules
    assert not early._is_worth_it(spec)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(early, "_cores", lambda: 2)
    assert early._is_worth_it(spec)
    assert not early._is_worth_it(ModelSpec(str(tiny_folder), trust_remote_code=True))
    monkeypatch.setattr(early, "_cores", lambda: 1)
    assert not early._is_worth_it(spec)


def program(monkeypatch, folder, text):
    """Have another program started."""
    path = folder / "program.py"
    path.write_text(f"import sys, time\nsys.stdin.readline()\n{text}\n")
    monkeypatch.setattr(early, "_PROGRAM", path)


@pytest.mark.parametrize(
    "text", ["pass", "print('[1, 2]')", "print('[[{}], 1]')", "print('[' * 100000)", "sys.exit(3)"]
)
def test_whatever_it_writes_is_tokens_or_nothing(monkeypatch, tmp_path, text):
    program(monkeypatch, tmp_path, text)
    assert found_early(ModelSpec("any")) is None
    program(monkeypatch, tmp_path, f"sys.stdout.buffer.write({ANSWER!r})")
    assert found_early(ModelSpec("any"))[1] == 1


def test_a_start_goes_on_though_the_process_does_not_go_yet(monkeypatch, tmp_path):
    program(monkeypatch, tmp_path, "time.sleep(600)")
    kill, killed = os.killpg, list[int]()
    monkeypatch.setattr(os, "killpg", lambda group, _signal: killed.append(group))
    begun = time.monotonic()
    with early.EarlyPrompt(ModelSpec("any"), TEXT, HOW, lambda *_: None) as process:
        pass
    assert time.monotonic() - begun < 30 and killed
    assert process._process.returncode is None
    kill(killed[0], signal.SIGKILL)
    for thread in threading.enumerate():
        if thread.name == "llmdbg-early":
            thread.join(20)
    assert process._process.returncode == -signal.SIGKILL, "it is reaped all the same"


def test_once_it_is_closed_nothing_comes_and_nobody_is_left(monkeypatch, tmp_path):
    begun = tmp_path / "begun"
    program(monkeypatch, tmp_path, f"import os\nos.fork()\nopen({str(begun)!r}, 'a').write('.')\ntime.sleep(600)")
    found: list[object] = []
    with early.EarlyPrompt(ModelSpec("any"), "a" * 2**20, HOW, lambda *rows: found.append(rows)) as process:
        group = process._process.pid
        while not begun.exists() or begun.stat().st_size < 2:
            assert process._process.poll() is None
    assert process._process.returncode == -signal.SIGKILL
    assert members(group) == []
    assert found == []
