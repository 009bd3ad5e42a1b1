"""Ranks over several architectures, moved back and forth at random, with edits and forced tokens.

A few moves in every test run, and with `make ranks` as many as `LLMDBG_FAULTS` says for each architecture, and SmolLM2.
"""

import os
import time
from pathlib import Path

import pytest

from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec
from tests.torchrun import run, write_model

WALKS = Path(__file__).with_name("programs") / "walks.py"
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "mixtral", "phi3")
MOVES = int(os.environ.get("LLMDBG_FAULTS", "0"))
SECONDS_OF_A_MOVE = 3
"""On a machine that has much else to do."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A tiny model of each architecture."""
    root = tmp_path_factory.mktemp("architectures")
    return [str(write_model(root / name, name)) for name in ARCHITECTURES]


@pytest.fixture(scope="module")
def smollm2_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SmolLM2 as safetensors, since a .gguf file cannot be split."""
    folder = tmp_path_factory.mktemp("smollm2")
    loaded = load(ModelSpec("smollm2"))
    assert loaded.tokenizer is not None
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return str(folder)


def walk(ranks: int, moves: int, *folders: str) -> None:
    """Make so many moves on each model; what `generate()` does on as many ranks is done after them, bit by bit."""
    start = time.monotonic()
    found = run(ranks, str(WALKS), str(moves), *folders, seconds=120 + SECONDS_OF_A_MOVE * moves * len(folders))
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [Path(folder).name for folder in folders]
    for line in lines:
        assert line.endswith("the logits are equal bit by bit"), line
        made, _, of = line.split()[1:4]
        assert int(made) > int(of.removesuffix(":")) / 2, line
    if "LLMDBG_FIGURES" in os.environ:
        with Path(os.environ["LLMDBG_FIGURES"]).open("a") as file:
            file.writelines(f"{ranks} ranks, {line}\n" for line in lines)
            file.write(f"{ranks} ranks, {time.monotonic() - start:.0f} s\n")


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("ranks", "moves"), [(2, MOVES or 30), (4, MOVES or 10)])
def test_ranks_stay_together_on_any_way_and_generate_what_generate_does(folders: list[str], ranks: int, moves: int):
    walk(ranks, moves, *folders)


@pytest.mark.timeout(0)
@pytest.mark.skipif(not MOVES, reason="takes minutes: `make ranks`")
def test_smollm2_on_as_many_ranks_as_its_key_value_heads(smollm2_folder: str):
    walk(3, MOVES // 4, smollm2_folder)
