"""What each layer would say, beside the stages: as the lens has it, a layer at a time, and in passing."""

from __future__ import annotations

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.predictions_answer import LayerPredictions
from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from tests.sessions import do, lens_of, rows_through_the_head, tiny_session, tokens_run_again
from tests.tiny import tiny_model


def asked(session: Debugger) -> LayerPredictions:
    found = STANDING_QUESTIONS["layers"].ask(session.inspector)
    assert isinstance(found, LayerPredictions)
    return found


@pytest.mark.parametrize("place", ["0@0", "1@0", "norm@0", "logits@0", "sample@0", "1@2", "sample@3"])
def test_it_says_what_the_lens_says(place: str) -> None:
    session = tiny_session(max_new_tokens=6)
    do(session, f"goto {place}")
    found, table = asked(session), lens_of(session)
    rows = {row.address: row.top[0] for row in table.rows if row.address in ("0", "1")}
    assert {address: (each.id, each.text) for address, each in found.layers.items()} == {
        address: (best.id, best.text) for address, best in rows.items()
    }
    for address, each in found.layers.items():
        assert each.prob == pytest.approx(rows[address].prob, rel=1e-5)
    assert found.prediction is not None
    assert table.prediction is not None
    assert found.prediction.id == table.prediction.id
    if found.stays is not None:
        assert table.stays in (found.stays, "embed")


def test_nothing_before_the_first_layer() -> None:
    session = tiny_session()
    assert asked(session) == LayerPredictions({})
    do(session, "next")
    assert asked(session).layers == {}


def test_a_step_reads_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny_session()
    asked(session)
    sizes = rows_through_the_head(monkeypatch)
    for _ in range(3):
        do(session, "next")
        asked(session)
        asked(session)
    assert session.stop.stage.address == "1"
    assert sizes == [1, 1]
    do(session, "reverse-next")
    assert list(asked(session).layers) == ["0"]


def test_it_is_recorded_in_passing_however_far_the_run_goes() -> None:
    session = tiny_session(max_new_tokens=12)
    asked(session)
    runs = tokens_run_again(session)
    for line in ("token 5", "until 1", "token 4"):
        do(session, line)
        assert len(asked(session).layers) == 2
    assert runs == []


def test_a_command_without_a_question_ends_the_recording() -> None:
    session = tiny_session(max_new_tokens=12)
    asked(session)
    do(session, "token 4")
    do(session, "token 4")
    assert not session.run.recorder.addresses(session.stop.token + 2)


def test_an_edit_changes_what_later_layers_say() -> None:
    session = tiny_session()
    do(session, "until 0")
    before = asked(session).layers["0"]
    do(session, "zero 0")
    after = asked(session).layers["0"]
    assert (before.id, before.prob) != (after.id, after.prob)


def test_the_lens_is_used_before_it_is_verified_and_says_so() -> None:
    session = tiny_session()
    asked(session)
    do(session, "until 0")
    assert not asked(session).verified
    do(session, "until logits")
    assert asked(session).verified


def long_session() -> Debugger:
    model = tiny_model("llama")
    model.config.max_position_embeddings = 4096
    prompt = encode_prompt(None, "x" * 1100, vocabulary_size=128)
    loaded = LoadedModel("tiny llama", model, None, "sdpa")
    return Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=3, greedy=True)))


def test_a_long_prompt_is_not_run_again_for_it_but_is_read_in_passing() -> None:
    session = long_session()
    do(session, "until 1")
    runs = tokens_run_again(session)
    assert asked(session).why_none.startswith("the prompt is long")
    do(session, "token")
    do(session, "token")
    assert len(asked(session).layers) == 2
    session = long_session()
    asked(session)
    do(session, "until 1")
    assert len(asked(session).layers) == 2
    assert runs == []
