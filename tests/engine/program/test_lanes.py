"""The rows of a program's batch: each has its own tokens, padding and statistics, those that transformers has."""

from __future__ import annotations

import sys

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.registry import Answer
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.lanes import LaneTable
from llmdbg.probes.statistics import measure, read
from tests.engine.program.test_programs import PROGRAMS, begun, do
from tests.sessions import tiny_session
from tests.tiny import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")

IDS = torch.tensor([[0, 0, 5, 17], [0, 3, 4, 5], [9, 8, 7, 6]])


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def _lanes(session: Debugger) -> LaneTable:
    outcome = COMMANDS.run(session, "info lanes")
    assert isinstance(outcome, Answer) and isinstance(outcome.data, LaneTable)
    return outcome.data


def test_each_lane_is_what_transformers_has_for_it() -> None:
    """Tokens, and statistics of its own part of a tensor, bitwise."""
    model = tiny_model("mistral")
    seen: list[torch.Tensor] = []
    handle = model.model.layers[1].mlp.register_forward_hook(lambda _module, _args, output: seen.append(output.clone()))
    out = model.generate(IDS, attention_mask=(IDS > 0).long(), max_new_tokens=4)
    handle.remove()
    session = begun("left_padded.py")
    do(session, "until 1.mlp")
    first = _lanes(session).rows
    assert [(each.lane, each.padding, each.prompt, each.ids) for each in first] == [
        (0, 2, 2, ()),
        (1, 1, 3, ()),
        (2, 0, 4, ()),
    ]
    assert [each.numbers for each in first] == read([measure(seen[0][at, (IDS[at] == 0).sum() :]) for at in range(3)])
    do(session, "break 1.mlp", "continue", "continue")
    later = _lanes(session)
    assert session.stop.token == 2 and later.note == ""
    assert [each.ids for each in later.rows] == [tuple(row) for row in out[:, 4:6].tolist()]
    assert [each.numbers for each in later.rows] == read([measure(seen[2][at]) for at in range(3)])
    do(session, "until lm_head")
    scores = _lanes(session).rows
    assert all(0 < (each.prob or 0) <= 1 for each in scores)
    assert [each.likeliest for each in scores] == [f" {id}" for id in out[:, 6].tolist()]
    session.close()


def test_one_sequence_has_no_lanes() -> None:
    """It is said what shows its tokens."""
    outcome = COMMANDS.run(tiny_session(), "info lanes")
    assert isinstance(outcome, Answer) and outcome.data == "tiny llama runs one sequence, which `info tokens` shows"


@pytest.mark.parametrize(
    ("kind", "size", "parts"), [("generate", 3, 3), ("generate", 4, 3), ("generate", 9, 1), ("loop", 3, 3)]
)
def test_a_prompt_that_is_fed_in_parts_is_a_prompt(kind: str, size: int, parts: int) -> None:
    """No token is chosen between its parts; of a last part of one token that shows once one is."""
    session = begun("prompt_in_parts.py", kind, str(size))
    do(session, "break 1.mlp")
    for part in range(parts):
        do(session, "continue")
        fed = min(size * (part + 1), 9)
        if size != 4 or part < 2:
            assert session.stop.token == 0 and len(session.debuggee.prompt.ids) == fed
            assert session.debuggee.generated == ()
    for token in range(2):
        do(session, "continue")
        rows = _lanes(session).rows
        assert [(each.padding, each.prompt, len(each.ids)) for each in rows] == [(5, 4, token + 1), (0, 9, token + 1)]
        assert session.debuggee.prompt.ids == (0, 0, 0, 0, 0, 5, 17, 3, 4) and session.debuggee.prompt.padding == 5
    session.close()


def test_tokens_that_are_fed_several_at_once_after_a_choice_are_no_prompt() -> None:
    """As where another model has drafted them."""
    session = begun("assisted.py")
    do(session, "until logits")
    prompt = len(session.debuggee.prompt.ids)
    do(session, "break 1.mlp", "continue", "continue", "continue")
    assert len(session.debuggee.prompt.ids) <= prompt
    session.close()


def test_the_next_turn_of_a_chat_is_a_prompt_and_its_tokens_have_no_other_turns_probabilities() -> None:
    session = begun("two_turns.py")
    session.run.on_token = lambda _number, _row: None
    do(session, "until 1.mlp@2")
    assert [each.generated for each in session.run.tokens()] == [*[None] * 5, 0, 1]
    assert None not in session.run.probabilities() and len(session.run.probabilities()) == 2
    do(session, "until 1.mlp@6")
    assert [each.id for each in session.run.tokens()][9:12] == [40, 41, 42]
    assert [each.generated for each in session.run.tokens()] == [*[None] * 12, 0, 1]
    assert session.run.probabilities() == (None, None)
