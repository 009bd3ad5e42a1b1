"""A recording answers as the run did: the same stops, with what was recorded, and nothing made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.frontends.answers.json_fields import whole_stop_fields
from llmdbg.traces.replay.recorded_run import RecordedRun
from llmdbg.traces.tensor_files import KEEPS, Keep
from tests.recordings import record, tiny_generation
from tests.sessions import do

_SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "seed": 3}
_NAMES = ("llama", "gpt2", "qwen3_moe", "gemma3", "mamba", "opt")
Fields = dict[str, Any]


def live(name: str, **settings: Any) -> Debugger:
    return Debugger(tiny_generation(name, **settings))


def replayed(name: str, folder: Path, keep: Keep | None = None, **settings: Any) -> Debugger:
    return Debugger(RecordedRun(record(tiny_generation(name, **settings), folder, keep)))


def every_stop(debugger: Debugger) -> list[Fields]:
    found = [whole_stop_fields(debugger.stop)]
    while debugger.end is None:
        do(debugger, "step")
        found.append(whole_stop_fields(debugger.stop))
    return found


def recorded(fields: Fields) -> Fields:
    """Without what another run measures anew, and the names that only the module's own source says."""
    kept = {name: value for name, value in fields.items() if name not in ("ms", "takes", "returns")}
    return kept | {"returns": [each["shape"] for each in fields.get("returns", ())]}


def alike(one: Any, other: Any) -> bool:
    """Equal but for the last bits of numbers: sums over a tensor depend on its layout, which is not recorded."""
    if isinstance(other, dict):
        return (
            isinstance(one, dict) and one.keys() == other.keys() and all(alike(one[key], other[key]) for key in other)
        )
    if isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == (pytest.approx(other, rel=1e-5, abs=1e-6) if isinstance(other, float) else other))


@pytest.mark.parametrize("name", _NAMES)
def test_with_whole_tensors_every_stop_is_that_of_the_run(name: str, tmp_path: Path) -> None:
    expected = every_stop(live(name, **_SAMPLED))
    found = every_stop(replayed(name, tmp_path / "run", KEEPS["inputs"], **_SAMPLED))
    assert [each["stage"] for each in found] == [each["stage"] for each in expected]
    for one, other in zip(map(recorded, found), map(recorded, expected), strict=True):
        assert alike(one, other), one["stage"]
    assert all(each["ms"] is not None for each in found[1:])


@pytest.mark.parametrize("name", _NAMES)
def test_with_statistics_alone_every_stop_has_what_was_recorded(name: str, tmp_path: Path) -> None:
    expected = every_stop(live(name, **_SAMPLED))
    found = every_stop(replayed(name, tmp_path / "run", **_SAMPLED))
    for one, other in zip(found, expected, strict=True):
        assert (one["stage"], one["token"], one["phase"]) == (other["stage"], other["token"], other["phase"])
        assert ("tensor" in one) == ("tensor" in other)
        if other["tensor"] is not None:
            for field in ("shape", "dtype", "device", "nan", "inf", "cut"):
                assert one["tensor"].get(field) == other["tensor"].get(field), (one["stage"], field)
            for field in ("min", "max", "mean", "std", "norm"):
                assert alike(one["tensor"][field], other["tensor"][field]), (one["stage"], field)
        assert ("candidates" in one) == ("candidates" in other)
        if "candidates" in other:
            assert one["entropy"] == pytest.approx(other["entropy"], rel=1e-5, abs=1e-5)
            assert (one["left"], one["cut"]) == (other["left"], other["cut"])
            for mine, theirs in zip(one["candidates"], other["candidates"], strict=True):
                assert [mine[field] for field in ("rank", "id", "text", "cut_by", "raw_rank", "fell_at")] == [
                    theirs[field] for field in ("rank", "id", "text", "cut_by", "raw_rank", "fell_at")
                ]
                assert mine["prob"] == pytest.approx(theirs["prob"], rel=1e-6, abs=1e-9)
        assert one.get("chosen", {}).get("id") == other.get("chosen", {}).get("id")
        assert (one.get("ended_by"), one["reason"]) == (other.get("ended_by"), other["reason"])


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "mamba"])
@pytest.mark.parametrize("keep", ["none", "inputs"])
def test_a_stage_is_explained_in_the_same_sentences(name: str, keep: str, tmp_path: Path) -> None:
    sessions = live(name, **_SAMPLED), replayed(name, tmp_path / "run", KEEPS[keep], **_SAMPLED)
    do(sessions[0], "continue")
    do(sessions[1], "goto sample@1", "reverse-step")
    addresses = sessions[1].run.trace.order(sessions[1].run.place)
    assert addresses is not None and len(addresses) > 10
    for address in addresses:
        said = []
        for session in sessions:
            do(session, f"goto {address}@1")
            said.append(do(session, "explain").data)
        expected, found = said
        assert found.title == expected.title, address
        # Whose row the embedding returned needs the weights; how much a vector was changed, the values.
        shorter = ("was looked up", *(("has length",) if keep == "none" else ()))
        new = [each for each in found.plain if each not in expected.plain]
        assert not [each for each in new if not any(words in each for words in shorter)], address
