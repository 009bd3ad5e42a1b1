"""Sessions in files: lost, found again, damaged, and wanted by several processes at once."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from llmdbg.debugger.persistence.format import FORMAT
from llmdbg.debugger.persistence.model import (
    Owner,
    this_process,
)
from llmdbg.debugger.persistence.restore import restore
from llmdbg.debugger.persistence.store import KEPT, SessionStore, sessions_folder
from llmdbg.errors import SessionFileError
from tests.debugger.saving import gone, started
from tests.sessions import here, tiny_session

ROOT = Path(__file__).parents[3]


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


def test_a_newer_file_is_left_where_it_is(store, tmp_path):
    saved = started()
    store.save(saved)
    file = tmp_path / "sessions" / saved.id / "session.json"
    file.write_text(file.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'))
    survey = SessionStore(tmp_path / "sessions").survey()
    assert "newer llmdbg" in survey.notes[0]
    assert file.exists()
    with pytest.raises(SessionFileError, match="newer"):
        SessionStore(tmp_path / "sessions").save(saved)
    assert f'"format": {FORMAT + 1}' in file.read_text()


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
    assert survey.latest == survey.interrupted[0] == store.latest()


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
    assert store.latest().id == other.id
    assert broken.id in store.survey().notes[0]


@pytest.mark.parametrize("deed", ["resume", "first save", "close", "survey"])
def test_what_must_not_be_done_twice_waits_for_the_lock(store, tmp_path, monkeypatch, deed):
    mine, lost = started(), dataclasses.replace(started(), owner=gone())
    store.save(mine)
    store.save(lost)
    monkeypatch.setattr("llmdbg.debugger.persistence.store.SECONDS_FOR_LOCK", 0.1)
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
    for sort, most in {"closed": 3, "interrupted": 2, "elsewhere": 1, "damaged": 2}.items():
        monkeypatch.setitem(KEPT, sort, most)
    folder, owner = tmp_path / "sessions", gone()
    mine = started()
    store.save(mine)
    (folder / "20260101-000009-beef").write_text("a stray file")
    for number in range(5):
        closed, lost, broken = started(), dataclasses.replace(started(), owner=owner), started()
        far = dataclasses.replace(started(), owner=Owner(1, "another-host", 1.0))
        for each in (closed, lost, broken, far):
            store.save(each)
        store.close(closed.id)
        (folder / broken.id / "session.json").write_text("{")
        store.survey()
        time.sleep(0.005)
        (folder / f"20260101-00000{number}-dead").mkdir()
    last = started()
    store.save(last)
    survey = store.survey()
    assert (len(survey.closed), len(survey.interrupted), [each.id for each in survey.elsewhere]) == (3, 2, [far.id])
    assert {each.id for each in survey.running} == {mine.id, last.id}
    assert closed.id in {each.id for each in survey.closed}
    assert len(list(folder.glob("*.damaged-*"))) == 2
    assert len(list(folder.iterdir())) <= 3 + 2 + 1 + 2 + 2 + 2


def test_a_folder_that_cannot_be_written_is_told_in_a_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SessionFileError, match="saved sessions: "):
        SessionStore(tmp_path / "file" / "sessions").save(started())


CHILD = """
import sys
from pathlib import Path
from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import ModelSpec
from tests.sessions import here, tiny_session

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


@pytest.mark.slow
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
        while not (interrupted := store.survey().interrupted) and time.monotonic() < given_up:
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
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.store import SessionStore
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
from llmdbg.debugger.persistence.store import SessionStore
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
        "import sys; from llmdbg.debugger.persistence.store import SessionStore; from pathlib import Path;"
        f"SessionStore(Path({str(tmp_path)!r})).survey(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout.split() == ["False", "False"]
