"""A recording that ends early, is damaged or lies is replayed up to there, and the replay says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import llmdbg
from llmdbg.debugger.debugger import Debugger
from llmdbg.errors import CommandError, TraceError
from llmdbg.frontends.answers import answer_lines
from llmdbg.traces.reader import Trace
from llmdbg.traces.replay.recorded_run import RecordedRun
from llmdbg.traces.tensor_files import KEEPS
from tests.recordings import record, tiny_generation
from tests.sessions import do, here
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "sound"
    record(tiny_generation(temperature=0.8, seed=1), folder, KEEPS["all"])
    return folder


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


def debugger(folder: Path) -> Debugger:
    return Debugger(RecordedRun(Trace.open(folder)))


def lines_of(folder: Path) -> list[str]:
    return (folder / "tokens.jsonl").read_text().splitlines(keepends=True)


def to_the_end(folder: Path) -> Debugger:
    session = debugger(folder)
    do(session, "continue")
    return session


def test_of_a_run_that_was_killed_the_stages_of_its_last_token_are_there(run: Path) -> None:
    (run / "tokens.jsonl").write_text("".join(lines_of(run)[:3]))
    session = to_the_end(run)
    assert session.end is not None
    assert (session.end.stopped_by, len(session.end.ids)) == ("recording", 3)
    assert here(session) == "sample@3", "the last recorded stage of a token whose choice was not"
    assert session.stop.chosen is None
    assert session.end.why == "the recording goes no further"
    do(session, "goto 1.mlp@3")
    assert session.stop.tensor is not None
    do(session, "reverse-token")
    assert here(session) == "sample@2"


def test_a_damaged_line_ends_the_replay_before_it_and_is_said(run: Path) -> None:
    lines = lines_of(run)
    (run / "tokens.jsonl").write_text("".join([*lines[:2], "{]\n", *lines[3:]]))
    session = to_the_end(run)
    assert session.end is not None
    assert (session.end.stopped_by, len(session.end.ids)) == ("recording", 2)
    [note] = [each for each in session.debuggee.notes if "damaged" in each]
    assert "tokens.jsonl" in note and "line 3" in note
    with pytest.raises(CommandError, match="over"):
        do(session, "goto 1@3")


def test_damaged_stages_end_it_as_well_and_others_can_be_gone_to(run: Path) -> None:
    lines = lines_of(run)
    broken = json.loads(lines[2])
    (run / "tokens.jsonl").write_text("".join([*lines[:2], json.dumps(broken | {"first_row": 10**6}) + "\n", lines[3]]))
    session = to_the_end(run)
    assert here(session) == "sample@1"
    assert session.end is not None and session.end.stopped_by == "recording"
    assert any("damaged" in each or "cannot read" in each for each in session.debuggee.notes)
    with pytest.raises(TraceError):
        do(session, "goto 1@2")
    do(session, "goto 1@3")
    assert here(session) == "1@3"


def test_a_tensor_that_is_damaged_costs_a_line_and_the_recorded_numbers_stay(run: Path) -> None:
    [path] = run.glob("tensors-00001.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    session = debugger(run)
    do(session, "goto 1.mlp@0")
    do(session, "goto 1.mlp@1")
    assert session.stop.tensor is not None and session.stop.tensor.numbers is not None
    with pytest.raises(CommandError, match=r"tensors-00001\.safetensors is damaged"):
        do(session, "x")
    assert any("cannot be shown" in each for each in session.debuggee.notes)
    do(session, "continue")
    assert here(session) == "sample@3"


def test_a_recording_without_tokens_is_its_prompt(run: Path) -> None:
    (run / "tokens.jsonl").write_text("")
    for path in run.glob("stages-*"):
        path.unlink()
    session = debugger(run)
    assert here(session) == "tokenize@0"
    with pytest.raises(CommandError):
        do(session, "continue")
    assert len(session.run.tokens()) == len("Hello there")


def test_hostile_text_is_not_obeyed(run: Path) -> None:
    header = json.loads((run / "trace.json").read_text())
    header |= {"model": "\x1b[31mevil\n" + "x" * 500, "notes": ["\x1b]0;owned\x07"], "sampling": {"values": 3}}
    (run / "trace.json").write_text(json.dumps(header))
    session = debugger(run)
    assert "\x1b" not in session.debuggee.name and len(session.debuggee.name) < 100
    with pytest.raises(CommandError) as raised:
        do(session, "edit out * 2")
    assert "\x1b" not in str(raised.value)
    assert session.debuggee.sampling is None
    do(session, "continue")
    assert answer_lines(do(session, "info stage").data)


def test_a_recording_that_began_late_has_the_earlier_tokens_choices(tmp_path: Path) -> None:
    live = Debugger(tiny_generation(greedy=True))
    do(live, "token 2", f"record {tmp_path / 'run'}", "continue")
    ids = live.run.generated_ids()
    live.close()
    session = to_the_end(tmp_path / "run")
    assert session.run.generated_ids() == ids
    do(session, "goto sample@0")
    assert session.stop.chosen is not None and session.stop.chosen.id == ids[0]
    with pytest.raises(CommandError):
        do(session, "goto 1@0")
    do(session, "goto 1@3")
    assert session.stop.tensor is not None


@pytest.mark.parametrize("chooses", [True, False])
def test_a_program_of_ones_own_is_replayed(tmp_path: Path, chooses: bool) -> None:
    model = tiny_model("llama")
    ids = torch.arange(5)[None]
    with llmdbg.Recorder(model, tmp_path / "run") as recorder, torch.no_grad():
        for _ in range(3):
            logits = model(ids).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=-1)
            if chooses:
                recorder.token(int(ids[0, -1]), logits[0, -1])
    session = debugger(tmp_path / "run")
    do(session, "break 1 if norm > 0", "continue", "continue")
    assert here(session) == "1@1"
    assert session.stop.tensor is not None and session.stop.tensor.numbers is not None
    if chooses:
        do(session, "reverse-step", "goto sample@2", "info candidates")
        assert session.stop.candidates is not None
    else:
        with pytest.raises(CommandError, match="no choices of tokens were recorded"):
            do(session, "reverse-step")
        do(session, "run", "reverse-step")
        assert here(session).endswith("@0"), "the first forward can be gone back to"
