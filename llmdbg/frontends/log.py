"""What libraries print and log: a log file of limited size, and a `LogBook` that the screen can show.

Tracebacks go here; the one-line message for the user goes to stderr or to the screen.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from llmdbg.files import FILE_MODE, private_folder, require_regular
from llmdbg.frontends.sanitize import sanitize

MOST_LINES = 2_000
"""How many lines a `LogBook` keeps."""
LONGEST_LINE = 1_000
"""How many characters of each line are kept."""
_FILE_BYTES = 2_000_000
_OLD_FILES = 2
_FILE_LINES_AT_ONCE = 1_000
_FILE_LINES_A_SECOND = 50.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# A link is not followed, and a pipe is not waited for.
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_SOURCES = {"py.warnings": "warning"}


def log_path() -> Path:
    """The path of the log file."""
    import platformdirs

    return platformdirs.user_log_path("llmdbg") / "llmdbg.log"


class LogFile(RotatingFileHandler):
    """The log file: readable only by its owner, rotated when it is full. Failing to write it is silently ignored."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            maxBytes=_FILE_BYTES,
            backupCount=_OLD_FILES,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )
        self.setFormatter(_SafeFormatter(_FORMAT))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do nothing: the standard handler would print to stderr, which may be routed here."""

    def _open(self) -> IO[str]:  # type: ignore[override]
        path = Path(self.baseFilename)
        private_folder(path.parent)
        descriptor = os.open(path, _APPENDING, FILE_MODE)
        try:
            require_regular(os.fstat(descriptor), path)
            os.fchmod(descriptor, FILE_MODE)
        except OSError:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)


class _SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Sanitize each line: the log is read in a terminal, which must not obey what a library or a model wrote."""
        return "\n".join(map(sanitize, super().format(record).split("\n")))


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line as it was written, unsafe to display."""

    when: float
    """Seconds since the epoch; the same for all lines that were written or logged together."""
    source: str
    """`stdout`, `stderr`, `warning` or a logger's name."""
    level: int
    """One of the levels of `logging`."""
    text: str
    """Without its line break, cut to `LONGEST_LINE`."""


class LogBook(logging.Handler):
    """The newest lines of everything written and logged. Any thread may add to it and read from it.

    Every line also goes to `file`, if there is one, up to a limit per second, so that a loop that prints stays cheap;
    the file then says how many lines were left out. As a logging handler, it is safe across a fork.
    """

    def __init__(self, file: logging.Handler | None = None) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._file = file
        self._lines: deque[LogLine] = deque(maxlen=MOST_LINES)
        self._unfinished: dict[str, LogLine] = {}
        self._changes = 0
        self._allowances: dict[str, _Allowance] = {}

    @property
    def changes(self) -> int:
        """A number that increases with every change."""
        return self._changes

    def lines(self) -> tuple[LogLine, ...]:
        """The complete lines that are still kept, oldest first."""
        with self._held():
            return tuple(self._lines)

    def unfinished(self) -> tuple[LogLine, ...]:
        """What has been written without a line break so far: a progress bar in its current state, a question."""
        with self._held():
            return tuple(self._unfinished.values())

    def write(self, source: str, text: str) -> None:
        """Add what a source wrote, in pieces of any size. A carriage return restarts its line."""
        if not text:
            return
        now = time.time()
        with self._held():
            before = self._unfinished.pop(source, None)
            *whole, rest = ((before.text if before else "") + text).split("\n")
            for line in whole:
                self._add(source, _last_state(line), now)
            if rest:
                # A carriage return at the very end may be the first half of a line break.
                kept = _last_state(rest)[: LONGEST_LINE + 1] + ("\r" if rest.endswith("\r") else "")
                self._unfinished[source] = LogLine(now, source, logging.INFO, kept)
            self._changes += 1

    def echo(self, line: str) -> None:
        """Add a line that was typed, where its stream stands: behind the question."""
        self.write("stdout", f"{line}\n")

    def finish(self) -> None:
        """Turn everything unfinished into complete lines."""
        with self._held():
            for source, line in self._unfinished.items():
                self._add(source, line.text.rstrip("\r"), line.when)
            self._unfinished.clear()
            self._changes += 1

    def emit(self, record: logging.LogRecord) -> None:
        """Add a log record, with its traceback if there is one."""
        source = _SOURCES.get(record.name, record.name)
        try:
            lines = self.format(record).rstrip("\n").split("\n")
        except Exception as error:
            lines = [f"a message that could not be formatted ({type(error).__name__})"]
        now = time.time()
        for line in lines:
            self._add(source, line, now, record.levelno)
        self._changes += 1

    def close(self) -> None:
        """Close the file as well."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _add(self, source: str, text: str, when: float, level: int = logging.INFO) -> None:
        if len(text) > LONGEST_LINE:
            text = text[:LONGEST_LINE] + "…"
        line = LogLine(when, source, level, text)
        self._lines.append(line)
        if self._file is None:
            return
        allowance = self._allowances.setdefault(source, _Allowance())
        if allowance.take():
            if left_out := allowance.left_out():
                self._to_file(line, f"({left_out:,} lines left out of this file)")
            self._to_file(line, text)

    def _to_file(self, line: LogLine, text: str) -> None:
        assert self._file is not None
        self._file.handle(
            logging.makeLogRecord(
                {
                    "name": line.source,
                    "levelno": line.level,
                    "levelname": logging.getLevelName(line.level),
                    "msg": text,
                    "created": line.when,
                    "msecs": line.when % 1 * 1000,
                }
            )
        )

    def _held(self) -> AbstractContextManager[object]:
        assert self.lock is not None
        return self.lock


class _Allowance:
    """How many lines a source may write to the file: many at once, few over a long time."""

    def __init__(self) -> None:
        self._left, self._at = float(_FILE_LINES_AT_ONCE), time.monotonic()
        self._left_out = 0

    def take(self) -> bool:
        """Take one line from the allowance. False if none is left now."""
        now = time.monotonic()
        self._left = min(_FILE_LINES_AT_ONCE, self._left + (now - self._at) * _FILE_LINES_A_SECOND)
        self._at = now
        if self._left < 1:
            self._left_out += 1
            return False
        self._left -= 1
        return True

    def left_out(self) -> int:
        """How many lines have not been written since the last call."""
        left_out, self._left_out = self._left_out, 0
        return left_out


def _last_state(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def record(error: BaseException) -> None:
    """Log a traceback: to the book if there is one, else to the file."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    entry = logging.LogRecord("llmdbg", logging.ERROR, "", 0, "%s", (text,), None)
    routed = [each for each in logging.getLogger().handlers if isinstance(each, (LogBook, LogFile))]
    if routed:
        routed[0].handle(entry)
        return
    file = LogFile(log_path())
    file.handle(entry)
    file.close()


def route_libraries(book: LogBook | None = None) -> None:
    """Send libraries' logs and warnings to a book, or without one to the log file, instead of the terminal."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[LogFile(log_path()) if book is None else book], level=logging.WARNING, force=True)


def route_transformers() -> None:
    """Make transformers and the Hub client use the routed logging and draw no progress bars."""
    import transformers.utils.logging as transformers_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    for name in ("huggingface_hub", "accelerate", "torch"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
