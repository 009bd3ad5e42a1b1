"""Nothing on the screen but the app: what others write goes to the book."""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from textual.drivers import linux_driver

from llmdbg.frontends.log import LogBook
from llmdbg.frontends.tui.terminal.capture import REPLACED, Capture
from tests.terminal import Terminal

MEGABYTE = 1 << 20


@pytest.fixture
def book():
    return LogBook()


def texts(book, source=None):
    return [line.text for line in book.lines() if source in (None, line.source)]


def lead():
    """What everything leads to: files by their inode, streams by who they are."""
    return (
        [os.fstat(descriptor).st_ino for descriptor in range(3)],
        [sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__],
    )


def open_files():
    return sorted(Path("/proc/self/fd").iterdir())


def test_afterwards_all_is_as_it_was(book):
    before, files, threads = lead(), open_files(), threading.active_count()
    with Capture(book):
        inside = lead()
    assert lead() == before
    assert open_files() == files
    assert threading.active_count() == threads
    assert before[0][1:] != inside[0][1:]


def test_afterwards_all_is_as_it_was_after_an_exception_too(book):
    before, files = lead(), open_files()
    with pytest.raises(KeyboardInterrupt), Capture(book):
        os.write(1, b"last words\n")
        raise KeyboardInterrupt

    assert lead() == before
    assert open_files() == files
    assert texts(book) == ["last words"]


def test_a_capture_that_cannot_begin_leaves_all_as_it_was(book, monkeypatch):
    before, files = lead(), open_files()
    monkeypatch.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no more threads")))
    with pytest.raises(RuntimeError, match="no more threads"), Capture(book):
        pass

    assert lead() == before
    assert open_files() == files


def test_descriptors_subprocesses_and_c_reach_the_book_with_their_source(book, capfd):
    with Capture(book):
        os.write(1, b"by descriptor\n")
        os.write(2, "fehlerhäft\n".encode())
        subprocess.run(["sh", "-c", "echo by a shell; echo wrong >&2"], check=True)
        ctypes.CDLL(None).printf(b"by %s\n", b"C")

    assert texts(book, "stdout") == ["by descriptor", "by a shell", "by C"]
    assert texts(book, "stderr") == ["fehlerhäft", "wrong"]
    assert capfd.readouterr() == ("", "")


def test_what_is_written_is_in_the_book_soon(book):
    with Capture(book):
        os.write(1, b"hello\n")
        end = time.monotonic() + 10
        while not texts(book):
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.01)


C_OUTPUT = """
import ctypes, time
from llmdbg.frontends.log import LogBook
from llmdbg.frontends.tui.terminal.capture import Capture

library, book = ctypes.CDLL(None), LogBook()
library.printf(b"before, without end")
with Capture(book):
    library.puts(b"inside")
    time.sleep(0.5)
    soon = [line.text for line in book.lines()]
    library.printf(b"inside, without end")
library.puts(b" and after")
library.fflush(None)
print("soon", soon, "in the end", [line.text for line in book.lines()])
"""


def test_what_c_has_buffered_goes_where_it_was_meant_to():
    """Python asked to leave its own output unbuffered leaves C's unbuffered too."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", C_OUTPUT], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "before, without end and after",
        "soon ['inside'] in the end ['inside', 'inside, without end']",
    ]
    assert done.stderr == ""


def test_a_line_without_end_is_not_lost(book):
    with Capture(book):
        os.write(1, b"do you agree? [y/N] ")

    assert texts(book) == ["do you agree? [y/N] "]


def test_a_character_cut_in_two_is_one(book):
    with Capture(book):
        os.write(1, "ä".encode()[:1])
        time.sleep(0.3)
        os.write(1, "ä".encode()[1:] + b"\xff\n")

    assert texts(book) == ["ä\\xff"]


@pytest.mark.parametrize("library", [ctypes.CDLL, ctypes.PyDLL], ids=["", "holding the interpreter's lock"])
def test_ten_megabytes_at_once_stop_nobody(book, library):
    flood = b"x" * 99 + b"\n"
    data = b"first line\n" + flood * (10 * MEGABYTE // 100) + b"last line\n"
    with Capture(book):
        started = time.monotonic()
        assert library(None).write(1, data, len(data)) == len(data)
        assert time.monotonic() - started < 5

    assert texts(book)[-1] == "last line"
    assert any("bytes left out" in text for text in texts(book))


def test_a_loop_that_prints_is_read_to_its_end_and_takes_little_memory(book):
    with Capture(book):
        for _ in range(200):
            os.write(1, b"x" * MEGABYTE)
            os.write(1, b"\n")
        os.write(1, b"last line\n")
        end = time.monotonic() + 10
        while os.fstat(1).st_size > 0:
            assert time.monotonic() < end, f"{os.fstat(1).st_size} bytes are kept"
            time.sleep(0.05)
        os.write(1, b"after it was emptied\n")

    assert texts(book)[-2:] == ["last line", "after it was emptied"]


def test_writing_slowly_and_much_loses_nothing(book):
    with Capture(book):
        for index in range(1500):
            os.write(1, b"%d %s\n" % (index, b"x" * 400))
            if index % 100 == 0:
                time.sleep(0.05)

    assert [int(text.split()[0]) for text in texts(book)] == list(range(1500))


def test_whoever_opens_stdout_by_name_empties_nothing_but_what_was_read(book):
    with Capture(book):
        os.write(1, b"before\n")
        time.sleep(0.3)
        subprocess.run(["sh", "-c", "(echo by name; sleep 0.4; echo again) > /dev/stdout"], check=True)
        os.write(1, b"after\n")

    assert texts(book) == ["before", "by name", "again", "after"]


def test_what_somebody_else_empties_is_read_on_from_its_beginning(book):
    """A shell that opens it by name a moment after it was read, when it has not been emptied here yet."""
    with Capture(book):
        os.write(1, b"a long line before\n")
        end = time.monotonic() + 20
        while not texts(book):
            assert time.monotonic() < end
            time.sleep(0.001)
        os.ftruncate(1, 0)
        os.write(1, b"after\n")

    assert texts(book) == ["a long line before", "after"]


def test_a_child_that_lives_on_does_not_hold_the_end_up(book):
    started = time.monotonic()
    with Capture(book):
        child = subprocess.Popen(["sh", "-c", "echo begun; sleep 30; echo late"])
        time.sleep(0.3)
    waited = time.monotonic() - started
    child.kill()
    child.wait()

    assert waited < 10
    assert texts(book) == ["begun"]


def test_a_fork_that_prints_reaches_the_book(book):
    with Capture(book), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            os.write(1, b"from a fork\n" * 1000)
            os._exit(0)
        os.waitpid(child, 0)

    assert texts(book) == ["from a fork"] * 1000


def test_questions_on_stdin_get_no_answer(book):
    with Capture(book):
        assert os.read(0, 1) == b""


def test_a_thread_that_dies_tells_the_book(book):
    """As it would at the end of a `print`: through whatever `sys.stderr` is."""
    with Capture(book):
        subprocess.run([sys.executable, "-c", "raise ValueError('wrong')"], check=False)

    assert texts(book)[-1] == "ValueError: wrong"


def test_the_names_of_python_that_are_replaced():
    """Textual takes the terminal from these three; another release may take it from elsewhere."""
    source = Path(linux_driver.__file__).read_text(encoding="utf-8")
    names = {name for name in ("sys.__stdin__", "sys.__stdout__", "sys.__stderr__") if name in source}

    assert names == {"sys.__stdin__", "sys.__stderr__"}
    assert "self._file = sys.__stderr__" in source
    assert "self.fileno = sys.__stdin__.fileno()" in source
    assert "shutil.get_terminal_size()" in source, "which asks sys.__stdout__"
    assert {f"sys.{name}" for name in REPLACED} == names | {"sys.__stdout__"}


APP = r"""
import ctypes, logging, os, subprocess, sys, threading, warnings
from textual.app import App
from textual.widgets import Static
from llmdbg.frontends.log import LogBook, route_libraries
from llmdbg.frontends.tui.terminal.capture import Capture

class Noisy(App):
    CSS = "Static { height: 1fr; background: blue }"
    def compose(self):
        yield Static("THE SCREEN", id="s")
    def on_mount(self):
        capture.claim_prints()
        self.query_one("#s").update(f"size {self.size.width}x{self.size.height}")
        self.set_interval(0.2, self.make_noise)
        self.said = 0
    def make_noise(self):
        self.said += 1
        print("TORN by print")
        print("TORN by stderr", file=sys.stderr)
        os.write(1, b"TORN by descriptor\n")
        os.write(2, b"TORN by descriptor 2\n")
        ctypes.CDLL(None).puts(b"TORN by C")
        subprocess.run(["sh", "-c", "echo TORN by a shell"])
        warnings.warn(f"TORN by warning {self.said}")
        logging.getLogger("lib").warning("TORN by logger")
        threading.Thread(target=lambda: 1 / 0).start()
        sys.stderr.write(f"\rTORN bar {self.said}")
        sys.stderr.flush()
        self.query_one("#s").update(f"size {self.size.width}x{self.size.height} noise {self.said}")
    def on_key(self, event):
        if event.key == "q":
            self.exit()
        if event.key == "x":
            raise RuntimeError("the app failed")

book = LogBook()
route_libraries(book)
print("BEFORE")
with Capture(book) as capture:
    app = Noisy()
    app.run(size=capture.size)
print("AFTER", app.return_code)
for part in ("print", "stderr", "descriptor", "descriptor 2", "C", "a shell", "logger"):
    print("book", part, f"TORN by {part}" in [line.text for line in book.lines()])
print("book warning", any("UserWarning: TORN by warning" in line.text for line in book.lines()))
print("book thread", "ZeroDivisionError: division by zero" in [line.text for line in book.lines()])
print("book bar", any("TORN bar" in line.text for line in book.lines()))
print("book app", any("the app failed" in line.text for line in book.lines()))
print("END")
"""


@pytest.fixture
def noisy():
    terminal = Terminal(
        sys.executable, "-W", "always", "-c", APP, size=(100, 30), environment={"PYTHONUNBUFFERED": None}
    )
    yield terminal
    terminal.close()


def test_no_noise_reaches_the_screen_and_all_of_it_the_book(noisy):
    noisy.wait_for("noise 3")
    assert "size 100x30" in noisy.text
    noisy.resize(90, 20)
    noisy.process.send_signal(28)
    noisy.wait_for("size 90x20")
    noisy.send("q")

    assert noisy.wait_for_exit() == 0
    shown, _, after = noisy.received.partition(b"\x1b[?1049l")
    assert b"TORN" not in shown
    assert b"BEFORE" in shown
    assert b"AFTER 0" in after
    lines = after.decode().splitlines()
    assert [line for line in lines if line.startswith("book") and not line.endswith("True")] == ["book app False"]
    assert "END" in lines


def test_an_app_that_fails_gives_the_terminal_back(noisy):
    noisy.wait_for("noise 1")
    noisy.send("x")

    assert noisy.wait_for_exit() == 0
    after = noisy.received.partition(b"\x1b[?1049l")[2].decode()
    assert "AFTER 1" in after
    assert "book app True" in after
    assert "Traceback" not in after


NOISY_MODEL = """
import ctypes, os, sys, warnings
from transformers import LlamaForCausalLM

class Noisy(LlamaForCausalLM):
    def prepare_inputs_for_generation(self, *args, **kwargs):
        print("TORN by print")
        print("TORN by stderr", file=sys.stderr)
        os.write(1, b"TORN by descriptor\\n")
        ctypes.CDLL(None).puts(b"TORN by C")
        warnings.warn("TORN by warning")
        return super().prepare_inputs_for_generation(*args, **kwargs)
"""


@pytest.mark.slow
def test_a_model_whose_own_code_prints_tears_nothing(a_copy, tmp_path):
    folder = a_copy()
    (folder / "noisy.py").write_text(NOISY_MODEL)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "noisy.Noisy"}
    (folder / "config.json").write_text(json.dumps(config))
    seen = Terminal(
        *(sys.executable, "-m", "llmdbg", folder, "-p", "The quick brown fox", "-n", "6", "--greedy"),
        "--trust-remote-code",
        environment={"XDG_STATE_HOME": str(tmp_path / "state"), "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    try:
        seen.wait_for("tokenize")
        seen.wait_for("The·quick·brown·fox")
        seen.send("c")
        seen.wait_for("6 tokens")
        seen.send("q")
        assert seen.wait_for_exit() == 0
    finally:
        seen.close()

    assert b"TORN" not in seen.received
    log = "".join(path.read_text() for path in (tmp_path / "state").rglob("llmdbg.log"))
    for noise in ("print", "stderr", "descriptor", "C", "warning"):
        assert f"TORN by {noise}" in log
