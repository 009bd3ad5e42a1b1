"""stderr of a batch is narration: what libraries write there by themselves goes to the log."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmdbg.cli import main
from llmdbg.frontends import output
from llmdbg.frontends.batch.foreign_output import libraries_in_log
from llmdbg.frontends.log import log_path


def panicking(folder):
    path = folder / "tokenizer.json"
    # A regular expression that takes exponential time: the library gives up, by a panic.
    slow = {"type": "Split", "pattern": {"Regex": "(h+)+$"}, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), "pre_tokenizer": slow}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--json"], ["--tour"]])
def test_a_panic_of_rust_is_our_one_line_and_the_rest_is_in_the_log(a_copy, tmp_path, more):
    arguments = [str(panicking(a_copy())), "-p", "h" * 40 + "!", "--batch", *more]
    where = {**os.environ, "RUST_BACKTRACE": "1", "XDG_STATE_HOME": str(tmp_path / "state")}
    ended = subprocess.run(
        [sys.executable, "-m", "llmdbg", *arguments], capture_output=True, text=True, check=False, env=where
    )
    assert ended.returncode == 2
    lines = [each for each in ended.stderr.splitlines() if each]
    assert all(each.endswith("…") for each in lines[:-1]), ended.stderr
    assert lines[-1].startswith("llmdbg: the model's tokenizer failed on this text: ")
    logged = "".join(path.read_text() for path in (tmp_path / "state").rglob("llmdbg.log"))
    assert "panicked at" in logged


def test_what_is_written_to_descriptor_2_is_logged_and_what_python_prints_is_shown(capfd, tiny_folder):
    raw = "print __import__('os').write(2, b'raw \\x1b[31m\\n')"
    own = "print print('by hand', file=__import__('sys').stderr)"
    assert main([str(tiny_folder), "-p", "hi", "--batch", "-n", "2", "-ex", raw, "-ex", own]) == 0
    err = capfd.readouterr().err
    assert "raw" not in err and "by hand" in err
    assert "stderr: raw ␛[31m" in log_path().read_text()


def test_all_is_as_it_was_afterwards(capfd, tmp_path):
    stream = sys.stderr
    before = os.fstat(2).st_ino
    descriptors = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(ValueError, match="x"), libraries_in_log():
        os.write(2, b"hidden without a line break")
        logging.getLogger("some.library").error("told")
        output.note("shown")
        raise ValueError("x")
    assert sys.stderr is stream
    assert len(list(Path("/dev/fd").iterdir())) <= descriptors + 1, "the log file, and no more, stays open"
    assert os.fstat(2).st_ino == before
    assert capfd.readouterr().err == "note: shown\n"
    logged = log_path().read_text()
    assert all(each in logged for each in ("hidden without a line break", "told"))


@pytest.mark.slow
def test_a_stderr_that_cannot_be_written_is_dropped(tiny_folder):
    command = [sys.executable, "-m", "llmdbg", str(tiny_folder), "-p", "hi", "--batch", "-n", "1", "-ex", "print 1"]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False).returncode == 0
    closed = subprocess.run(command, stdout=subprocess.PIPE, check=False, preexec_fn=lambda: os.close(2))
    assert closed.returncode == 0
