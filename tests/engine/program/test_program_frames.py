"""The frames of a user's own program: from the layer down to the line of the script that called the model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.frames import FrameRow
from llmdbg.engine.program.attached import AttachedProgram
from llmdbg.engine.program.launched import LaunchedProgram
from llmdbg.engine.program.launching import script
from tests.sessions import do, write_tiny_folder
from tests.tiny import tiny_model

PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.filterwarnings("ignore")
def test_down_to_the_line_of_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    program = LaunchedProgram(script(str(PROGRAMS / "greedy.py"), [str(write_tiny_folder(tmp_path / "tiny"))]))
    assert program.find()
    session = Debugger(program)
    do(session, "until 1.mlp")
    rows = do(session, "info frames").data.rows
    assert [each.function for each in rows[:2]] == ["LlamaMLP.forward", "LlamaDecoderLayer.forward"]
    own = [each for each in rows if each.file == str(PROGRAMS / "greedy.py")]
    assert own and "model(" in own[0].code
    assert not any("llmdbg/" in each.file and "tests" not in each.file for each in rows)
    do(session, f"frame {own[0].number}")
    assert "▶" not in str(do(session, "info source").data) and ">" in str(do(session, "info source").data)
    assert do(session, "info locals").data.rows
    session.close()


def test_of_a_program_that_attached_itself_its_own_frames_are_there() -> None:
    model = tiny_model("llama").eval()
    found: list[FrameRow] = []

    def front_end(program: AttachedProgram) -> None:
        session = Debugger(program)
        do(session, "until 1.mlp")
        found.extend(do(session, "info frames").data.rows)
        program.stops.arm(())

    program = AttachedProgram("test", front_end, lambda _: None)
    program.attach(model)
    with torch.no_grad():
        model(torch.arange(5)[None])
    program.detach()
    assert [each.function for each in found[:2]] == ["LlamaMLP.forward", "LlamaDecoderLayer.forward"]
    here = next(each for each in found if each.file == __file__)
    assert here.code == "model(torch.arange(5)[None])"
