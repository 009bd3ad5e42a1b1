"""An exception in a program's forward: its own frames, the line that failed and the tensors it used."""

from __future__ import annotations

import gc
from pathlib import Path
from weakref import ref

import pytest
import torch
from torch import nn

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.program.attached import AttachedProgram
from llmdbg.frontends.answers.json_fields import stop_fields
from llmdbg.frontends.answers.stops import stop_line
from tests.sessions import do


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))
        self.lower = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, lower: bool = False) -> torch.Tensor:
        wide = x * 2
        try:
            return self.lower(wide) if lower else torch.matmul(wide, self.weight)
        finally:
            del lower


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Square()

    def forward(self, x: torch.Tensor, lower: bool = False) -> torch.Tensor:
        return self.block(x, lower=lower)


def failing(front_end_does: object, lower: bool = False, width: int = 5) -> BaseException:
    def front_end(program: AttachedProgram) -> None:
        session = Debugger(program)
        do(session, "continue")
        front_end_does(session)  # type: ignore[operator]
        program.stops.arm(())
        do(session, "continue")

    program = AttachedProgram("test", front_end, lambda _: None)
    program.attach(model := Model())
    with pytest.raises(RuntimeError) as caught:
        model(torch.ones(2, width), lower=lower)
    program.detach()
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    return caught.value


LINE = "return self.lower(wide) if lower else torch.matmul(wide, self.weight)"


def test_the_line_that_failed_with_its_tensors_and_its_frames() -> None:
    def look(session: Debugger) -> None:
        stop = session.stop
        assert (stop.reason, stop.code.text, stop.code.function) == ("exception", LINE, "Square.forward")
        assert [(each.name, each.shape) for each in stop.takes] == [("wide", (2, 5)), ("self.weight", (3, 3))]
        said = stop_line(stop)
        assert stop.code.where.startswith("test_post_mortem.py:") and stop.code.where in said
        assert said.endswith("with wide float32[2, 5], self.weight float32[3, 3]")
        fields = stop_fields(stop)
        assert fields["source"]["line"] == stop.code.line and len(fields["takes"]) == 2
        rows = do(session, "backtrace").data.rows
        assert [each.function for each in rows[:2]] == ["Square.forward", "Model.forward"]
        # Its `finally` ran behind the line that failed.
        assert rows[0].code == LINE and rows[0].selected
        assert any(each.code.startswith("model(torch.ones(2, width)") for each in rows)
        assert do(session, "info source").data.current == stop.code.line
        assert {"wide", "x"} <= {each.name for each in do(session, "info locals").data.rows}
        assert "10" in str(do(session, "print wide.sum() * 0 + wide.numel()").data)
        assert do(session, "up").data.function == "Model.forward"
        assert do(session, "info locals x").data.shape == (2, 5)
        assert do(session, "down").data.function == "Square.forward"

    failing(look)


def test_torchs_frames_are_further_in_and_tell_of_the_tensors() -> None:
    def look(session: Debugger) -> None:
        assert session.stop.stage.address.endswith("lower") and session.stop.code.function == "Square.forward"
        names = [(each.name, each.shape) for each in session.stop.takes]
        assert names == [("input", (2, 5)), ("self.weight", (2, 4)), ("self.bias", (2,))]
        assert next(each for each in do(session, "bt").data.rows if each.selected).code == LINE
        assert do(session, "down").data.function == "Linear.forward"
        assert do(session, "info locals").data.rows

    failing(look, lower=True)


def test_the_exception_goes_on_as_it_was_and_nothing_keeps_it() -> None:
    kept = []
    error = failing(
        lambda session: kept.append(ref(session.inspector.event.error.__traceback__.tb_frame.f_locals["self"]))
    )
    names, at = [], error.__traceback__
    while at is not None:
        names.append(Path(at.tb_frame.f_code.co_filename).name)
        at = at.tb_next
    assert "post_mortem.py" not in names and names[-1] == "test_post_mortem.py"
    del error, at
    gc.collect()
    assert kept[0]() is None
