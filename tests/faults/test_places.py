"""Files and folders that fail under a running screen, and a terminal that never rests."""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmdbg.debugger.persistence.model import SavedBreakpoint, begin
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import ModelSpec
from tests.debugger.saving import gone
from tests.faults.programs import Doomed

ARGUMENTS = ("-p", "The quick brown fox", "-n", "40", "--greedy")


@pytest.fixture
def own_model(tiny_folder, tmp_path):
    """A model folder that may be changed."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


def do(doomed, line, sign):
    """Enter a command, and wait until it is done and saved."""
    doomed.send(f":{line}\r:print '{sign}'\r")
    doomed.read_until(f"'{sign}'".encode())


def test_weights_cut_short_while_suspended_leave_a_terminal_and_a_reason(nursery, own_model, tmp_path):
    with Doomed(nursery, tmp_path, str(own_model), *ARGUMENTS) as doomed:
        doomed.read_until(b"tokenize")
        do(doomed, "break 1", "done1")
        os.truncate(own_model / "model.safetensors", 0)
        doomed.send("c")
        assert doomed.wait() == -signal.SIGBUS
        assert doomed.settled()
        after = doomed.received.rpartition(b"\x1b[?1049l")[2].decode()
        assert "the model's weights, was truncated" in after
        assert "`llmdbg --resume` continues the session" in after
        assert after.count("\n") == 1
        assert len(doomed.session().breakpoints) == 1
        log = next((tmp_path / "state").rglob("llmdbg.log")).read_text()
        assert "Fatal Python error: Bus error" in log


@pytest.mark.parametrize("name", ["XDG_STATE_HOME", "everything"])
def test_a_state_that_cannot_be_written_is_reported_at_once(nursery, tiny_folder, tmp_path, name):
    names = ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HOME") if name == "everything" else (name,)
    nowhere = dict.fromkeys(names, "/dev/null/nowhere")
    with Doomed(nursery, tmp_path, str(tiny_folder), *ARGUMENTS, environment=nowhere) as doomed:
        doomed.read_until(b"this session is not being saved")
        do(doomed, "goto 1@2", "done1")
        doomed.send("q")
        assert doomed.wait() == 0
        assert doomed.settled()
        assert b"llmdbg: the session is not saved: " in doomed.received.rpartition(b"\x1b[?1049l")[2]


def remove(folder):
    """Remove a folder into which a session may just be saved."""
    for _ in range(200):
        try:
            shutil.rmtree(folder)
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"{folder} comes again and again")


def test_a_state_folder_that_is_removed_is_made_again(nursery, tiny_folder, tmp_path):
    with Doomed(nursery, tmp_path, str(tiny_folder), *ARGUMENTS) as doomed:
        doomed.read_until(b"tokenize")
        do(doomed, "break 1", "done1")
        remove(tmp_path / "state")
        do(doomed, "break 2", "done2")
        doomed.kill(signal.SIGKILL)
        doomed.wait()
        assert [each.address for each in doomed.session().breakpoints] == ["1", "2"]


@pytest.mark.slow
def test_a_full_disk_costs_what_comes_after_it_and_no_more(nursery, tiny_folder, tmp_path):
    disk = tmp_path / "state"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    try:
        with Doomed(nursery, tmp_path, str(tiny_folder), *ARGUMENTS) as doomed:
            doomed.read_until(b"tokenize")
            do(doomed, "break 1", "done1")
            doomed.read(1.0)  # an answer is on the screen before it is saved
            with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
                while True:
                    filler.write(bytes(1024))
            doomed.send(":break 2\r")
            doomed.read_until(b"this session is not being saved")
            do(doomed, "info breakpoints", "done2")
            doomed.read(1.0)
            assert [each.address for each in doomed.running().breakpoints] == ["1"]
            (disk / "filler").unlink()
            doomed.send(":break 0\r")
            doomed.read_until(b"being saved again")
            assert [each.address for each in doomed.running().breakpoints] == ["1", "2", "0"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_of_a_session_that_is_too_large_all_that_fits_comes_back(nursery, tiny_folder, tmp_path):
    lines = ("print '" + "x" * 1900 + "'",) * 100
    points = [SavedBreakpoint(number, "1.mlp", False, True, 0, commands=lines) for number in range(1, 22)]
    begun = begin(ModelSpec(str(tiny_folder)), "The quick", GenerationSettings(max_new_tokens=8, greedy=True))
    SessionStore(tmp_path / "state/llmdbg/sessions").save(replace(begun, owner=gone(), breakpoints=tuple(points)))
    (tmp_path / "more.txt").write_text(f"break 1\ncommands 22 {'; '.join(lines)}")
    with Doomed(nursery, tmp_path, "--resume", begun.id) as doomed:
        doomed.read_until(b"resumed")
        assert b"not all" not in doomed.received
        doomed.send(f":source {tmp_path / 'more.txt'}\r")
        doomed.read_until(b"not all saved")
        do(doomed, "goto 0@2", "done2")
        doomed.send("q")
        assert doomed.wait() == 0
        assert doomed.settled()
        said = doomed.received.rpartition(b"\x1b[?1049l")[2]
        assert b"not all of the session is saved: breakpoint 21 is left out, since a saved session holds 4 MiB" in said
        kept = doomed.session()
        assert (kept.place.address, kept.place.token) == ("0", 2)
        assert kept.breakpoints[:-1] == tuple(points[:20])
        assert (kept.breakpoints[-1].number, kept.breakpoints[-1].commands) == (22, lines)


def test_a_session_that_is_open_is_not_taken_from_the_one_who_has_it(nursery, tiny_folder, tmp_path):
    with Doomed(nursery, tmp_path, str(tiny_folder), *ARGUMENTS) as first:
        first.read_until(b"tokenize")
        do(first, "break 1", "done1")
        running = first.running()
        with Doomed(nursery, tmp_path, "--resume", running.id) as second:
            assert second.wait() in (1, 2)
            second.read(0.2)
            assert b"is open in process" in second.received
            assert second.is_as_it_was()
        do(first, "break 2", "done2")
        assert len(first.running().breakpoints) == 2


@pytest.mark.slow
def test_a_new_size_every_five_milliseconds_changes_nothing_of_the_run(nursery, tiny_folder, tmp_path):
    with Doomed(nursery, tmp_path, str(tiny_folder), *ARGUMENTS) as doomed:
        doomed.read_until(b"tokenize")
        doomed.send("c")
        for number in range(300):
            doomed.resize(20 + number * 7 % 160, 5 + number * 3 % 50)
            doomed.read(0.005)
        doomed.resize(100, 30)
        do(doomed, "print 40 + 2", "done1")
        running = doomed.running()
        assert running.ended
        assert len(running.generated) == 40
        doomed.send("q")
        assert doomed.wait() == 0
        assert doomed.settled()


@pytest.mark.parametrize("changed", [False, True])
def test_a_model_that_changed_between_is_noticed_on_resuming(nursery, own_model, tmp_path, changed):
    with Doomed(nursery, tmp_path, str(own_model), *ARGUMENTS) as first:
        first.read_until(b"tokenize")
        do(first, "goto sample@4", "done1")
        first.kill(signal.SIGKILL)
        first.wait()
        assert first.settled()
        assert b"llmdbg: it was killed; `llmdbg --resume` continues the session" in first.received
    if changed:
        path = own_model / "model.safetensors"
        chance = torch.Generator().manual_seed(5)
        weights = load_file(path)
        changed_ones = {name: each + 0.2 * torch.randn(each.shape, generator=chance) for name, each in weights.items()}
        save_file(changed_ones, path, metadata={"format": "pt"})
    with Doomed(nursery, tmp_path, "--resume") as second:
        second.read_until(b"generated other tokens than before" if changed else b"resumed where it was interrupted")
        do(second, "print 6 * 7", "done2")
        assert second.running().place.token == 4
