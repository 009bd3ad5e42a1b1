"""Sessions that are saved and brought back to where they stood."""

import dataclasses
import json
import time

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.format import from_json
from llmdbg.debugger.persistence.model import (
    SavedBreakpoint,
    SavedPosition,
    begin,
    describe,
)
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SessionFileError, SettingsError
from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec
from llmdbg.models.tokens import encode_prompt
from tests.debugger.saving import PROMPT, SAMPLED, document, run, started
from tests.sessions import here, tiny_session


@pytest.mark.parametrize("how", [{"max_new_tokens": 6, "greedy": True}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["step"],
        ["until 1.mlp.up_proj"],
        ["until logits@2"],
        ["break *.mlp", "tbreak 1@3", "break sample", "disable 3", "c 3"],
        ["token 4", "focus 3"],
        ["break 0", "delete 1", "break 1@4", "c"],
        ["continue"],
    ],
)
def test_a_session_comes_back_through_its_file_to_where_it_stood(store, how, lines):
    before = run(tiny_session(text=PROMPT, **how), *lines)
    saved = capture(before, started(**how))
    store.save(saved)

    after = tiny_session(text=PROMPT, **how)
    assert restore(after, store.load(saved.id)) == ()

    assert here(after) == here(before)
    assert after.run.generated_ids() == before.run.generated_ids()
    assert after.breakpoints.list() == before.breakpoints.list()
    assert (after.focus.position, after.end) == (before.focus.position, before.end)
    assert after.stop.tensor == before.stop.tensor
    for session in (before, after):
        if session.end is None:
            run(session, "delete", "continue")
    assert after.run.generated_ids() == before.run.generated_ids()


def test_a_session_on_a_real_folder_with_a_chat_comes_back(tiny_folder, store):
    saved = begin(
        ModelSpec(str(tiny_folder), device="cpu"), "What is tea?", GenerationSettings(max_new_tokens=8), chat=True
    )
    before = run(opened(saved), "break 0-1.mlp", "token 3", "next 3")
    store.save(capture(before, saved))
    again = store.load(saved.id)
    after = opened(again)
    assert restore(after, again) == ()
    assert (here(after), after.run.tokens()) == (here(before), before.run.tokens())
    assert after.breakpoints.list() == before.breakpoints.list() != ()


def opened(saved):
    loaded = load(saved.spec_to_load(), lambda _: None)
    return Debugger(Generation(loaded, encode_prompt(loaded.tokenizer, saved.prompt, chat=saved.chat), saved.settings))


def test_a_new_breakpoint_does_not_get_the_number_of_one_that_came_back():
    session = run(tiny_session(), "break 0", "break 1", "delete 1")
    other = tiny_session()
    restore(other, capture(session, started()))
    run(other, "break norm")
    assert [each.number for each in other.breakpoints.list()] == [2, 3]


def test_what_a_model_no_longer_has_becomes_a_note():
    saved = dataclasses.replace(
        started(),
        breakpoints=(SavedBreakpoint(1, "7.mlp", False, True, 2), SavedBreakpoint(2, "1.mlp", False, True, 0)),
        place=SavedPosition("7", 1),
        generated=(1, 2),
        focus=500,
        rank=1,
    )
    session = tiny_session()
    notes = restore(session, saved)
    assert here(session) == "sample@0"
    assert [each.number for each in session.breakpoints.list()] == [2]
    assert notes[0].startswith("breakpoint 1 is left out")
    assert "the layers of this model are 0 to 1" in notes[1]
    assert "other tokens than before, from token 0" in notes[2]
    assert "no position 500" in notes[3]
    assert notes[4] == "rank 1 is not shown: this is one process"


def test_a_stage_that_does_not_run_this_time_ends_the_replay_at_its_token():
    session = tiny_session()
    expected = tiny_session()
    run(expected, "token 2")
    saved = dataclasses.replace(started(), place=SavedPosition("tokenize", 1), generated=expected.run.generated_ids())
    notes = restore(session, saved)
    assert here(session) == "sample@1"
    assert notes == ("the replay stands at sample@1: this time it did not stop at tokenize@1",)


def test_tokens_that_differ_and_ends_that_moved_are_told():
    ids = run(tiny_session(), "continue").run.generated_ids()
    other = (*ids[:2], ids[2] + 1, ids[3])
    saved = dataclasses.replace(started(), place=SavedPosition("sample", 3), generated=other, ended=True)
    assert restore(tiny_session(), saved) == ("the replay generated other tokens than before, from token 2 on",)
    saved = dataclasses.replace(started(), place=SavedPosition("sample", 3), generated=ids)
    assert "had not ended yet" in restore(tiny_session(), saved)[0]
    assert "goes on now" in restore(tiny_session(max_new_tokens=9), dataclasses.replace(saved, ended=True))[0]
    assert "this time it did not stop at sample@3" in restore(tiny_session(max_new_tokens=2), saved)[0]


def test_a_replay_can_be_interrupted():
    session = tiny_session(max_new_tokens=50)
    session.run.on_token = lambda generated, _row: session.interrupt() if generated == 5 else None
    notes = restore(
        session,
        dataclasses.replace(started(), place=SavedPosition("1", 49), generated=tuple(range(49)), breakpoints=()),
    )
    assert here(session) == "sample@5"
    assert "this time it did not stop at 1@49" in notes[0]


def test_a_file_full_of_wrong_addresses_keeps_nobody_waiting():
    points = tuple(SavedBreakpoint(number, "x" * 290 + str(number), False, True, 0) for number in range(1, 1000))
    begun = time.monotonic()
    notes = restore(tiny_session(), dataclasses.replace(started(), breakpoints=points))
    assert len(notes) == 21
    assert time.monotonic() - begun < 5


def test_leave_to_run_code_is_not_taken_from_a_file():
    saved = dataclasses.replace(started(), spec=ModelSpec("some/model", trust_remote_code=True, allow_pickle=True))
    with pytest.raises(SessionFileError, match="--trust-remote-code"):
        saved.spec_to_load()
    with pytest.raises(SessionFileError, match="--allow-pickle"):
        saved.spec_to_load(trust_remote_code=True)
    assert saved.spec_to_load(trust_remote_code=True, allow_pickle=True) == saved.spec


def test_a_description_says_what_there_is_to_come_back_to():
    saved = capture(run(tiny_session(), "break 1", "c"), started())
    model, prompt, place, points, _ = describe(dataclasses.replace(saved, prompt="a\n b " * 100)).split(" · ")
    assert (model, place, points) == ("tiny", "at 1@0", "1 breakpoint")
    assert prompt.startswith('"a b a b') and prompt.endswith('…"') and len(prompt) == 42
    assert "at the end" in describe(dataclasses.replace(saved, ended=True))


def test_a_file_never_makes_settings_that_the_command_line_would_refuse():
    with pytest.raises(SettingsError):
        GenerationSettings(greedy=True, top_k=3)
    whole = document(started())
    whole["settings"] |= {"greedy": True, "top_k": 3}
    with pytest.raises(SessionFileError, match="settings: greedy"):
        from_json(json.dumps(whole), PROMPT)
