"""The last token of `generate()` in a program: a stop like the others, and among the ids at the end."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from transformers import StoppingCriteriaList

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.lanes import HasLanes
from llmdbg.engine.program.generate_ending import GenerateEnding
from tests.engine.program.test_programs import at, begun, do, own_process

__all__ = ["own_process"]
pytestmark = pytest.mark.filterwarnings("ignore")


def samples(session: Debugger) -> list[tuple[str, int]]:
    """Every stop at `sample`, with the id that was chosen."""
    found = []
    do(session, "break sample", "continue")
    while session.end is None:
        assert session.stop.chosen is not None
        found.append((at(session), session.stop.chosen.id))
        do(session, "continue")
    return found


def lanes(session: Debugger) -> list[list[int]]:
    """What each row of the batch chose."""
    assert isinstance(session.debuggee, HasLanes)
    return [list(lane.ids) for lane in session.debuggee.lanes()]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "qwen3", "gemma3", "mamba"])
def test_every_token_of_a_batch_is_a_stop(architecture: str, capsys: pytest.CaptureFixture[str]) -> None:
    session = begun("batch_of_four.py", architecture)
    found = samples(session)
    rows = ast.literal_eval(capsys.readouterr().out)
    assert found == [(f"sample@{token}", rows[0][5 + token]) for token in range(3)]
    assert session.end is not None and session.end.ids == tuple(rows[0][5:])
    assert lanes(session) == [row[5:] for row in rows]


def test_its_scores_are_those_that_it_was_chosen_from() -> None:
    session = begun("batch_of_four.py", "llama")
    do(session, "until sample@2")
    assert session.stop.candidates is not None and session.stop.chosen is not None
    assert session.stop.candidates.rows[0].id == session.stop.chosen.id
    assert session.stop.chosen.rank == 1
    session.close()


def test_rows_that_end_at_different_steps_end_with_what_the_program_got(capsys: pytest.CaptureFixture[str]) -> None:
    session = begun("ends_early.py", "llama")
    do(session, "continue")
    rows = ast.literal_eval(capsys.readouterr().out)
    assert 0 in rows[0] and rows[0][5] != rows[1][5]
    assert lanes(session) == [row[3:] for row in rows]


def test_one_token_is_seen_and_so_is_the_last_before_the_next_call_begins() -> None:
    session = begun("one_token.py")
    found = samples(session)
    assert [where for where, _ in found] == ["sample@0", "sample@1", "sample@2"]
    assert found[0][1] == found[1][1], "both calls begin alike"


def test_an_encoder_decoders_last_token_is_the_decoders(capsys: pytest.CaptureFixture[str]) -> None:
    session = begun("encoder_decoder.py")
    found = samples(session)
    rows = ast.literal_eval(capsys.readouterr().out.rpartition(" ")[0])
    assert [id for _, id in found] == rows[0][1:]


def test_the_last_tokens_of_beams_are_not_made_up() -> None:
    session = begun("beams.py")
    assert [where for where, _ in samples(session)] == [f"sample@{token}" for token in range(4)]


@pytest.mark.parametrize("how", ["continue", "close"])
def test_transformers_own_method_is_put_back(how: str) -> None:
    own = StoppingCriteriaList.__call__
    session = begun("left_padded.py")
    assert StoppingCriteriaList.__call__ is not own
    if how == "continue":
        do(session, "continue")
    session.close()
    assert StoppingCriteriaList.__call__ is own


def test_one_that_somebody_has_put_over_ours_is_left_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    own = StoppingCriteriaList.__call__
    ending = GenerateEnding(lambda ids, is_done: None)
    ending.begin()

    def theirs(criteria: Any, *args: Any, **kwargs: Any) -> Any:
        return own(criteria, *args, **kwargs)

    monkeypatch.setattr(StoppingCriteriaList, "__call__", theirs)
    ending.end()
    assert StoppingCriteriaList.__call__ is theirs
    StoppingCriteriaList.__call__ = own
