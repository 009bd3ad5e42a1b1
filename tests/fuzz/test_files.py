"""What may lie in a file: a model folder's JSON and weights, a GGUF file, a saved session, preferences, a prompt."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.model import begin
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.tui.input.preferences import example, load_preferences
from llmdbg.models.checkpoints import tensors
from llmdbg.models.gguf_files import inspect_gguf
from llmdbg.models.spec import ModelSpec
from tests.fuzz.inputs import gguf_file, nearly, nearly_bytes, nearly_json
from tests.fuzz.watch import refused_or, run_program

_MOST_MEMORY = 4 * 1024**3
_JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("fuzz") / "model"))


@pytest.fixture(autouse=True, scope="module")
def _memory_stays_bounded() -> Any:
    before, held = _peak(), psutil.Process().memory_info().rss
    yield
    # What other tests of this process have taken, or still hold, does not count.
    assert _peak() <= max(before, _MOST_MEMORY, held + _MOST_MEMORY // 4)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", _JSON_FILES)
def test_a_model_folder_whose_json_is_odd(name: str, folder: Path) -> None:
    path = folder / name
    valid = path.read_text()

    @given(nearly_json(json.loads(valid)))
    def try_one(text: str) -> None:
        path.write_text(text, errors="surrogatepass")
        run_program(str(folder), "-p", "The quick", "-n", "2", "--batch", "-ex", "token", "-ex", "quit")

    try:
        try_one()
    finally:
        path.write_text(valid)


@pytest.mark.slow
def test_weights_that_are_damaged(folder: Path) -> None:
    path = folder / "model.safetensors"
    valid = path.read_bytes()
    header = 8 + int.from_bytes(valid[:8], "little")

    @given(nearly_bytes(valid, header + 64))
    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        refused_or(lambda: tensors(path))
        run_program(str(folder), "-p", "The quick", "-n", "1", "--batch", "-ex", "quit")

    try:
        try_one()
    finally:
        path.write_bytes(valid)


def test_gguf_headers(gguf_head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"

    @given(nearly_bytes(gguf_head, 4096))
    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        refused_or(lambda: inspect_gguf(path))

    try_one()


@pytest.fixture(scope="module")
def gguf_head(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return gguf_file(tmp_path_factory.mktemp("gguf") / "small.gguf").read_bytes()


_SESSION = {
    **json.loads(to_json(begin(ModelSpec("smollm2"), "The quick", GenerationSettings(max_new_tokens=4)))),
    # The same in every process: hypothesis draws from it.
    "id": "20261126-012501-ba19",
    "created": "2026-11-26T01:25:01.000+00:00",
    "updated": "2026-11-26T01:25:01.000+00:00",
    "owner": {"pid": 1, "host": "here", "started": 1.0},
}


@given(nearly_json(_SESSION))
def test_saved_sessions(text: str) -> None:
    refused_or(lambda: from_json(text, "The quick"))


def test_preferences(tmp_path: Path) -> None:
    path = tmp_path / "preferences.toml"

    @given(nearly((example(), 'theme = "dark"\n[keys]\nnext = "n"\n')) | st.text())
    def try_one(text: str) -> None:
        path.write_text(text, errors="surrogatepass")
        refused_or(lambda: load_preferences(path))

    try_one()


def test_prompt_files(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"

    @given(st.binary(max_size=300))
    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        run_program("--prompt-file", str(path), str(tmp_path / "no such model"), "--batch")

    try_one()
