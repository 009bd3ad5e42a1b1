"""What may lie in a recording: headers, lines, tables and tensors that are nearly right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given

from llmdbg.traces.tensor_files import KEEPS
from tests.fuzz.inputs import nearly_bytes, nearly_json
from tests.fuzz.watch import refused_or
from tests.recordings import record, tiny_generation
from tests.traces.test_hostile import read_everything


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    record(tiny_generation(temperature=0.8, max_new_tokens=2), folder, KEEPS["last"])
    return folder


@pytest.mark.parametrize("name", ["trace.json", "tokens.jsonl", "index.jsonl"])
def test_json_that_is_odd(name: str, folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    first, *rest = (folder / name).read_text().splitlines()

    @given(nearly_json(json.loads(first)))
    def try_one(text: str) -> None:
        (run / name).write_text("\n".join([text, *rest, ""]), errors="surrogatepass")
        refused_or(lambda: read_everything(run))

    try_one()


@pytest.mark.parametrize("name", ["stages-00000", "positions-00000", "tensors-00001"])
def test_files_of_numbers_that_are_damaged(name: str, folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    path = run / f"{name}.safetensors"
    valid = path.read_bytes()
    header = 8 + int.from_bytes(valid[:8], "little")

    @given(nearly_bytes(valid, header + 64))
    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        refused_or(lambda: read_everything(run))

    try_one()
