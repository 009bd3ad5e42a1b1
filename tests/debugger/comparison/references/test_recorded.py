"""A recording beside a run: its tensors, or its fingerprints, as far as they were kept and the texts agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.execution.stop import ComparedBy
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError
from llmdbg.frontends.answers.stops import stop_line
from tests.debugger.comparison.recordings import recorded
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.engine.runs import untouched
from tests.sessions import do
from tests.tiny import tiny_model

GREEDY = GenerationSettings(max_new_tokens=4, greedy=True)


def _nothing(_: PreTrainedModel) -> None:
    return None


def _scale(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.scaling *= 1.5


def _beside(candidate: PreTrainedModel, folder: Path) -> Debugger:
    debugger = Debugger(side(candidate, settings=GREEDY).debuggee())
    do(debugger, f"reference {folder}")
    return debugger


@pytest.mark.parametrize("keeps", ["none", "last", "all", "inputs"])
def test_the_same_model_is_bitwise_the_same(tmp_path: Path, keeps: str) -> None:
    """By its values, or by its hashes where there are no others; by itself where inputs were kept."""
    model = tiny_model("llama")
    recorded(side(model, settings=GREEDY), tmp_path / "run", keeps)
    debugger = _beside(faulty(model, _nothing), tmp_path / "run")
    whole = keeps in ("all", "inputs")
    assert ("distances are estimated" in do(debugger, "reference").data) != whole
    seen = alone = 0
    for line in ["step"] * 30 + ["token", "next", "reverse-next", "step", "goto 1.mlp@2", "step"]:
        stop = do(debugger, line).stop
        if stop.beside is not None:
            seen += 1
            alone += stop.beside.by_itself == 0
            assert stop.beside.equal, stop
            assert stop.beside.by is (ComparedBy.VALUES if whole else ComparedBy.FINGERPRINT)
    assert seen > 25
    assert (alone > 15) == (keeps == "inputs")
    do(debugger, "break diverged", "run")
    assert debugger.end is not None
    assert list(debugger.end.ids) == untouched(model, PROMPT, GREEDY).ids
    debugger.close()


@pytest.mark.parametrize("keeps", ["none", "all"])
def test_the_run_stops_where_the_two_part(tmp_path: Path, keeps: str) -> None:
    """An estimate tells a fault from rounding too, and is called one."""
    model = tiny_model("llama")
    recorded(side(model, settings=GREEDY), tmp_path / "run", keeps)
    debugger = _beside(faulty(model, _scale, torch.float32), tmp_path / "run")
    do(debugger, "break diverged", "continue")
    stop = debugger.stop
    assert (stop.token, stop.stage.address) == (0, "1.self_attn.o_proj")
    assert ("about " in stop_line(stop)) == (keeps == "none")
    do(debugger, "run")
    assert debugger.stop.stage.address == "1.self_attn.o_proj"
    debugger.close()


def test_an_estimate_is_near_the_real_distance(tmp_path: Path) -> None:
    """Against bfloat16, from fingerprints and from the values themselves."""
    model = tiny_model("llama")
    half = faulty(model, _nothing, torch.bfloat16)
    found = {}
    for keeps in ("none", "all"):
        recorded(side(half, settings=GREEDY), tmp_path / keeps, keeps)
        debugger = _beside(model, tmp_path / keeps)
        do(debugger, "until 1.mlp")
        assert debugger.stop.beside is not None
        found[keeps] = debugger.stop.beside.apart
        debugger.close()
    assert found["none"] is not None and found["all"] is not None
    assert 0.5 < found["none"] / found["all"] < 2


def test_what_is_not_there_is_said_or_not_compared(tmp_path: Path) -> None:
    """Another prompt is refused; after another token, and beyond its end, there is nothing to compare with."""
    model = tiny_model("llama")
    recorded(side(model, settings=GenerationSettings(max_new_tokens=2, greedy=True)), tmp_path / "run", "none")
    recorded(side(model, ids=PROMPT[:5], settings=GREEDY), tmp_path / "other", "none")
    debugger = _beside(model, tmp_path / "run")
    with pytest.raises(CommandError, match="other is a recording of another prompt"):
        do(debugger, f"reference {tmp_path / 'other'}")
    assert "run" in do(debugger, "reference").data
    assert do(debugger, "goto 0@1").stop.beside is not None
    assert do(debugger, "goto 0@2").stop.beside is None
    assert do(debugger, "goto sample@0", "force 9", "goto 0@1").stop.beside is None
    debugger.close()
