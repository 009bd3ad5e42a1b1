"""Two and four ranks over several architectures, moved back and forth at random, with edits and forced tokens."""

from pathlib import Path

import pytest

from tests.torchrun import run, write_model

WALKS = Path(__file__).with_name("programs") / "walks.py"
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "mixtral", "phi3")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A tiny model of each architecture."""
    root = tmp_path_factory.mktemp("architectures")
    return [str(write_model(root / name, name)) for name in ARCHITECTURES]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("ranks", "moves"), [(2, 30), (4, 10)])
def test_ranks_stay_together_on_any_way_and_generate_what_generate_does(folders: list[str], ranks: int, moves: int):
    found = run(ranks, str(WALKS), str(moves), *folders)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == list(ARCHITECTURES)
    for line in lines:
        assert line.endswith("the logits are equal bit by bit"), line
        made, _, of = line.split()[1:4]
        assert int(made) > int(of.removesuffix(":")) / 2, line
