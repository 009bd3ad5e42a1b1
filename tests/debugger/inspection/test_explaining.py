"""`explain` and what fills it: words of the prompt, the choice, steering, cost, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.explaining import explain_here, facts_here
from llmdbg.debugger.inspection.touring import go_on, tour_place, tour_stops
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError
from llmdbg.explain.explanation import Explanation
from llmdbg.explain.glossary import TERM_NAMES, Term
from llmdbg.explain.input_text import about_vector
from llmdbg.models.demo import demo_file
from llmdbg.models.spec import LoadedModel
from llmdbg.models.stages import StageKind
from llmdbg.models.tokens import encode_prompt
from tests.explain.checking import check
from tests.sessions import do, opened, tiny_session, tiny_tokenizer
from tests.tiny import tiny_model

QUESTION = "Can you write an email explaining what an LLM is?"


def answer(session: Debugger, line: str):
    return do(session, line).data


def plain(session: Debugger) -> str:
    return " ".join(explain_here(session.inspector).plain)


def test_without_a_word_it_explains_where_the_run_stands() -> None:
    session = tiny_session()
    do(session, "goto 1")
    found = answer(session, "explain")
    assert isinstance(found, Explanation)
    assert found.facts.stage.address == "1"
    assert found.facts.here


def test_a_term_a_stage_and_a_name_that_is_both() -> None:
    session = tiny_session()
    assert isinstance(answer(session, "explain residual stream"), Term)
    there = answer(session, "explain 1.mlp")
    assert isinstance(there, Explanation)
    assert not there.facts.here
    entry, stage = answer(session, "explain norm")
    assert (entry.name, stage.facts.stage.kind) == ("norm", StageKind.NORM)


@pytest.mark.parametrize(
    ("word", "said"), [("temprature", "'temperature'"), ("1.mpl", "nearest"), ("99", "0 to 1"), ("zzzz", "no term")]
)
def test_a_word_there_is_not_is_answered_with_the_nearest(word: str, said: str) -> None:
    with pytest.raises(CommandError) as raised:
        do(tiny_session(), f"explain {word}")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_looking_leaves_the_run_as_it_was() -> None:
    looked, other = (tiny_session(temperature=0.8, max_new_tokens=4) for _ in range(2))
    while looked.end is None:
        do(looked, "next")
        explain_here(looked.inspector)
    do(other, "continue")
    assert other.end is not None
    assert looked.end.ids == other.end.ids
    for token in range(4):
        do(looked, f"goto logits@{token}")
        do(other, f"goto logits@{token}")
        assert torch.equal(looked.run.event.output, other.run.event.output)


def test_explaining_every_stage_of_a_token_costs_its_forward_at_most_a_few_times() -> None:
    session = tiny_session(max_new_tokens=6)
    do(session, "goto 0@1")
    explain_here(session.inspector)
    runs: list[int] = []
    original = session.replay.run_token
    session.replay.run_token = lambda token, *rest: (runs.append(token), original(token, *rest))[1]  # type: ignore[method-assign]
    while session.stop.token < 4:
        do(session, "step")
        explain_here(session.inspector)
    assert runs.count(3) == 0, "what is asked for at every stop is recorded in passing"


def test_greedy_and_drawn_choices_are_told_as_what_they_are() -> None:
    session = tiny_session()
    do(session, "token")
    assert "Greedy decoding took the highest score" in plain(session)
    session = tiny_session(temperature=5.0, seed=3)
    do(session, "token")
    assert "Sampling drew one token at random" in plain(session)


@pytest.mark.parametrize("settings", [{}, {"temperature": 5.0, "seed": 3}])
def test_the_runner_up_is_the_likeliest_of_the_others(settings) -> None:
    session = tiny_session(**settings)
    do(session, "token")
    choice, chosen = explain_here(session.inspector).facts.choice, session.run.event.chosen
    assert choice is not None
    assert choice.runner_up is not None
    others = session.run.event.trail[-1][1][0].softmax(-1)
    others[chosen] = 0
    assert choice.runner_up.text == session.debuggee.vocabulary.text(int(others.argmax()))
    assert choice.runner_up.prob == pytest.approx(float(others.max()))


def test_what_the_user_made_of_a_choice() -> None:
    session = tiny_session()
    do(session, "token")
    chosen = session.stop.chosen
    assert chosen is not None
    do(session, f"ban {chosen.id}")
    told = plain(session)
    assert f'You banned "{chosen.text}" here' in told
    do(session, f"force {chosen.id}")
    told = plain(session)
    assert f'You forced "{chosen.text}".' in told
    assert "took the highest score" not in told
    assert "drawn" not in told
    assert explain_here(session.inspector).engineer[-1] == "forced by you; not used: argmax(scores)"


def test_a_forced_token_was_not_drawn() -> None:
    session = tiny_session(temperature=1.5)
    do(session, "token")
    assert explain_here(session.inspector).engineer[-1].startswith("multinomial(")
    do(session, f"force {(session.stop.chosen.id + 1) % 100}")
    assert "A token was drawn as well but not used" in plain(session)
    assert explain_here(session.inspector).engineer[-1].startswith("forced by you; not used: multinomial(")


def test_a_forced_token_that_was_cut() -> None:
    session = tiny_session(top_k=1)
    do(session, "token")
    best = session.stop.chosen.id
    do(session, f"force {(best + 1) % 100}")
    assert "The sampling settings had cut it." in plain(session)


def test_the_lens_history_is_that_of_the_models_own_head() -> None:
    session = tiny_session("llama")
    do(session, "token")
    choice = explain_here(session.inspector).facts.choice
    assert choice is not None
    model, chosen = session.inspector.model, session.run.event.chosen
    led = []
    for layer in session.debuggee.anatomy.layers():
        do(session, f"goto {layer.address}@0")
        with torch.no_grad():
            vector = session.run.event.output
            vector = (vector if isinstance(vector, torch.Tensor) else vector[0])[0, -1]
            if int(model.lm_head.forward(model.model.norm.forward(vector[None]))[0].argmax()) == chosen:
                led.append(layer.layer)
    assert choice.led == tuple(led)
    assert choice.asked_layers == (0, 1)


def test_words_the_vocabulary_has_not() -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    loaded = LoadedModel("tiny", model, tokenizer, "sdpa")
    prompt = encode_prompt(tokenizer, "The quick zebra jumps")
    session = Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=2, greedy=True)))
    split = {each.word: each.pieces for each in explain_here(session.inspector).facts.prompt.split}
    for word, pieces in split.items():
        assert "".join(pieces).strip() == word
        assert all(session.debuggee.vocabulary.id_of(each) is None for each in (word, f" {word}"))
    assert "zebra" in split
    check(session, explain_here(session.inspector))


def test_left_padding_is_told() -> None:
    loaded = LoadedModel("tiny llama", tiny_model("llama"), None, "sdpa")
    prompt = encode_prompt(None, "Hello", vocabulary_size=128, left_pad=3)
    session = Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=2, greedy=True)))
    assert "Your prompt became 5 tokens" in plain(session)
    assert "3 tokens of left padding come before them" in plain(session)
    do(session, "until 0.self_attn")
    assert "is left padding" not in plain(session)
    do(session, "focus 1")
    assert "This position is left padding" in plain(session)


def test_what_an_edit_made_is_not_told_as_the_models_own() -> None:
    session = tiny_session()
    do(session, "zero 0.mlp")
    do(session, "until 0.mlp")
    assert "Your edit 1 changes this stage" in plain(session)
    do(session, "until 0")
    assert "edit" not in plain(session)


def test_nothing_is_told_of_numbers_that_are_none() -> None:
    session = tiny_session()
    do(session, "until 1")
    do(session, "edit out * float('nan')")
    for where in ("1", "logits", "sample"):
        do(session, f"goto {where}")
        told = plain(session)
        assert "nan " not in told, told
        assert "NaN" in told, told
        assert "likeliest" not in told, told


def test_a_ban_is_why_the_likeliest_was_not_taken() -> None:
    session = tiny_session()
    do(session, "goto sample")
    assert session.stop.chosen is not None
    likeliest = session.stop.chosen
    do(session, f"ban {likeliest.id}")
    told = plain(session)
    assert "but it was banned" in told
    assert "sampling can pick" not in told


@pytest.mark.parametrize(("name", "row"), [("llama", True), ("gemma2", False), ("opt", True)])
def test_the_embedding_is_its_tables_row_only_where_it_is(name: str, row: bool) -> None:
    session = tiny_session(name)
    do(session, "until embed")
    told = plain(session)
    assert ("its row is now the vector there" in told) is row
    assert ("residual stream" in told) is (name != "opt")
    assert ("brought to that size" in told) is (name == "opt")


def test_special_tokens_are_counted_everywhere() -> None:
    session = opened("smollm2", "The quick", chat=True, greedy=True, max_new_tokens=2)
    counts = []
    for line in ("goto tokenize", "until embed"):
        if session.stop.stage.address != line.split()[1]:
            do(session, line)
        counts.append(explain_here(session.inspector).facts.prompt.special)
    assert counts[0] == counts[1] > 0
    for address in ("0.self_attn", "1", "sample"):
        do(session, f"goto {address}")
        assert explain_here(session.inspector).plain


def test_nan_is_told() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = torch.nan
    loaded = LoadedModel("tiny llama", model, None, "sdpa")
    prompt = encode_prompt(None, "Hello", vocabulary_size=128)
    session = Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=2, greedy=True)))
    do(session, "goto 0.mlp")
    assert "5 values of the output are NaN or infinite" in plain(session)
    for address in ("1", "norm", "logits"):
        do(session, f"goto {address}")
        assert explain_here(session.inspector).plain


def test_a_long_prefill_is_not_run_again_for_a_pane() -> None:
    model = tiny_model("mpt")
    model = tiny_model("llama")
    model.config.max_position_embeddings = 4096
    loaded = LoadedModel("tiny llama", model, None, "sdpa")
    prompt = encode_prompt(None, "x" * 1100, vocabulary_size=128)
    session = Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=2, greedy=True)))
    do(session, "goto 1")
    runs: list[int] = []
    original = session.replay.run_token
    session.replay.run_token = lambda token, *rest: (runs.append(token), original(token, *rest))[1]  # type: ignore[method-assign]
    assert explain_here(session.inspector, avoid_rerun=True).plain
    assert runs == []


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba", "mixtral", "falcon", "gptj", "jamba", "rwkv", "qwen3_next"])
def test_the_tour_goes_through_any_model(name: str) -> None:
    session = tiny_session(name, temperature=0.8)
    stops = tour_stops(session.inspector)
    walked = [tour_place(session.inspector).number]
    explain_here(session.inspector)
    while go_on(session.inspector) is not None:
        explain_here(session.inspector)
        walked.append(tour_place(session.inspector).number)
    assert walked == list(range(1, len(stops) + 1))
    assert (session.stop.stage.address, session.stop.token) == ("embed", 1)
    assert session.run.generated_ids() == tiny_generated(name)


def tiny_generated(name: str) -> tuple[int, ...]:
    session = tiny_session(name, temperature=0.8)
    do(session, "token")
    return session.run.generated_ids()


def test_the_tour_counts_only_stops_that_the_run_comes_to() -> None:
    session, whole = tiny_session(max_new_tokens=1), tiny_session(max_new_tokens=2)
    assert tour_place(session.inspector).of == tour_place(whole.inspector).of - 1
    while go_on(session.inspector) is not None:
        pass
    place = tour_place(session.inspector)
    assert (place.number, place.of) == (len(tour_stops(session.inspector)), place.number)


def test_the_tour_goes_on_from_wherever_one_has_strayed_to() -> None:
    session = tiny_session()
    do(session, "goto 0.self_attn.k_proj")
    assert tour_place(session.inspector).title == ""
    stop = go_on(session.inspector)
    assert stop is not None
    assert stop.stage.address == "0.self_attn"
    do(session, "token 2")
    assert go_on(session.inspector) is None


def test_a_generation_of_one_token_ends_the_tour_at_its_choice() -> None:
    session = tiny_session(max_new_tokens=1)
    while go_on(session.inspector) is not None:
        pass
    assert session.end is not None
    assert session.stop.stage.kind is StageKind.SAMPLE


@pytest.mark.slow
@pytest.mark.skipif(demo_file() is None, reason="the demo model is not installed")
def test_the_demo_model_is_told_with_its_own_numbers() -> None:
    session = opened("smollm2", QUESTION, chat=True, temperature=0.7, top_p=0.9, max_new_tokens=3)
    told = explain_here(session.inspector)
    assert '"LLM" is not in the vocabulary as one token, so it became " L" and "LM".' in told.plain
    check(session, told)
    for address in ("embed", "0.self_attn", "12", "29.mlp", "29", "norm", "logits", "sample.top_p", "sample"):
        do(session, f"goto {address}@0")
        told = explain_here(session.inspector)
        check(session, told)
        other = replace(told, plain=("Nothing had 12.345%.",))
        with pytest.raises(AssertionError):
            check(session, other)
    do(session, "goto 20@1")
    assert "at position 42, goes through the model" in plain(session)
    check(session, explain_here(session.inspector))


def test_how_far_a_vector_turned_is_said_in_words() -> None:
    session = tiny_session()
    do(session, "goto 0")
    facts = facts_here(session.inspector)

    def said(relative: float, cosine: float) -> str:
        return about_vector(replace(facts, moved=(relative, cosine)))

    assert "by a vector 10.8 times as long as it was: little of its old direction is left (cosine 0.02," in said(
        10.79, 0.02
    )
    assert "by a vector 12% as long as it was: it points almost the same way as before (cosine 0.99," in said(
        0.12, 0.99
    )
    assert "still points the same way" in said(0.001, 1.0)
    assert "nearly the opposite way" in said(2.5, -0.9)


def test_the_glossary_is_listed_with_a_sentence_for_each_term() -> None:
    lines = answer(tiny_session(), "glossary")
    assert [line.split("  ")[0] for line in lines] == list(TERM_NAMES)
    assert "cosine                   How alike the directions of two vectors are: 1 for" in "\n".join(lines)
