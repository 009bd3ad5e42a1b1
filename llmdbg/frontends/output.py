"""The only module that writes to stdout and stderr. The screen has its own driver.

- stdout is data: a failure to write it raises OutputError, and further output is discarded.
- stderr is narration: what cannot be written there is dropped.
- Every line is sanitized here, even if it was before, and reduced to characters of the stream's encoding.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from llmdbg.errors import OutputError, UsageError
from llmdbg.formatting import shortened
from llmdbg.frontends.sanitize import json_text, sanitize

if TYPE_CHECKING:
    from rich.console import Console


_STREAMS: dict[str, IO[str]] = {}
"""The streams of `write_to`."""
_HERE_TOO: list[int] = []
"""The descriptors of `narrate_here_too`."""


def write_to(data: IO[str], narration: IO[str]) -> None:
    """From now on write data and narration there: `sys.stdout` and `sys.stderr` are someone else's."""
    _STREAMS.update(data=data, narration=narration)


def narrate_only(descriptor: int) -> None:
    """From now on write no data, since another process writes the same, and narration to a descriptor.

    What anything else writes to stdout and stderr goes there too.
    """
    for each in (1, 2):
        os.dup2(descriptor, each)
    _STREAMS["data"] = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- as long as the process lives


def narrate_here_too(descriptor: int) -> None:
    """From now on write narration to a descriptor as well: what is said when nobody looks must be found later."""
    _HERE_TOO.append(descriptor)


def read_nothing() -> None:
    """From now on stdin has nothing: it is another process's."""
    _lead_nowhere(0)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, and writes its help through this module."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the whole usage."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def print_help(self, file: object = None) -> None:
        """Write the help to stdout."""
        write_lines(self.format_help().removesuffix("\n").split("\n"))


class Version(argparse.Action):
    """The option that writes its `const` to stdout and exits. argparse's own would bypass this module."""

    def __call__(self, parser: argparse.ArgumentParser, *_arguments: object) -> NoReturn:
        """Write it."""
        write_lines([str(self.const)])
        parser.exit()


def write_lines(lines: Iterable[str], out: IO[str] | None = None) -> None:
    """Write lines of text as data, to `out` or to stdout. Raises OutputError, or BrokenPipeError if nobody reads."""
    for line in lines:
        _put(f"{sanitize(line)}\n", out)


def write_json(event: Any, out: IO[str] | None = None) -> None:
    """Write one line of strict JSON as data, to `out` or to stdout. Raises OutputError or BrokenPipeError."""
    line = json_text(event)
    if not _fits(line, _data() if out is None else out):
        line = json_text(event, only_ascii=True)
    _put(f"{line}\n", out)


def narrate(text: str) -> None:
    """Write one line to stderr, if it can be written."""
    try:
        _write(f"{sanitize(text)}\n", _narration())
    except (OSError, ValueError):
        _lead_nowhere(_descriptor(_narration(), 2))
    for descriptor in _HERE_TOO:
        with suppress(OSError):
            os.write(descriptor, f"{sanitize(text)}\n".encode(errors="backslashreplace"))


def note(text: str) -> None:
    """Write a sentence that the user should read to stderr."""
    narrate(f"note: {shortened(text)}")


def complain(text: str) -> None:
    """Write what went wrong to stderr, in the program's name."""
    narrate(f"llmdbg: {shortened(text)}")


def last_word(text: str, descriptor: int) -> None:
    """Write what went wrong to a descriptor, past every stream: another thread may hold those, and never let go."""
    os.write(descriptor, f"llmdbg: {one_safe_line(text)}\n".encode(errors="backslashreplace"))


def one_safe_line(text: str) -> str:
    """What went wrong as one line, which can be shown as it is."""
    return sanitize(" ".join(shortened(text).split()))


def ask(question: str) -> str | None:
    """Ask on stderr and read a line from stdin; None at the end of the input."""
    _write(sanitize(question), sys.stderr)
    answer = "" if sys.stdin is None else sys.stdin.readline()
    return answer.rstrip("\n") if answer else None


def stdin_lines(most: int) -> Iterator[str]:
    """The lines of stdin, each as soon as it is there, without their ends. Raises UsageError for one that is no text.

    A line of more than `most` bytes is no text either.
    """
    stream = None if sys.stdin is None else sys.stdin.buffer
    while stream is not None and (line := stream.readline(most + 1)):
        if len(line) > most:
            raise UsageError(f"a line of stdin is longer than {most:,} bytes: it is no command")
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"a line of stdin is not UTF-8 (byte {error.start} of it): convert it") from error


def bar_console() -> Console:
    """Where a progress bar is drawn."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def is_on_a_terminal() -> bool:
    """Whether stdin, stdout and stderr all are terminals."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def has_a_screen() -> bool:
    """Whether the screen can be shown: on a terminal, or by textual-serve in a page."""
    return is_on_a_terminal() or is_in_a_page()


def is_in_a_page() -> bool:
    """Whether textual-serve has started this process, and carries its screen to a web page."""
    return os.environ.get("TEXTUAL_DRIVER") == "textual.drivers.web_driver:WebDriver"


def stdout_is_a_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def require_stdout() -> None:
    """Raise OutputError if stdout is closed.

    Closed descriptors are pointed to /dev/null first: a file that is opened later must not become stdout or stderr.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            _lead_nowhere(descriptor)
    if sys.stdout is None:
        raise OutputError("stdout is closed: llmdbg has nowhere to write to")


def stop_writing() -> None:
    """Point stdout to /dev/null: its reader has gone, and flushing its buffer at exit would fail again."""
    if _data() is not None:
        _lead_nowhere(_descriptor(_data(), 1))


def flush() -> None:
    """Flush the buffers as far as possible."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _lead_nowhere(_descriptor(stream, descriptor))


def _data() -> IO[str] | None:
    return _STREAMS.get("data", sys.stdout)


def _narration() -> IO[str] | None:
    return _STREAMS.get("narration", sys.stderr)


def _put(text: str, out: IO[str] | None) -> None:
    stream = _data() if out is None else out
    try:
        _write(text, stream)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        if stream is _data():
            stop_writing()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OutputError(f"the output cannot be written: {reason or error}") from error


def _write(text: str, stream: IO[str] | None) -> None:
    if stream is None:
        raise ValueError("the stream is closed")
    if not _fits(text, stream):
        encoding = str(getattr(stream, "encoding", None) or "utf-8")
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text)
    stream.flush()


def _fits(text: str, stream: IO[str] | None) -> bool:
    """Whether a stream's encoding can write all of a text. Under the C locale it can write only ASCII."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _descriptor(stream: IO[str] | None, usual: int) -> int:
    """Where a stream writes; in a batch, stderr has a descriptor of its own."""
    try:
        return usual if stream is None else stream.fileno()
    except (OSError, ValueError):
        return usual


def _lead_nowhere(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)
