"""The log file and the book of what libraries say."""

import logging
import os
import stat
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from llmdbg.frontends import log
from llmdbg.frontends.log import LONGEST_LINE, MOST_LINES, LogBook, LogFile, record, route_libraries


@pytest.fixture
def file(tmp_path):
    handler = LogFile(tmp_path / "new" / "llmdbg.log")
    yield handler
    handler.close()


@pytest.fixture
def path(file):
    return Path(file.baseFilename)


@pytest.fixture
def routed(tmp_path, monkeypatch):
    """Routing that is undone."""
    monkeypatch.setattr(log, "log_path", lambda: tmp_path / "llmdbg.log")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path / "llmdbg.log"
    logging.captureWarnings(False)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def texts(lines):
    return [line.text for line in lines]


def read(path):
    return path.read_text(encoding="utf-8")


def test_the_file_is_for_its_owner_only(file, path):
    book = LogBook(file)
    book.write("stdout", "hello\n")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_others_could_read_is_closed_to_them(file, path):
    path.parent.mkdir()
    path.touch()
    path.chmod(0o644)
    LogBook(file).write("stdout", "hello\n")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_stays_small(tmp_path, file, path, monkeypatch):
    monkeypatch.setattr(file, "maxBytes", 10_000)
    for _ in range(1000):
        file.handle(logging.makeLogRecord({"msg": "x" * 100}))

    sizes = [each.stat().st_size for each in (tmp_path / "new").iterdir()]
    assert len(sizes) == 3
    assert max(sizes) <= 10_000
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "new").iterdir()} == {0o600}


def test_a_file_that_cannot_be_written_bothers_nobody(tmp_path, capfd):
    (tmp_path / "a-file").write_text("")
    handler = LogFile(tmp_path / "a-file" / "llmdbg.log")
    book = LogBook(handler)
    book.write("stdout", "hello\n")

    assert texts(book.lines()) == ["hello"]
    assert capfd.readouterr() == ("", "")


def test_what_a_terminal_would_obey_is_shown_in_the_file(file, path):
    LogBook(file).write("stderr", "a\x1b[2Jb\u202e\n")

    assert read(path).endswith("stderr: a␛[2Jb‹U+202E›\n")


def test_a_line_of_the_file_has_time_and_source(file, path):
    LogBook(file).write("stderr", "hello\n")

    assert read(path).startswith(time.strftime("%Y-%m-%d "))
    assert read(path).endswith(" INFO stderr: hello\n")


def test_lines_come_in_pieces():
    book = LogBook()
    book.write("stdout", "one\ntw")
    assert texts(book.lines()) == ["one"]
    assert texts(book.unfinished()) == ["tw"]
    book.write("stdout", "o\n")

    assert texts(book.lines()) == ["one", "two"]
    assert book.unfinished() == ()


def test_sources_do_not_mix():
    book = LogBook()
    book.write("stdout", "ab")
    book.write("stderr", "12")
    book.write("stdout", "c\n")
    book.write("stderr", "3\n")

    assert [(line.source, line.text) for line in book.lines()] == [("stdout", "abc"), ("stderr", "123")]


def test_a_reader_sees_whether_anything_has_changed():
    book = LogBook()
    book.write("stdout", "one\ntwo\n")
    changes = book.changes
    assert texts(book.lines()) == ["one", "two"]
    assert book.changes == changes
    book.write("stdout", "three\n")

    assert book.changes != changes


def test_a_progress_bar_is_one_line_in_its_last_state(file, path):
    book = LogBook(file)
    for percent in range(0, 101, 10):
        book.write("stderr", f"\rloading {percent} %")
        assert texts(book.unfinished()) == [f"loading {percent} %"]
    book.write("stderr", "\n")

    assert texts(book.lines()) == ["loading 100 %"]
    assert read(path).count("loading") == 1


def test_a_carriage_return_at_the_end_of_a_piece_begins_the_line_again():
    book = LogBook()
    book.write("stderr", "loading 10 %\r")
    assert texts(book.lines()) == []
    book.write("stderr", "loading 20 %\r\n")

    assert texts(book.lines()) == ["loading 20 %"]


def test_windows_ends_of_line_are_ends_of_line():
    book = LogBook()
    book.write("stdout", "one\r")
    book.write("stdout", "\ntwo\r\n")

    assert texts(book.lines()) == ["one", "two"]


def test_the_book_is_bounded():
    book = LogBook()
    book.write("stdout", "".join(f"{index}\n" for index in range(MOST_LINES + 500)))

    assert len(book.lines()) == MOST_LINES
    assert book.lines()[-1].text == str(MOST_LINES + 499)


def test_a_line_without_end_is_bounded():
    book = LogBook()
    for _ in range(100):
        book.write("stdout", "x" * 100_000)
    assert sum(map(len, texts(book.unfinished()))) <= LONGEST_LINE + 2
    book.write("stdout", "\n")

    assert book.lines()[0].text == "x" * LONGEST_LINE + "…"


def test_a_loop_that_prints_fills_the_book_and_spares_the_file(file, path, monkeypatch):
    clock = iter(range(10**9))
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    book = LogBook(file)
    for index in clock:
        book.write("stdout", f"line {index}\n")
        if index == 50_000:
            break
    written = read(path).count("\n")
    now[0] = 10.0
    book.write("stdout", "later\n")

    assert written == 1000
    assert book.lines()[-1].text == "later"
    assert book.lines()[-2].text == "line 50000"
    assert "(49,001 lines left out of this file)" in read(path)
    assert read(path).endswith("later\n")


def test_a_loop_that_prints_leaves_other_sources_their_room(file, path):
    book = LogBook(file)
    book.write("stdout", "x\n" * 5000)
    book.write("stderr", "important\n")

    assert "important" in read(path)


def test_many_threads_lose_nothing():
    book = LogBook()

    def write(source):
        for index in range(100):
            book.write(source, f"{source} ")
            book.write(source, f"{index}\n")

    threads = [threading.Thread(target=write, args=(str(each),)) for each in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)

    assert sorted(texts(book.lines())) == sorted(f"{each} {index}" for each in range(8) for index in range(100))


def test_warnings_and_loggers_reach_the_book_and_the_file(routed):
    book = LogBook(LogFile(routed))
    route_libraries(book)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("worn out", UserWarning, stacklevel=1)
    logging.getLogger("some.library").warning("took %s", "long")
    logging.getLogger("some.library").info("all is well")

    assert (book.lines()[0].source, book.lines()[0].level) == ("warning", logging.WARNING)
    assert "UserWarning: worn out" in book.lines()[0].text
    assert book.lines()[-1].source == "some.library"
    assert book.lines()[-1].text == "took long"
    assert "WARNING some.library: took long" in read(routed)


def test_without_a_book_libraries_reach_the_file(routed):
    route_libraries()
    logging.getLogger("some.library").warning("took %s", "long")

    assert "WARNING some.library: took long" in read(routed)


def test_a_logged_traceback_is_one_line_a_line():
    book = LogBook()
    try:
        raise ValueError("wrong")
    except ValueError as error:
        book.handle(logging.LogRecord("x", logging.ERROR, "", 0, "oh", (), (ValueError, error, error.__traceback__)))

    assert texts(book.lines())[0] == "oh"
    assert texts(book.lines())[-1] == "ValueError: wrong"


def test_a_message_that_cannot_be_formatted_does_not_stop_its_sender():
    book = LogBook()
    book.handle(logging.LogRecord("x", logging.ERROR, "", 0, "%d", ("no number",), None))

    assert texts(book.lines()) == ["a message that could not be formatted (TypeError)"]


@pytest.mark.parametrize("kept", [True, False])
def test_an_error_is_recorded_with_or_without_a_book(routed, kept):
    if kept:
        book = LogBook(LogFile(routed))
        route_libraries(book)
    record(ValueError("wrong 100 %s"))

    assert "ERROR llmdbg: ValueError: wrong 100 %s\n" in read(routed)
    assert stat.S_IMODE(routed.stat().st_mode) == 0o600
    if kept:
        assert texts(book.lines()) == ["ValueError: wrong 100 %s"]


def test_a_fork_while_the_book_is_in_use_does_not_hang_the_child():
    """The lock of another thread stays locked forever in a child."""
    book = LogBook()
    held, leave = threading.Event(), threading.Event()

    def hold():
        with book.lock:
            held.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        book.write("stdout", "from the child\n")
        os._exit(0)
    end = time.monotonic() + 10
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
        time.sleep(0.01)
    if done == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    leave.set()
    holder.join()

    assert done == (child, 0)
