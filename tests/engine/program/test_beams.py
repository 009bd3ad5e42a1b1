"""Beams: rows are followed as the search moves them, and the family tree is transformers' own."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from transformers import Cache, DynamicCache

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.registry import Answer
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.beams import BeamFamily
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.answers.json_fields import stop_fields
from llmdbg.frontends.answers.stops import stop_line
from tests.engine.program.test_programs import PROGRAMS, begun, do
from tests.sessions import tiny_session
from tests.tiny import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def asked(session: Debugger, line: str) -> Any:
    outcome = COMMANDS.run(session, line)
    assert isinstance(outcome, Answer)
    return outcome.data


def transformers_own(name: str) -> tuple[list[int], list[int], list[list[list[int]]]]:
    """The best sequence, its beam indices, and the rows as each forward has them without a cache."""
    model = tiny_model(name)
    fed: list[list[list[int]]] = []
    model.register_forward_pre_hook(lambda _m, _a, kwargs: fed.append(kwargs["input_ids"].tolist()), with_kwargs=True)
    out = model.generate(
        torch.tensor([[5, 17, 3]]),
        num_beams=4,
        max_new_tokens=8,
        do_sample=False,
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    return out.sequences[0].tolist(), out.beam_indices[0].tolist(), fed


@pytest.mark.parametrize("how", ["with", "without"])
@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "gemma2"])
def test_each_lane_has_the_tokens_that_transformers_feeds_it(name: str, how: str) -> None:
    """At every token, and a lane's line of descent is the one that transformers reports for the best sequence."""
    best, indices, fed = transformers_own(name)
    session = begun("four_beams.py", name, how)
    do(session, "break sample if token >= 0", "continue")
    moved = False
    while session.end is None:
        stop = session.stop
        if stop.chosen is not None:
            moved = moved or stop.reordered not in ((), (0, 1, 2, 3))
            for lane in range(4):
                do(session, f"lane {lane}")
                assert [each.id for each in session.run.tokens()] == fed[stop.token + 1][lane]
            do(session, "lane all")
        if stop.token == 6:
            family = asked(session, "info beams")
        do(session, "continue")
    assert moved
    session.close()
    assert isinstance(family, BeamFamily)
    lines = []
    for lane in range(4):
        row, line = lane, []
        for step in reversed(family.steps):
            line.append((step.beams[row].parent, step.beams[row].id))
            row = step.beams[row].parent
        lines.append(line[::-1])
    # Without a cache nothing tells the prompt's rows apart, which are all the same.
    theirs = [*zip(indices[:6], best[3:9], strict=True)]
    assert theirs[how == "without" :] in [each[how == "without" :] for each in lines]


def test_the_move_is_said_and_can_be_stopped_at() -> None:
    """In the stop's line, in JSON and by a condition."""
    session = begun("four_beams.py", "llama", "with")
    do(session, "break sample if reordered", "continue")
    stop = session.stop
    assert len(stop.reordered) == 4 and stop.reordered != (0, 1, 2, 3)
    assert stop_fields(stop)["reordered"] == list(stop.reordered)
    assert f"lanes 0←{stop.reordered[0]} 1←{stop.reordered[1]}" in stop_line(stop)
    lane = next(at for at, row in enumerate(stop.reordered) if at != row)
    said = asked(session, "info beams")
    assert isinstance(said, str)
    assert said.startswith("the rows have just moved for the first time: ")
    assert f"lane {lane} continues lane {stop.reordered[lane]}" in said
    do(session, "until sample")
    shown = "\n".join(answer_lines(asked(session, "info beams")))
    assert "lane 3" in shown and "×: nothing continues it" in shown
    session.close()


def test_a_lanes_scores_at_its_choice_are_those_of_the_lane_it_continues() -> None:
    """The chosen token's probability is its own."""
    session = begun("four_beams.py", "llama", "with")
    do(session, "until logits")
    [before] = [session.inspector.event.trail[0][1]]
    do(session, "until sample")
    for lane in range(4):
        do(session, f"lane {lane}")
        # The prompt's beams are the same until the first choice.
        assert torch.equal(session.inspector.event.trail[0][1], before)
        chosen = session.stop.chosen
        assert chosen is not None and chosen.prob == pytest.approx(float(before.softmax(-1)[0, chosen.id]), rel=1e-5)
    session.close()


def test_caches_are_as_before_afterwards() -> None:
    """Nothing of transformers stays wrapped."""
    before = Cache.reorder_cache, DynamicCache.reorder_cache
    session = begun("four_beams.py", "llama", "with")
    assert Cache.reorder_cache is not before[0]
    do(session, "continue")
    session.close()
    assert (Cache.reorder_cache, DynamicCache.reorder_cache) == before


def test_where_nothing_moves_it_is_said() -> None:
    """In a sentence."""
    assert asked(tiny_session(), "info beams") == "tiny llama has not moved the rows of a batch: each continues itself"
