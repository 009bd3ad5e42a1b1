"""Masks of each query: what they hide of a batch is its padding, whatever cache or program they come from."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.registry import Answer
from llmdbg.debugger.comparison.row_outcome import RowComparison, RowVerdict
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.lanes import LaneTable
from llmdbg.engine.program.masks import read_mask
from llmdbg.errors import UnableError
from tests.engine.program.test_programs import PROGRAMS, begun, do

pytestmark = pytest.mark.filterwarnings("ignore")

CAUSAL = torch.ones(5, 5, dtype=torch.bool).tril()
PADDED = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
RIGHT = PADDED.flip(-1)


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def of_each_query(shown: torch.Tensor, among: torch.Tensor = CAUSAL) -> torch.Tensor:
    return shown.bool()[:, None, None] & among


def added(mask: torch.Tensor, least: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, least)


@pytest.mark.parametrize("shown", [PADDED, RIGHT])
def test_padding_is_read_off_masks_of_each_query(shown: torch.Tensor) -> None:
    """Bool or added, of one head or several, with a fully masked row opened or left its own key, with room behind."""
    mask = of_each_query(shown)
    opened = mask | ~mask.any(-1, keepdim=True)
    kinds = [
        mask,
        opened,
        mask | torch.eye(5, dtype=torch.bool) & (shown == PADDED).all(),
        mask.expand(-1, 4, -1, -1),
        torch.nn.functional.pad(mask, (0, 7)),
        added(mask, torch.finfo(torch.float32).min),
        added(mask, float("-inf")),
        added(mask, torch.finfo(torch.float16).min, torch.float16),
        added(mask, -10000.0, torch.bfloat16),
    ]
    for each in [*kinds, {"sliding_attention": CAUSAL, "full_attention": mask}]:
        found = read_mask(each, 3, 0, 5)
        assert found is not None and found.is_plain is not None and bool(found.is_plain)
        assert found.shown.tolist() == shown.tolist()


def test_a_window_hides_nothing_that_is_padding_but_is_not_plain() -> None:
    window = CAUSAL & torch.ones(5, 5, dtype=torch.bool).triu(-1)
    found = read_mask(of_each_query(PADDED, window), 3, 0, 5)
    assert found is not None and found.shown.tolist() == PADDED.tolist() and not found.is_plain


@pytest.mark.parametrize(
    "mask",
    [
        of_each_query(PADDED, torch.ones(5, 5, dtype=torch.bool)),
        added(of_each_query(PADDED), -torch.inf) - torch.arange(5) / 8,
        of_each_query(PADDED)[:, :, :, :4],
    ],
)
def test_what_a_mask_does_beyond_padding_is_not_plain(mask: torch.Tensor) -> None:
    found = read_mask(mask, 3, 0, 5)
    assert found is not None and not found.is_plain


@pytest.mark.parametrize("mask", [None, PADDED[:, None], PADDED[:, None, None], of_each_query(PADDED)[:2], {}])
def test_other_shapes_are_no_mask(mask: torch.Tensor | None) -> None:
    assert read_mask(mask, 3, 0, 5) is None


@pytest.mark.parametrize("kind", ["static", "bool", "float", "both ways"])
def test_lanes_have_the_padding_that_such_a_mask_hides(kind: str) -> None:
    session = begun("masks_of_each_query.py", kind)
    do(session, "until 1.mlp")
    outcome = COMMANDS.run(session, "info lanes")
    assert isinstance(outcome, Answer) and isinstance(outcome.data, LaneTable)
    assert [(each.padding, each.prompt) for each in outcome.data.rows] == [(2, 2), (1, 3), (0, 4)]
    do(session, "lane 0")
    assert session.debuggee.prompt.padding == 2
    session.close()


@pytest.mark.parametrize("kind", ["static", "bool", "float"])
def test_a_lane_is_held_against_its_single_run(kind: str) -> None:
    session = begun("masks_of_each_query.py", kind)
    do(session, "until 1.mlp")
    for padding, lane in enumerate((2, 1, 0)):
        assert padding == _alone(session, lane)
    if kind == "static":
        do(session, "until sample", "until 1.mlp")
        assert session.stop.token == 1 and _alone(session, 0) == 2
    session.close()


def _alone(session: Debugger, lane: int) -> int:
    outcome = COMMANDS.run(session, f"lane {lane} alone")
    assert isinstance(outcome, Answer) and isinstance(outcome.data, RowComparison)
    assert outcome.data.verdict in (RowVerdict.SAME, RowVerdict.WITHIN_ARITHMETIC), outcome.data.sentence
    return outcome.data.padding


def test_a_mask_that_does_more_is_refused() -> None:
    session = begun("masks_of_each_query.py", "both ways")
    do(session, "until 1.mlp")
    with pytest.raises(UnableError, match="its attention mask does more than hide padding and what comes later"):
        do(session, "lane 1 alone")
    assert not COMMANDS.parse("lane 1 alone").effect & Effect.MOVES and COMMANDS.parse("lane 1").effect & Effect.MOVES
    session.close()


@pytest.mark.slow
def test_what_is_refused_ends_no_program() -> None:
    """It is an error of that command, in one line."""
    program, root = [str(PROGRAMS / "masks_of_each_query.py"), "both ways"], str(PROGRAMS.parents[3])
    asked = ["-ex", "until 1.mlp", "-ex", "lane 1 alone", "-ex", "continue"]
    environment = os.environ | {"PYTHONPATH": root}
    plain, asked_about = [
        subprocess.run(
            [sys.executable, *before, *program], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        for before in ([], ["-m", "llmdbg", "run", "--batch", *asked])
    ]
    assert len(plain.stdout.splitlines()) == 1 and plain.stdout.strip() in asked_about.stdout + asked_about.stderr
    errors = [line for line in asked_about.stderr.splitlines() if "attention mask" in line]
    assert len(errors) == 1 and "Traceback" not in asked_about.stderr
