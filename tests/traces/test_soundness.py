"""Damage that nobody would notice who reads only some of a recording is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from llmdbg.debugger.comparison.comparing_recorded import compare_recordings
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import TraceError
from llmdbg.traces.reader import Trace
from llmdbg.traces.replay.recorded_run import RecordedRun
from llmdbg.traces.soundness import damage
from tests.debugger.comparison.recordings import recorded
from tests.debugger.comparison.sides import side
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A whole recording of a tiny model."""
    settings = GenerationSettings(max_new_tokens=4, greedy=True)
    return recorded(side(tiny_model("llama"), settings=settings), tmp_path_factory.mktemp("runs") / "run")


def _copy(sound: Trace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound.folder, tmp_path / "damaged"))


def test_nothing_is_said_of_a_sound_one(sound: Trace) -> None:
    """Nor is anything in its notes."""
    assert damage(sound) == ()
    assert not [each for each in compare_recordings(sound, sound).notes if "damaged" in each]


@pytest.mark.parametrize("how", ["cut", "random"])
def test_positions_that_are_not_what_they_were(sound: Trace, tmp_path: Path, how: str) -> None:
    """The stages' own hashes agree, and the verdict with them: what is damaged beside them is said."""
    folder = _copy(sound, tmp_path)
    path = folder / "positions-00000.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if how == "cut" else data[:2000] + os.urandom(len(data) - 2000))
    damaged = Trace.open(folder)
    (said,) = damage(damaged)
    assert ("truncated" if how == "cut" else "has not the values that it had") in said
    assert said in compare_recordings(sound, damaged).notes
    assert said in RecordedRun(damaged).notes


def test_a_line_that_is_cut_off(sound: Trace, tmp_path: Path) -> None:
    """It says which token is not whole."""
    folder = _copy(sound, tmp_path)
    path = folder / "tokens.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    (said,) = damage(Trace.open(folder))
    assert said.endswith("tokens.jsonl is cut off in the middle of token 3")


@pytest.mark.parametrize("first", ["-1", "1000000000000000"])
def test_a_shape_that_no_tensor_has(sound: Trace, tmp_path: Path, first: str) -> None:
    """It is refused, and not shown as one."""
    folder = _copy(sound, tmp_path)
    path = folder / "index.jsonl"
    path.write_text(path.read_text().replace('"shape":[', f'"shape":[{first},'))
    with pytest.raises(TraceError, match="no tensor has the shape"):
        Trace.open(folder).stages(0)


def test_a_link_is_said_to_be_one(sound: Trace, tmp_path: Path) -> None:
    """Following it would leave the folder."""
    folder = _copy(sound, tmp_path)
    (folder / "trace.json").unlink()
    (folder / "trace.json").symlink_to(sound.folder / "trace.json")
    with pytest.raises(TraceError, match="it is a link, and links are not followed"):
        Trace.open(folder)


def test_a_number_of_too_many_digits(sound: Trace, tmp_path: Path) -> None:
    """Python would speak of one of its own settings."""
    folder = _copy(sound, tmp_path)
    path = folder / "trace.json"
    path.write_text(path.read_text().replace("{", '{"zz":' + "9" * 5000 + ",", 1))
    with pytest.raises(TraceError, match="damaged: a number has 5,000 digits"):
        Trace.open(folder)
