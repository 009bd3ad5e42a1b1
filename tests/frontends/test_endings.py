"""Why a run ended, wherever that is said: at the stop, at the end, as JSON, on the screen, and in the explanation."""

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.execution.stop import End
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.answers.stops import end_lines
from llmdbg.frontends.batch.events import end_event, stop_event
from llmdbg.frontends.tui.overlay import answer_rows
from llmdbg.frontends.tui.state.sentences import sentence
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import Prompt
from tests.engine.generation.test_decoding import stop_string
from tests.engine.runs import GREEDY, PROMPT, untouched
from tests.frontends.tui.states import state_at, text
from tests.sessions import do, tiny_tokenizer
from tests.tiny import tiny_model

OTHER_ENDS = ("the model ended its answer", "the requested length")


def session_over(config, **settings):
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    for name, value in config.items():
        setattr(model.generation_config, name, value)
    loaded = LoadedModel("tiny", model, tokenizer, "sdpa")
    asked = GenerationSettings(**{"max_new_tokens": 24, "greedy": True, **settings})
    session = Debugger(Generation(loaded, Prompt(PROMPT, ""), asked))
    do(session, "continue")
    return session


def everything_said(session):
    """All that is said at the end of a run, by where it is said."""
    return {
        "end": "\n".join(end_lines(session.end)),
        "stop": "\n".join(answer_lines(session.stop)),
        "status line": sentence(state_at(session).snapshot),
        "explain": "\n".join(answer_lines(do(session, "explain").data)),
    }


def test_a_stop_string_is_named_wherever_the_end_is_told():
    string = stop_string(untouched(tiny_model("llama"), PROMPT, GREEDY).ids, tiny_tokenizer())
    session = session_over({"stop_strings": [string]})

    for where, said in everything_said(session).items():
        assert f'stop string "{string}"' in said, where
        assert not any(other in said for other in OTHER_ENDS), where
    told = end_event(session.end)
    assert (told["stopped_by"], told["ended_with"]) == ("stop_string", string)
    told = stop_event(session.stop)
    assert (told["reason"], told["ended_by"], told["ended_with"]) == ("end", "stop_string", string)


@pytest.mark.parametrize(
    ("config", "settings", "ended_by", "words"),
    [
        ({"max_time": 1e-9}, {}, "time", "time limit"),
        ({}, {"max_new_tokens": 2}, "length", "requested length"),
        ({"eos_token_id": list(range(128))}, {}, "eos", "the model end"),
    ],
)
def test_the_other_ends_are_told_as_what_they_are(config, settings, ended_by, words):
    session = session_over(config, **settings)

    assert end_event(session.end)["stopped_by"] == ended_by
    for where, said in everything_said(session).items():
        assert words in said, where


def test_a_stop_string_is_sanitized():
    end = End("stop_string", (1,), "x", ended_with="\x1b]0;x\x07")
    assert all(line.isprintable() for line in end_lines(end))


def test_an_answer_of_special_tokens_alone_is_not_called_nothing():
    session = session_over({"eos_token_id": None}, max_new_tokens=1)
    state = state_at(session)
    do(session, "goto tokenize")
    assert text(answer_rows(state_at(session), 100)) == "nothing has been generated yet"
    do(session, "goto sample@0")
    do(session, "force 0")
    state = state_at(session)
    assert state.snapshot.answer == ""
    assert text(answer_rows(state, 100)) == "1 token generated, a special one: <|end|>"
    assert end_lines(session.end)[1] == "(these tokens stand for no text)"
