"""Sessions that are saved, lost, found again and brought back to where they stood."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.restoring import restore
from llmdbg.debugger.saved import (
    Owner,
    Place,
    SavedBreakpoint,
    begin,
    capture,
    describe,
    this_process,
)
from llmdbg.debugger.saved_files import SessionStore, sessions_folder
from llmdbg.debugger.saved_format import from_json, to_json
from llmdbg.debugger.session import Session
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SessionFileError, SettingsError
from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec
from llmdbg.models.tokens import encode_prompt
from tests.sessions import tiny_session

PROMPT = "Hello there"
ROOT = Path(__file__).parents[2]
SAMPLED = {"max_new_tokens": 6, "temperature": 1.5, "top_k": 50, "seed": 7}


@pytest.fixture
def store(tmp_path):
    return SessionStore(tmp_path / "sessions")


def run(session, *lines):
    for line in lines:
        COMMANDS.run(session, line)
    return session


def started(**settings):
    return begin(ModelSpec("tiny"), PROMPT, GenerationSettings(**settings or {"max_new_tokens": 4, "greedy": True}))


def here(session):
    return f"{session.stop.stage.address}@{session.stop.token}"


def gone():
    """An owner that lived, and does no more."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return dataclasses.replace(this_process(), pid=process.pid)


def document(saved):
    return json.loads(to_json(saved))


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
    assert after.generated_ids() == before.generated_ids()
    assert after.breakpoints.list() == before.breakpoints.list()
    assert (after.focus, after.end) == (before.focus, before.end)
    assert after.stop.tensor == before.stop.tensor
    for session in (before, after):
        if session.end is None:
            run(session, "delete", "continue")
    assert after.generated_ids() == before.generated_ids()


def test_a_session_on_a_real_folder_with_a_chat_comes_back(tiny_folder, store):
    saved = begin(
        ModelSpec(str(tiny_folder), device="cpu"), "What is tea?", GenerationSettings(max_new_tokens=8), chat=True
    )
    before = run(opened(saved), "break 0-1.mlp", "token 3", "next 3")
    store.save(capture(before, saved))
    again = store.load(saved.id)
    after = opened(again)
    assert restore(after, again) == ()
    assert (here(after), after.tokens()) == (here(before), before.tokens())
    assert after.breakpoints.list() == before.breakpoints.list() != ()


def opened(saved):
    loaded = load(saved.spec_to_load(), lambda _: None)
    return Session(loaded, encode_prompt(loaded.tokenizer, saved.prompt, chat=saved.chat), saved.settings)


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
        place=Place("7", 1),
        generated=(1, 2),
        focus=500,
    )
    session = tiny_session()
    notes = restore(session, saved)
    assert here(session) == "sample@0"
    assert [each.number for each in session.breakpoints.list()] == [2]
    assert notes[0].startswith("breakpoint 1 is left out")
    assert "the layers of this model are 0 to 1" in notes[1]
    assert "other tokens than before, from token 0" in notes[2]
    assert "no position 500" in notes[3]


def test_a_stage_that_does_not_run_this_time_ends_the_replay_at_its_token():
    session = tiny_session()
    expected = tiny_session()
    run(expected, "token 2")
    saved = dataclasses.replace(started(), place=Place("tokenize", 1), generated=expected.generated_ids())
    notes = restore(session, saved)
    assert here(session) == "sample@1"
    assert notes == ("the replay stands at sample@1: this time it did not stop at tokenize@1",)


def test_tokens_that_differ_and_ends_that_moved_are_told():
    ids = run(tiny_session(), "continue").generated_ids()
    other = (*ids[:2], ids[2] + 1, ids[3])
    saved = dataclasses.replace(started(), place=Place("sample", 3), generated=other, ended=True)
    assert restore(tiny_session(), saved) == ("the replay gave other tokens than before, from token 2 on",)
    saved = dataclasses.replace(started(), place=Place("sample", 3), generated=ids)
    assert "had not ended yet" in restore(tiny_session(), saved)[0]
    assert "goes on now" in restore(tiny_session(max_new_tokens=9), dataclasses.replace(saved, ended=True))[0]
    assert "this time it did not stop at sample@3" in restore(tiny_session(max_new_tokens=2), saved)[0]


def test_a_replay_can_be_interrupted():
    session = tiny_session(max_new_tokens=50)
    session.on_token = lambda generated, _row: session.interrupt() if generated == 5 else None
    notes = restore(
        session, dataclasses.replace(started(), place=Place("1", 49), generated=tuple(range(49)), breakpoints=())
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


def test_the_file_is_readable_private_and_plain(store, tmp_path):
    saved = dataclasses.replace(started(), prompt="täglich\r\n\x1b[31m", system="ö\x1b", layout={"panes": ["a", 1]})
    store.save(saved)
    file = tmp_path / "sessions" / saved.id / "session.json"
    text = file.read_text("ascii")
    assert text.splitlines()[1].startswith(' "spec": {"name": "tiny"')
    assert "\x1b" not in text
    assert store.load(saved.id) == saved
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert {each.name for each in file.parent.iterdir()} == {"session.json", "prompt.txt"}


def test_the_folder_is_the_users_state_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert sessions_folder() == tmp_path / "llmdbg" / "sessions"


WRONG = {
    "spec": ["tiny", {}, None],
    "spec.name": [3, ["x"]],
    "spec.dtype": ["complex", None],
    "spec.attn": ["magic"],
    "spec.quantize": ["1bit"],
    "spec.trust_remote_code": [1, "yes"],
    "settings.max_new_tokens": [0, 1.5, 2**60, True],
    "settings.temperature": [-1, "hot", True],
    "settings.seed": [-1, None, 2**40],
    "owner.pid": [2**40, -5, "1"],
    "owner.started": ["now"],
    "created": ["yesterday", "2026-01-01T00:00:00", 5],
    "updated": ["9999-99-99"],
    "chat": [0, None],
    "system": [1],
    "breakpoints": [{}, "x", [1], [{"number": 1}]],
    "breakpoints.0.address": [1, "x" * 1000],
    "breakpoints.0.number": [-1, 2],
    "breakpoints.0.surprise": [1],
    "place.address": ["x" * 1000, None],
    "place.token": [5, -1],
    "generated": [[1, "x"], {"0": 1}, [1.5]],
    "focus": [-1, "last"],
    "layout": [[], None],
    "open": ["true"],
    "format": [0, "1", None, True],
    "id": [3],
    "surprise": [1],
    "prompt": ["hi"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_field_is_named(name, value):
    points = (SavedBreakpoint(1, "0", False, True, 0), SavedBreakpoint(2, "1", False, True, 0))
    whole = document(dataclasses.replace(started(), breakpoints=points))
    *path, last = [int(part) if part.isdecimal() else part for part in name.split(".")]
    inner = whole
    for part in path:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(SessionFileError) as caught:
        from_json(json.dumps(whole), PROMPT)
    named = "address" if "address" in name else "breakpoints" if last == "number" else str(last).replace("_", "-")
    assert named in str(caught.value).replace("_", "-")
    assert caught.value.damaged


@pytest.mark.parametrize("name", sorted(document(begin(ModelSpec(), PROMPT, GenerationSettings()))))
def test_a_missing_field_is_named(name):
    whole = document(started())
    del whole[name]
    with pytest.raises(SessionFileError, match=name):
        from_json(json.dumps(whole), PROMPT)


@pytest.mark.parametrize(
    "text",
    ["", "nul", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "1e999", "NaN", "[]", '"x"', "{" + "x" * 5 * 2**20],
)
def test_what_is_no_session_is_refused(text):
    with pytest.raises(SessionFileError):
        from_json(text, PROMPT)


@pytest.mark.parametrize("value", ["nul", "[" * 100_000, "9" * 5000, "1e999", "-Infinity", "NaN", "5" * 5 * 2**20])
def test_a_layout_cannot_be_everything(value):
    text = to_json(started()).replace('"layout": {}', f'"layout": {{"a": {value}}}')
    with pytest.raises(SessionFileError):
        from_json(text, PROMPT)
    assert from_json(to_json(started()).replace('"layout": {}', '"layout": {"a": [1.5]}'), PROMPT).layout == {
        "a": [1.5]
    }


def test_a_layout_too_deep_or_endless_is_not_written():
    endless: dict = {}
    endless["again"] = endless
    with pytest.raises(SessionFileError, match="deeper"):
        to_json(dataclasses.replace(started(), layout=endless))
    with pytest.raises(SessionFileError, match="deeper"):
        from_json(to_json(started()).replace('"layout": {}', '"layout": {"a": ' + "[" * 500 + "]" * 500 + "}"), PROMPT)


def test_a_newer_file_is_left_where_it_is(store, tmp_path):
    saved = started()
    store.save(saved)
    file = tmp_path / "sessions" / saved.id / "session.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 3'))
    survey = SessionStore(tmp_path / "sessions").survey()
    assert "newer llmdbg" in survey.notes[0]
    assert file.exists()
    with pytest.raises(SessionFileError, match="newer"):
        SessionStore(tmp_path / "sessions").save(saved)
    assert '"format": 3' in file.read_text()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=2000)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")) | JSON.map(json.dumps), st.text())
def test_anything_at_all_is_read_or_refused(text, prompt):
    with pytest.raises(SessionFileError):
        from_json(text, prompt)


@settings(max_examples=300, deadline=2000)
@given(st.data())
def test_a_session_with_anything_in_it_is_read_or_refused(data):
    whole = document(dataclasses.replace(started(), breakpoints=(SavedBreakpoint(1, "0", False, True, 0),)))
    inner, name = whole, None
    while isinstance(inner, dict | list) and inner:
        outer = inner
        name = data.draw(st.sampled_from(sorted(outer) if isinstance(outer, dict) else range(len(outer))))
        inner = outer[name]
        if data.draw(st.booleans()):
            break
    outer[name] = data.draw(JSON)
    try:
        saved = from_json(json.dumps(whole), data.draw(st.text()))
    except SessionFileError as error:
        assert "\n" not in str(error) and str(error).isprintable()
    else:
        assert from_json(to_json(saved), saved.prompt) == saved
        assert describe(saved)
        assert isinstance(saved.owner.is_alive(), bool)


@cache
def one_session():
    return tiny_session(max_new_tokens=3)


@settings(max_examples=100, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.text(max_size=300) | st.from_regex(r"[*?\[\]0-9.a-z@-]{0,40}", fullmatch=True), max_size=4),
    st.text(max_size=30) | st.sampled_from(["embed", "0", "logits", "sample", "*", "0-1.mlp"]),
    st.integers(0, 3),
)
def test_any_addresses_are_restored_or_told_of(addresses, place, token):
    points = tuple(SavedBreakpoint(number + 1, each, False, True, 0) for number, each in enumerate(addresses))
    session = one_session()
    session.breakpoints.delete()
    session.restart()
    restore(session, dataclasses.replace(started(), breakpoints=points, place=Place(place, token), generated=(1, 2, 3)))
    assert session.stop.token <= token


def test_only_a_session_whose_process_is_gone_is_interrupted(store, tmp_path):
    mine, lost, closed = started(), dataclasses.replace(started(), owner=gone()), started()
    reused = dataclasses.replace(started(), owner=dataclasses.replace(this_process(), started=1.0))
    far = dataclasses.replace(started(), owner=Owner(1, "another-host", 1.0))
    for each in (mine, lost, closed, reused, far):
        store.save(each)
    store.close(closed.id)

    survey = SessionStore(tmp_path / "sessions").survey()
    assert {each.id for each in survey.interrupted} == {lost.id, reused.id}
    assert [each.id for each in survey.closed] == [closed.id]
    assert [each.id for each in survey.running] == [mine.id]
    assert [each.id for each in survey.elsewhere] == [far.id]
    assert survey.notes == ()
    assert [each.updated for each in survey.interrupted] == sorted((lost.updated, reused.updated), reverse=True)
    assert survey.latest == survey.interrupted[0] == store.latest() == store.interrupted()[0]


def test_the_last_closed_session_is_the_latest_when_none_was_interrupted(store):
    assert store.latest() is None
    first, second = started(), started()
    for each in (first, second):
        store.save(each)
        store.close(each.id)
        time.sleep(0.005)
    assert store.latest().id == second.id
    mine = store.resume(second.id)
    assert (mine.open, mine.owner) == (True, this_process())
    assert store.latest().id == first.id


def test_a_session_is_open_in_one_process_only(store, tmp_path):
    lost = dataclasses.replace(started(), owner=gone())
    store.save(lost)
    other = SessionStore(tmp_path / "sessions")
    mine = other.resume(lost.id)
    assert (mine.id, mine.owner, mine.created) == (lost.id, this_process(), lost.created)
    with pytest.raises(SessionFileError, match=f"open in process {os.getpid()}"):
        SessionStore(tmp_path / "sessions").resume(lost.id)
    with pytest.raises(SessionFileError, match="belongs to process"):
        SessionStore(tmp_path / "sessions").save(lost)
    assert other.load(lost.id) == mine


def test_a_session_of_another_host_is_taken_as_a_copy(store):
    far = dataclasses.replace(started(), owner=Owner(1, "another-host", 1.0))
    store.save(far)
    mine = store.resume(far.id)
    assert mine.id != far.id
    assert store.load(far.id) == far
    assert store.load(mine.id) == mine


@pytest.mark.parametrize("name", ["session.json", "prompt.txt"])
@pytest.mark.parametrize("damage", ["cut", "gone", "binary", "pipe", "folder"])
def test_a_damaged_session_is_told_of_once_and_kept_aside(store, tmp_path, name, damage):
    saved = dataclasses.replace(started(), owner=gone())
    store.save(saved)
    file = tmp_path / "sessions" / saved.id / name
    (file.parent / "notes.txt").write_text("mine")
    whole = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2] if name == "session.json" else b"")
    elif damage == "binary":
        file.write_bytes(b"\xff\xfe\x00" * 9)
    elif damage == "pipe":
        os.mkfifo(file)
    elif damage == "folder":
        file.mkdir()

    fresh = SessionStore(tmp_path / "sessions")
    with pytest.raises(SessionFileError, match=f"the saved session {saved.id} is damaged") as caught:
        fresh.load(saved.id)
    assert "\n" not in str(caught.value)
    with pytest.raises(SessionFileError, match="is damaged"):
        fresh.resume(saved.id)
    assert file.parent.exists()
    survey = fresh.survey()
    assert len(survey.notes) == 1 and f"(kept as {saved.id}.damaged-1)" in survey.notes[0]
    assert (file.parent.with_name(f"{saved.id}.damaged-1") / "notes.txt").read_text() == "mine"
    assert fresh.survey() == type(survey)((), (), (), (), ())


def test_a_damaged_session_is_not_written_over(store, tmp_path):
    saved = started()
    for number in (1, 2):
        folder = tmp_path / "sessions" / saved.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "session.json").write_text("precious")
        SessionStore(tmp_path / "sessions").save(saved)
        assert (tmp_path / "sessions" / f"{saved.id}.damaged-{number}" / "session.json").read_text() == "precious"
    assert store.load(saved.id) == saved


@pytest.mark.parametrize("id", ["", "..", "../x", "a/b", ".lock", "x" * 100, "A", "nothing-here"])
def test_ids_are_no_paths(store, id):
    with pytest.raises(SessionFileError):
        store.load(id)


def test_what_was_set_aside_unseen_would_never_be_told_of(store, tmp_path):
    broken = started()
    store.save(broken)
    (tmp_path / "sessions" / broken.id / "session.json").write_text("{")
    other = started()
    store.save(other)
    store.close(other.id)
    assert (store.interrupted(), store.latest().id) == ((), other.id)
    assert broken.id in store.survey().notes[0]


@pytest.mark.parametrize("deed", ["resume", "first save", "close", "survey"])
def test_what_must_not_be_done_twice_waits_for_the_lock(store, tmp_path, monkeypatch, deed):
    mine, lost = started(), dataclasses.replace(started(), owner=gone())
    store.save(mine)
    store.save(lost)
    monkeypatch.setattr("llmdbg.debugger.saved_files._SECONDS_FOR_LOCK", 0.1)
    deeds = {
        "resume": lambda: store.resume(lost.id),
        "first save": lambda: store.save(started()),
        "close": lambda: store.close(mine.id),
        "survey": store.survey,
    }
    with ThreadPoolExecutor(1) as other:
        lock = FileLock(tmp_path / "sessions" / ".lock", thread_local=False)
        other.submit(lock.acquire).result()
        with pytest.raises(SessionFileError, match="another llmdbg"):
            deeds[deed]()
        store.save(dataclasses.replace(mine, focus=3))
        assert store.load(mine.id).focus == 3
        lock.release()
    deeds[deed]()


def test_the_number_of_files_is_bounded(store, tmp_path, monkeypatch):
    monkeypatch.setattr("llmdbg.debugger.saved_files._KEPT", {"closed": 3, "interrupted": 2, "damaged": 2})
    folder, owner = tmp_path / "sessions", gone()
    mine = started()
    store.save(mine)
    (folder / "20260101-000009-beef").write_text("a stray file")
    for number in range(5):
        closed, lost, broken = started(), dataclasses.replace(started(), owner=owner), started()
        for each in (closed, lost, broken):
            store.save(each)
        store.close(closed.id)
        (folder / broken.id / "session.json").write_text("{")
        store.survey()
        time.sleep(0.005)
        (folder / f"20260101-00000{number}-dead").mkdir()
    last = started()
    store.save(last)
    survey = store.survey()
    assert (len(survey.closed), len(survey.interrupted)) == (3, 2)
    assert {each.id for each in survey.running} == {mine.id, last.id}
    assert closed.id in {each.id for each in survey.closed}
    assert len(list(folder.glob("*.damaged-*"))) == 2
    assert len(list(folder.iterdir())) <= 3 + 2 + 2 + 2 + 2


def test_a_folder_that_cannot_be_written_is_told_in_a_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SessionFileError, match="saved sessions: "):
        SessionStore(tmp_path / "file" / "sessions").save(started())


CHILD = """
import sys
from pathlib import Path
from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.saved import begin, capture
from llmdbg.debugger.saved_files import SessionStore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import ModelSpec
from tests.sessions import tiny_session

store = SessionStore(Path(sys.argv[1]))
how = dict(max_new_tokens=200, temperature=1.5, seed=3)
session = tiny_session(**how)
saved = begin(ModelSpec("tiny"), "Hello there", GenerationSettings(**how))
COMMANDS.run(session, "break *.mlp@190")
store.save(saved)
print(saved.id, flush=True)
for step in range(10**6):
    COMMANDS.run(session, "step")
    store.save(capture(session, saved, {"steps": step}))
    if step == 40:
        print("on its way", flush=True)
"""


def child(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )


def test_two_processes_that_are_killed_leave_two_sessions_to_come_back_to(tmp_path):
    folder = tmp_path / "sessions"
    children = [child(folder), child(folder)]
    try:
        ids = [each.stdout.readline().strip() for each in children]
        store = SessionStore(folder)
        for each in children:
            assert each.stdout.readline() == "on its way\n"
        assert {each.id for each in store.survey().running} == set(ids)
        with pytest.raises(SessionFileError, match=f"open in process {children[0].pid}"):
            store.resume(ids[0])
        children[0].send_signal(signal.SIGKILL)
        # Nobody waits for it: it stays a zombie, and is gone all the same.
        given_up = time.monotonic() + 20
        while not (interrupted := store.interrupted()) and time.monotonic() < given_up:
            time.sleep(0.05)
        assert [each.id for each in interrupted] == [ids[0]]
    finally:
        for each in children:
            each.kill()
            each.wait()
            each.stdout.close()
    survey = store.survey()
    assert {each.id for each in survey.interrupted} == set(ids)
    assert survey.notes == ()
    for id in ids:
        saved = store.resume(id)
        session = tiny_session(max_new_tokens=200, temperature=1.5, seed=3)
        assert restore(session, saved) == ()
        assert here(session) == f"{saved.place.address}@{saved.place.token}"
        assert saved.layout["steps"] >= 40
        assert [each.target.text for each in session.breakpoints.list()] == ["*.mlp@190"]


def test_killed_at_any_moment_the_file_is_whole(tmp_path):
    script = """
import dataclasses, sys
from pathlib import Path
from llmdbg.debugger.saved import begin
from llmdbg.debugger.saved_files import SessionStore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import ModelSpec
store = SessionStore(Path(sys.argv[1]))
while True:
    saved = begin(ModelSpec("tiny"), "word " * 1000, GenerationSettings())
    for focus in range(20):
        store.save(dataclasses.replace(saved, focus=focus))
    print(flush=True)
"""
    folder = tmp_path / "sessions"
    for number in range(12):
        process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, cwd=ROOT)
        process.stdout.readline()
        time.sleep(0.003 * number)
        process.kill()
        process.wait()
        process.stdout.close()
        survey = SessionStore(folder).survey()
        assert survey.notes == ()
        assert survey.running == ()
    assert survey.interrupted


def test_of_processes_that_want_the_same_session_one_gets_it(store, tmp_path):
    lost = dataclasses.replace(started(), owner=gone())
    store.save(lost)
    script = """
import sys
from pathlib import Path
from llmdbg.debugger.saved_files import SessionStore
from llmdbg.errors import SessionFileError
store = SessionStore(Path(sys.argv[1]))
sys.stdin.readline()
try:
    store.resume(sys.argv[2])
    print("mine", flush=True)
except SessionFileError as error:
    print(error, flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", script, str(tmp_path / "sessions"), lost.id]
    others = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)
    ]
    for each in others:
        each.stdin.write("go\n")
        each.stdin.flush()
    told = sorted(each.stdout.readline().strip() for each in others)
    for each in others:
        each.communicate("done\n", timeout=30)
    assert told.count("mine") == 1
    assert all("is open in process" in line for line in told if line != "mine")


def test_listing_saved_sessions_imports_no_torch(tmp_path):
    script = (
        "import sys; from llmdbg.debugger.saved_files import SessionStore; from pathlib import Path;"
        f"SessionStore(Path({str(tmp_path)!r})).survey(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout.split() == ["False", "False"]


def test_a_file_never_makes_settings_that_the_command_line_would_refuse():
    with pytest.raises(SettingsError):
        GenerationSettings(greedy=True, top_k=3)
    whole = document(started())
    whole["settings"] |= {"greedy": True, "top_k": 3}
    with pytest.raises(SessionFileError, match="settings: --greedy"):
        from_json(json.dumps(whole), PROMPT)
