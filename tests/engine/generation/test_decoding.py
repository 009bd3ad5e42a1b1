"""What a model's own generation config asks for: done, told where it is not, or refused where generate() refuses."""

import pytest
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import GenerationError, PromptError, SettingsError
from tests.engine.runs import GREEDY, PROMPT, generation, hooks_on, untouched
from tests.sessions import tiny_tokenizer
from tests.tiny import tiny_model

# What generate() itself warns of when its own config is odd is not what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NO_OPTIONS = GenerationSettings()


def engine_over(config, settings=GREEDY, name="llama", tokenizer=None):
    model = tiny_model(name)
    for setting, value in config.items():
        setattr(model.generation_config, setting, value)
    return model, generation(model, PROMPT, settings, tokenizer=tokenizer)


def run(engine):
    *_, last = engine.events()
    return last


def stop_string(ids, tokenizer):
    """A string that is first complete with the fourth of the ids."""
    text = tokenizer.decode(ids[:4])
    return next(text[at:] for at in range(len(text) - 1, -1, -1) if text[at:] not in tokenizer.decode(ids[:3]))


def test_a_stop_string_ends_a_run_where_it_ends_generate():
    tokenizer = tiny_tokenizer()
    model, engine = engine_over({})
    ids = untouched(model, PROMPT, GREEDY).ids
    string = stop_string(ids, tokenizer)
    model, engine = engine_over({"stop_strings": [string]}, tokenizer=tokenizer)
    last = run(engine)

    wanted = untouched(model, PROMPT, GREEDY, tokenizer=tokenizer).ids
    assert 0 < len(wanted) < len(ids), "the string was to end it early"
    assert list(engine.generated) == wanted
    assert last.ended_by == engine.ended_by == "stop_string"
    assert last.ended_with == string


def test_of_several_stop_strings_the_one_that_is_complete_is_reported():
    tokenizer = tiny_tokenizer()
    model, _ = engine_over({})
    string = stop_string(untouched(model, PROMPT, GREEDY).ids, tokenizer)
    _, engine = engine_over({"stop_strings": ["never said", string, "nor this"]}, tokenizer=tokenizer)
    last = run(engine)
    assert (last.ended_by, last.ended_with) == ("stop_string", string)


def test_a_criterion_of_the_models_own_is_reported_by_name():
    class Enough(StoppingCriteria):
        def __call__(self, input_ids, scores, **_):
            return torch.tensor([input_ids.shape[1] > len(PROMPT) + 1])

    model, engine = engine_over({})
    own = model._get_stopping_criteria
    model._get_stopping_criteria = lambda *args, **kwargs: StoppingCriteriaList([*own(*args, **kwargs), Enough()])
    last = run(engine)
    assert (last.ended_by, last.ended_with, len(engine.generated)) == ("criterion", "Enough", 2)


def test_a_stop_string_without_a_tokenizer_is_refused():
    _, engine = engine_over({"stop_strings": ["a"]})
    with pytest.raises(SettingsError, match="stop_strings"):
        next(engine.events())


@pytest.mark.parametrize(
    ("config", "settings", "ended_by"),
    [
        ({}, GREEDY, "length"),
        ({"max_length": 20}, NO_OPTIONS, "length"),
        ({"max_time": 1e-9}, GREEDY, "time"),
        ({"eos_token_id": list(range(128))}, GREEDY, "eos"),
        ({"eos_token_id": list(range(128))}, GenerationSettings(max_new_tokens=1, greedy=True), "eos"),
    ],
)
def test_why_a_run_ended(config, settings, ended_by):
    _, engine = engine_over(config, settings)
    assert run(engine).ended_by == ended_by


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        ({"num_beams": 4}, GREEDY, ("4 beams", "num_beams", "greedy search")),
        ({"num_beams": 4, "do_sample": True}, NO_OPTIONS, ("4 beams", "sampling")),
        ({"num_return_sequences": 3, "do_sample": True}, NO_OPTIONS, ("3 answers", "num_return_sequences")),
        ({"prompt_lookup_num_tokens": 3}, GREEDY, ("prompt lookup", "prompt_lookup_num_tokens", "one token at a time")),
        ({"assistant_early_exit": 1}, GREEDY, ("early exit",)),
    ],
)
def test_another_decoding_method_is_told(config, settings, words):
    _, engine = engine_over(config, settings)
    run(engine)

    [note] = engine.notes
    assert all(word in note for word in words)
    assert "\n" not in note


def test_token_healing_is_told_and_leaves_the_prompt_alone():
    _, engine = engine_over({"token_healing": True}, tokenizer=tiny_tokenizer())
    first = next(engine.events())

    assert first.output.tolist() == [list(PROMPT)]
    assert "token_healing" in engine.notes[0]


@pytest.mark.parametrize(
    "config", [{}, {"do_sample": True, "temperature": 0.5}, {"num_beams": 1}, {"penalty_alpha": 0.0}]
)
def test_an_ordinary_config_has_no_note(config):
    _, engine = engine_over(config)
    run(engine)

    assert engine.notes == ()


REFUSED = {
    "contrastive search": {"penalty_alpha": 0.6, "top_k": 4},
    "DoLa": {"dola_layers": "low"},
    "group beam search": {"num_beams": 4, "num_beam_groups": 2},
    "constrained beam search": {"num_beams": 4, "force_words_ids": [[5]]},
    "temperature": {"do_sample": True, "temperature": -1.0},
    "hot": {"do_sample": True, "temperature": "hot"},
    "top_k": {"do_sample": True, "top_k": -5},
    "typical_p": {"do_sample": True, "typical_p": -1.0},
    "max_length": {"max_length": 5},
    "num_return_sequences": {"num_return_sequences": 3},
}


@pytest.mark.parametrize(("words", "config"), REFUSED.items(), ids=REFUSED)
def test_what_generate_refuses_is_refused_before_anything_runs(words, config):
    model, engine = engine_over(config, NO_OPTIONS)
    with pytest.raises(ValueError):
        model.generate(torch.tensor([PROMPT]))
    with pytest.raises(SettingsError) as caught:
        next(engine.events())

    message = str(caught.value)
    assert words in message
    assert "generation_config.json" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert hooks_on(model) == 0


def test_several_answers_without_sampling_are_refused_as_generate_does():
    model, engine = engine_over({"num_return_sequences": 3, "do_sample": True}, GREEDY)
    with pytest.raises(ValueError):
        model.generate(torch.tensor([PROMPT]), do_sample=False)
    with pytest.raises(SettingsError, match="3 answers"):
        next(engine.events())


def test_an_option_overrides_what_would_be_refused():
    _, engine = engine_over(
        {"do_sample": True, "temperature": "hot"}, GenerationSettings(max_new_tokens=2, temperature=1)
    )
    assert run(engine).ended_by == "length"


def test_a_model_with_a_loop_of_its_own_is_refused():
    model, engine = engine_over({})
    model.generate = lambda *_, **__: torch.tensor([PROMPT])
    with pytest.raises(SettingsError, match="its own generation loop"):
        next(engine.events())


def test_memory_that_runs_out_before_the_loop_is_no_matter_of_settings():
    model, engine = engine_over({})

    def out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.generate = out
    with pytest.raises(GenerationError, match="before the first forward"):
        next(engine.events())


def test_a_prompt_of_another_vocabulary_is_refused():
    model = tiny_model("llama")
    with pytest.raises(PromptError, match="token 128 and the model's vocabulary ends at 127"):
        generation(model, [5, 128], GREEDY)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT * 20, PROMPT * 21], ids=["short", "long", "near the context's end"])
def test_a_length_that_nobody_gives_is_generates_own_and_nothing_warns(prompt):
    model = tiny_model("llama")
    engine = generation(model, prompt, GenerationSettings(greedy=True))
    last = run(engine)
    ids = [*engine.generated]
    with pytest.warns(UserWarning, match="max_length"):
        assert ids == untouched(model, prompt, GenerationSettings(greedy=True)).ids
    assert last.ended_by == "length"
    assert len(ids) == min(20, 256 - len(prompt))
    assert engine.sampling.limit == len(ids)


@pytest.mark.filterwarnings("error")
def test_a_prompt_that_fills_the_context_is_refused_as_generate_refuses_it():
    model = tiny_model("llama")
    prompt = (PROMPT * 22)[:256]
    with pytest.raises(SettingsError, match="Input length of input_ids is 256, but `max_length` is set to 256"):
        run(generation(model, prompt, GenerationSettings(greedy=True)))
