"""`lane N alone`: what a batch changes of a row is named at the first stage where it shows; rounding is not."""

from __future__ import annotations

import sys

import pytest

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.registry import Answer
from llmdbg.debugger.comparison.row_outcome import RowCause, RowComparison, RowVerdict
from llmdbg.debugger.debugger import Debugger
from llmdbg.errors import CommandError, UnableError
from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.answers.writers import lines
from tests.engine.program.test_programs import PROGRAMS, begun, do
from tests.sessions import tiny_session

pytestmark = pytest.mark.filterwarnings("ignore")

ALIKE = (RowVerdict.SAME, RowVerdict.WITHIN_ARITHMETIC)
_BACKWARD = ["break 0.grad", "until logits", "continue"]


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def alone(session: Debugger, line: str) -> RowComparison:
    outcome = COMMANDS.run(session, line)
    assert isinstance(outcome, Answer) and isinstance(outcome.data, RowComparison)
    return outcome.data


def of_padded(model: str, fault: str, *before: str, lane: int = 1) -> RowComparison:
    """A lane of `padded_batch.py`, of which row 1 has three positions of padding and five tokens of its own."""
    session = begun("padded_batch.py", model, fault)
    do(session, *before)
    found = alone(session, f"lane {lane} alone")
    session.close()
    return found


@pytest.mark.parametrize("model", ["llama", "gpt2", "opt", "bloom", "mixtral"])
def test_a_right_batch_is_the_same_within_noise(model: str) -> None:
    """In its prompt and in what it has generated, with padding on either side."""
    for before in ([], ["until sample", "until sample", "until logits"]):
        for side in ("left", "right"):
            found = of_padded(model, side, *before)
            assert found.verdict in ALIKE and found.causes == () and found.stage is None, found.sentence
            assert found.tokens == (7 if before else 5) and found.notes == () and found.parting is None
            assert len(found.stages) > 10 and not any(each.differs for each in found.stages)


@pytest.mark.parametrize(
    ("model", "fault", "causes", "stage"),
    [
        ("llama", "no mask", (RowCause.MASK,), "0.self_attn"),
        ("llama", "no mask, positions", (RowCause.MASK,), "0.self_attn"),
        ("bloom", "no mask", (RowCause.MASK,), "0.self_attention"),
        ("opt", "no mask", (RowCause.MASK,), "model.decoder.embed_positions"),
        ("gpt2", "no mask", (RowCause.MASK, RowCause.POSITIONS), "transformer.wpe"),
        ("mixtral", "shown", (RowCause.MASK,), "0.self_attn"),
        ("gpt2", "shown", (RowCause.MASK,), "0.attn"),
        ("llama", "hidden", (RowCause.MASK,), "0.self_attn"),
        ("gpt2", "positions", (RowCause.POSITIONS,), "transformer.wpe"),
        ("gpt2", "model's own positions", (RowCause.POSITIONS,), "transformer.wpe"),
        ("opt", "positions", (RowCause.POSITIONS,), "model.decoder.embed_positions"),
        ("llama", "rows", (RowCause.ROWS,), "1.mlp"),
    ],
)
def test_what_is_wrong_with_a_batch_is_named_where_it_shows_first(
    model: str, fault: str, causes: tuple[RowCause, ...], stage: str
) -> None:
    found = of_padded(model, fault, "until logits")
    assert (found.verdict, found.causes, found.stage) == (RowVerdict.DIFFERENT, causes, stage), found.sentence
    assert found.sentence.startswith(f"lane 1 differs from its single run, first at {stage}")
    assert found.padding == 3


def test_a_row_without_padding_has_no_part_in_what_is_wrong_with_the_others() -> None:
    for fault in ("no mask", "model's own positions", "hidden"):
        assert of_padded("gpt2", fault, lane=2).verdict in ALIKE


def test_shifted_positions_are_rounding_to_rotary_embeddings() -> None:
    """Their angles differ, and nothing that the layers make of them does."""
    found = of_padded("llama", "model's own positions", "until logits")
    assert found.verdict is RowVerdict.WITHIN_ARITHMETIC and found.causes == ()
    assert found.positions is not None and found.positions.batched == (3, 4, 5, 6, 7)
    assert found.positions.alone == (0, 1, 2, 3, 4)
    assert next(each for each in found.stages if each.address == "model.rotary_emb").differs


@pytest.mark.parametrize(("model", "stage"), [("llama", "model.rotary_emb"), ("gpt2", "transformer.wpe")])
def test_positions_that_go_wrong_while_decoding_do_so_from_there_on(model: str, stage: str) -> None:
    found = of_padded(model, "later positions", "until sample", "until logits")
    assert found.causes == (RowCause.POSITIONS,) and (found.stage, found.since) == (stage, 5)
    assert found.positions is not None and found.positions.batched == (0, 1, 2, 3, 4, 8)
    assert "from its token 5 on: its tokens are at positions 0 1 2 3 4 8, by itself at 0 to 5" in found.sentence


def test_a_token_that_is_chosen_behind_right_padding_is_said() -> None:
    found = of_padded("llama", "right, last position", "until sample", "until logits")
    assert found.verdict is RowVerdict.DIFFERENT and found.causes == (RowCause.CHOICE,)
    assert "chosen behind its padding, at position 7, not at its own last, 4" in found.sentence


def test_what_one_forward_over_all_would_not_do_is_said() -> None:
    """Tokens that are generated without a mask read padding that their prompt has not read."""
    prompt = of_padded("llama", "mask of the prompt", "until 1.mlp")
    assert prompt.verdict in ALIKE and prompt.notes == ()
    found = of_padded("llama", "mask of the prompt", "until sample", "until 1.mlp")
    assert (found.verdict, found.causes, found.stage) == (RowVerdict.DIFFERENT, (RowCause.FORWARDS,), "1.mlp")
    assert "lane 1 differs from its single run, at 1.mlp: the program's own forward is " in found.sentence
    assert found.notes == ("its later forwards were given no attention mask: here that of its prompt holds for all",)


def test_recurrent_layers_are_given_the_mask_of_the_prompt_alone() -> None:
    """Their states hold what it hid."""
    session = begun("batch_of_four.py", "mamba")
    do(session, "until sample", "until 1")
    assert alone(session, "lane 0 alone").verdict in ALIKE
    session.close()


def test_an_encoder_decoder_is_held_against_both_of_its_prompts() -> None:
    for fault, expected in (("none", ALIKE), ("no mask", (RowVerdict.DIFFERENT,))):
        session = begun("padded_encoder.py", fault)
        do(session, "until sample", "until logits")
        found = alone(session, "lane 1 alone")
        assert found.verdict in expected, found.sentence
        assert any(each.address.startswith("encoder.") for each in found.stages)
        assert found.tokens == 2
        if fault == "no mask":
            assert found.causes == (RowCause.MASK,) and (found.stage or "").startswith("encoder.0")
            assert "for the encoder its attention mask shows 2 positions of its padding" in found.sentence
        session.close()


@pytest.mark.parametrize("before", [["until logits"], _BACKWARD])
def test_a_training_step_is_left_as_it_is(before: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is run without dropout, which is said, also inside backward; losses and weights are those without llmdbg."""
    printed = []
    for asks in (False, True):
        session = begun("training.py")
        do(session, *before)
        if asks:
            found = alone(session, "lane 1 alone")
            assert found.verdict in ALIKE and max(each.floor for each in found.stages) < 1e-5
            assert found.notes == ("the model is in training mode: for this it was run without dropout",)
        do(session, "delete", "continue")
        session.close()
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and printed[0].count("\n") == 4


def test_the_program_and_its_stops_are_left_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """No breakpoint is hit by the forwards of the question, the stop is the same, and so is all that comes after it."""
    printed = []
    for asks in (False, True):
        session = begun("batch_of_four.py", "mistral")
        do(session, "break 1.mlp", "break *.self_attn", "continue", "continue", "continue")
        before = session.stop
        if asks:
            assert alone(session, "lane 0 alone").verdict in ALIKE
            assert session.stop == before
            assert [each.hits for each in session.breakpoints.list()] == [1, 2]
        do(session, "continue")
        assert (session.stop.stage.address, session.stop.token) == ("0.self_attn", 1)
        do(session, "delete", "continue")
        session.close()
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


def test_beams_and_a_batch_of_one() -> None:
    session = begun("beams.py")
    do(session, "until sample", "until sample", "until logits")
    assert alone(session, "lane 1 alone").verdict in ALIKE
    session.close()
    session = begun("greedy.py")
    do(session, "until sample")
    one = alone(session, "lane alone")
    assert (one.lane, one.verdict) == (
        0,
        RowVerdict.SAME,
    ) and one.sentence == "lane 0 is what it is by itself, to the bit"
    with pytest.raises(CommandError, match=r"greedy\.py runs one sequence here: there is no other lane"):
        do(session, "lane 1 alone")
    session.close()


def test_the_chosen_lane_is_asked_about_and_stays_chosen() -> None:
    session = begun("padded_batch.py", "llama", "no mask")
    do(session, "lane 2")
    assert alone(session, "lane alone").lane == 2 and session.lane.chosen == 2
    assert alone(session, "lane 0 alone").lane == 0 and session.lane.chosen == 2
    with pytest.raises(CommandError, match="there is no lane 3: this batch has lanes 0 to 2"):
        do(session, "lane 3 alone")
    with pytest.raises(CommandError, match="lane takes a row of the batch from 0 before `alone`, not 'all'"):
        do(session, "lane all alone")
    session.close()


def test_where_a_row_cannot_be_run_by_itself_it_is_said_why() -> None:
    with pytest.raises(
        UnableError, match="tiny llama runs one sequence by itself: there is no batch to hold it against"
    ):
        do(tiny_session(), "lane 0 alone")
    session = begun("fails.py")
    do(session, "continue")
    with pytest.raises(UnableError, match=r"lane 0 by itself cannot be run: IndexError: .+"):
        do(session, "lane 0 alone")
    session.close()


def test_the_answer_as_text_and_as_json() -> None:
    session = begun("padded_batch.py", "gpt2", "model's own positions")
    do(session, "until logits")
    outcome = COMMANDS.run(session, "lane 1 alone")
    text = lines(outcome)
    assert text[0] == (
        "lane 1 differs from its single run, first at transformer.wpe: "
        "its tokens are at positions 3 to 7, by itself at 0 to 4"
    )
    assert text[1] == "compared: 5 tokens of its own, without 3 positions of padding"
    assert text[2].startswith("the likeliest for generated token 0 is ") and text[2].endswith(" in the batch")
    assert [line.split()[0] for line in text if line.startswith("transformer.wpe")] == ["transformer.wpe"]
    assert isinstance(outcome, Answer)
    fields = json_value(outcome.data)
    assert (fields["lane"], fields["verdict"], fields["causes"]) == (1, "different", ["positions"])
    assert fields["positions"] == {
        "address": "transformer.wpe",
        "batched": [3, 4, 5, 6, 7],
        "alone": [0, 1, 2, 3, 4],
    }
    assert {"address", "error", "floor", "times_floor", "since"} <= fields["stages"][0].keys()
    session.close()
