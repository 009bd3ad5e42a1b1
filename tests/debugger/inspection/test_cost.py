"""`info cost`: what it counts is there to be counted, the model's time holds no hook, and measuring changes nothing."""

from __future__ import annotations

import gc
import json
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection import cost as module
from llmdbg.debugger.inspection import timed_runs
from llmdbg.debugger.inspection.cost import Cost, WatchingCost
from llmdbg.engine.clock import StageClock
from llmdbg.engine.stops import Stops
from llmdbg.errors import CommandError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.answers.cost import added_line
from llmdbg.frontends.export import export
from tests.engine.runs import hooks_on
from tests.sessions import do, tiny_session
from tests.tiny import tiny_model

NAMES = ["llama", "gpt2", "qwen3_moe", "gemma2", "mamba", "mistral", "falcon"]


def _asked(session: Debugger) -> Cost:
    found = do(session, "info cost").data
    assert isinstance(found, Cost)
    return found


@pytest.mark.parametrize("place", ["tokenize", "1", "logits", "sample@2", "0@2"])
@pytest.mark.parametrize("name", ["llama", "mistral", "mamba", "gpt2"])
def test_measuring_leaves_the_session_as_it_was(name: str, place: str) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 5, "temperature": 1.3, "top_k": 20, "seed": 7}
    asked, silent = tiny_session(name, **settings), tiny_session(name, **settings)
    for each in (asked, silent):
        if place != "tokenize":
            do(each, f"goto {place}")
    stop, standing, ids = asked.stop, asked.run.place, asked.run.generated_ids()
    before = list(asked.debuggee.timeline.ids)
    timeline = asked.debuggee.timeline
    _asked(asked)
    assert (asked.stop, asked.run.place, asked.run.generated_ids()) == (stop, standing, ids)
    assert asked.debuggee.timeline is timeline
    # The timeline may have the token that is shown as chosen by now, and nothing else.
    assert tuple(timeline.ids) in (tuple(before), ids)
    while asked.end is None:
        do(asked, "continue")
        do(silent, "continue")
    assert asked.end == silent.end
    _asked(asked)
    assert asked.end == silent.end
    assert asked.debuggee.timeline.fingerprints() == silent.debuggee.timeline.fingerprints()
    assert "verified" in answer_lines(do(asked, "verify").data)[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_that_runs_is_counted(name: str) -> None:
    session = tiny_session(name, max_new_tokens=6)
    do(session, "goto logits@2")
    found = _asked(session)
    rows = {each.name: each for each in found.outline}
    layers = len(session.debuggee.anatomy.layers())
    assert rows["layers"].count == layers == len(found.layers)
    assert {"embed", "layers", "logits", "sample", "between them"} <= rows.keys()
    watched = sum(each.ms for each in found.outline)
    assert sum(each.share for each in found.outline) == pytest.approx(1.0)
    assert rows["layers"].ms == pytest.approx(sum(found.layers)) and rows["layers"].ms < watched
    children = {
        name: sum(
            name in dict(session.debuggee.anatomy.modules[each.address].named_children())
            for each in session.debuggee.anatomy.layers()
        )
        for name in (each.name for each in found.parts)
    }
    assert found.parts and all(each.count == children[each.name] for each in found.parts)
    assert all(0 < each.share < 1 for each in found.parts)


@pytest.mark.parametrize("name", NAMES)
def test_both_phases_are_told_apart(name: str) -> None:
    session = tiny_session(name, max_new_tokens=6)
    at_prefill = _asked(session)
    assert (at_prefill.alone.phase, at_prefill.alone.positions) == ("prefill", len(session.debuggee.prompt.ids))
    assert at_prefill.other is not None and at_prefill.other.phase == "decode"
    do(session, "goto 0@3")
    at_decode = _asked(session)
    assert (at_decode.alone.phase, at_decode.alone.token, at_decode.alone.positions) == ("decode", 3, 1)
    assert at_decode.other is not None and (at_decode.other.phase, at_decode.other.token) == ("prefill", 0)
    for each in (at_prefill.alone, at_prefill.other, at_decode.alone, at_decode.other):
        assert 0 < each.fastest <= each.ms <= each.slowest
        assert each.tokens_per_second == pytest.approx(each.positions / each.ms * 1e3)


def test_a_model_that_ends_at_once_has_no_decode_to_measure() -> None:
    session = tiny_session(max_new_tokens=1)
    eos = _first_choice()
    session.inspector.model.generation_config.eos_token_id = eos
    session.run.restart()
    found = _asked(session)
    assert found.other is None and "decode is not measured" in " ".join(found.notes)


def _first_choice() -> int:
    session = tiny_session(max_new_tokens=1)
    do(session, "goto sample")
    chosen = session.stop.chosen
    assert chosen is not None
    return chosen.id


def test_the_models_own_time_is_taken_with_no_hook_and_nothing_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny_session(temperature=1.0, top_k=5)
    do(session, "goto 1@2")
    do(session, "info lens")  # records from now on, which no run of a measurement may do
    hooks: list[tuple[frozenset[str], int]] = []
    armed: list[frozenset[str]] = []
    arm = Stops.arm

    def noting(stops: Stops, addresses: Any, *handler: Any) -> None:
        armed.append(frozenset(addresses))
        arm(stops, addresses, *handler)

    def forward(*args: Any, **kwargs: Any) -> Any:
        hooks.append((armed[-1], hooks_on(session.inspector.model)))
        return original(*args, **kwargs)

    original = session.inspector.model.forward
    monkeypatch.setattr(Stops, "arm", noting)
    monkeypatch.setattr(session.inspector.model, "forward", forward)
    found = _asked(session)
    bare = [count for addresses, count in hooks if not addresses]
    # One to begin with, those that count, and two of the other phase.
    assert found.other is not None
    assert len(bare) == 1 + found.alone.runs + found.other.runs and not any(bare)
    assert any(count for addresses, count in hooks if addresses)


def test_edits_are_left_out_and_it_says_so() -> None:
    session = tiny_session()
    do(session, "goto 0.mlp@1")
    do(session, "edit out * 2")
    found = _asked(session)
    assert "without your edits" in found.notes[0]
    assert session.run.edits.list() and session.stop.stage.address == "0.mlp"


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mistral"])
def test_memory_is_what_the_tensors_take(name: str) -> None:
    # What other tests have left behind would go at any moment, between the two measurements too.
    gc.collect()
    session = tiny_session(name)
    do(session, "goto sample@2")
    found, model = _asked(session), session.inspector.model
    held = {each.what: each.bytes for each in found.memory}
    assert held["parameters"] == sum(each.numel() * each.element_size() for each in model.parameters())
    assert held.get("buffers", 0) == sum(each.numel() * each.element_size() for each in model.buffers())
    cache = session.debuggee.cache
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert found.kv_bytes == held["KV cache"] == kept
    if name in ("llama", "gpt2"):
        do(session, "goto sample@3")
        assert sum(each.keys.nbytes + each.values.nbytes for each in cache_layers(session)) == kept + found.kv_growth
    resident = next(size for what, size in held.items() if what.startswith("resident"))
    assert abs(resident - psutil.Process().memory_info().rss) < 2**28


def cache_layers(session: Debugger) -> Any:
    return session.debuggee.cache.layers


def test_tied_weights_are_counted_once() -> None:
    session = tiny_session("gpt2")
    model = session.inspector.model
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    row = next(each for each in _asked(session).memory if each.what == "parameters")
    assert row.bytes == sum(each.nbytes for each in model.parameters())


def test_a_slow_prefill_is_run_once_for_each_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    def slow(*args: Any, **more: Any) -> timed_runs.TimedRun:
        runs.append(1)
        run = timed_runs.run_to_choice(*args, **more)
        run.ms = 6000.0
        return run

    monkeypatch.setattr(module, "run_to_choice", slow)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=partial(next, count(0, 6))))
    found = _asked(tiny_session())
    assert len(runs) == 4 and found.alone.runs == 1 and found.other is None
    assert "decode is not measured" in found.notes[0]


@pytest.mark.parametrize("times", [1.9, 2.1])
def test_times_too_far_apart_are_called_so(monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    runs: list[int] = []

    def measured(*args: Any, **more: Any) -> timed_runs.TimedRun:
        runs.append(1)
        run = timed_runs.run_to_choice(*args, **more)
        run.ms = 10.0 * times if len(runs) == 3 else 10.0
        return run

    monkeypatch.setattr(module, "run_to_choice", measured)
    notes = [each for each in _asked(tiny_session()).notes if "too noisy" in each]
    assert notes == (["the same forward took between 10.0 and 21.0 ms: too noisy to rely on, "
                      "is the machine busy?"] if times > 2 else [])  # fmt: skip


def test_an_interrupt_ends_it_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny_session()
    do(session, "goto 0@1")
    stop = session.stop
    lap = StageClock.lap
    monkeypatch.setattr(
        StageClock, "lap", lambda clock, address: (session.debuggee.stops.interrupt(), lap(clock, address))[1]
    )
    with pytest.raises(CommandError, match="interrupted"):
        do(session, "info cost")
    monkeypatch.undo()
    assert session.stop == stop
    assert _asked(session).token == 1


def test_what_is_too_little_to_measure_is_called_so() -> None:
    assert "adds 2.0 ms, 100 µs a stage" in added_line(WatchingCost("the outline", 20, 2.0, 100.0, 0.5))
    assert "1.5 ms less, in one run" in added_line(WatchingCost("the outline", 20, -1.5, 1.0, None))
    for more in (-1.0, 0.4):
        assert "adds less than" in added_line(WatchingCost("the outline", 20, more, more, 0.5))


def test_the_answer_is_text_json_and_csv(tmp_path: Path) -> None:
    session = tiny_session()
    do(session, "goto 1@1")
    found = _asked(session)
    lines = answer_lines(found)
    assert any(line.startswith("  decode of token 1: ") and "tokens/s" in line for line in lines)
    fields = json.loads(json.dumps(answer_json(found), allow_nan=False))
    assert fields["alone"]["phase"] == "decode" and fields["memory"][0]["what"] == "parameters"
    export(found, tmp_path / "cost.csv")
    assert (tmp_path / "cost.csv").read_text().startswith("stage,count,ms,")
    assert session.inspector.asked.last_answers["cost"] == found


@pytest.mark.cuda
def test_on_a_gpu_stages_are_timed_by_its_own_clock(cuda: torch.device) -> None:
    session = tiny_session()
    session.inspector.model.to(cuda)
    session.run.restart()
    do(session, "goto 1@2")
    found = _asked(session)
    assert 0 < sum(found.layers) <= found.alone.slowest * 10
    assert any(each.what.startswith("peak") and each.bytes > 0 for each in found.memory)


def test_a_half_precision_model_is_measured_as_it_is() -> None:
    session = tiny_session()
    session.inspector.model.to(torch.bfloat16)
    session.run.restart()
    assert _asked(session).dtype == "bfloat16"
    assert next(tiny_model("llama").parameters()).dtype is torch.float32
