"""What libraries and tracebacks say: a log file that stays small, and a `LogBook` that the screen can show.

The user's own line goes to stderr or the screen.
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

from llmdbg.frontends.sanitize import sanitize

MOST_LINES = 2_000
"""How many lines a `LogBook` keeps."""
LONGEST_LINE = 1_000
"""How many characters of a line are kept."""
_FILE_BYTES = 2_000_000
_OLD_FILES = 2
_FILE_LINES_AT_ONCE = 1_000
_FILE_LINES_A_SECOND = 50.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SOURCES = {"py.warnings": "warning"}


def log_path() -> Path:
    """Where the log file is."""
    import platformdirs

    return platformdirs.user_log_path("llmdbg") / "llmdbg.log"


class LogFile(RotatingFileHandler):
    """The log file: for its owner's eyes, begun anew when it is full. One that cannot be written bothers nobody."""

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
        """Stay silent: the standard handler would complain on stderr, which may lead here."""

    def _open(self) -> IO[str]:  # type: ignore[override]
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)


class _SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A log file is read in a terminal, which must not obey what a library or a model wrote."""
        return "\n".join(map(sanitize, super().format(record).split("\n")))


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line as it was written, unsafe to draw. `number` counts from 1, `when` is in seconds since the epoch.

    `source` is stdout, stderr, warning or a logger's name, `level` one of logging's.
    """

    number: int
    when: float
    source: str
    level: int
    text: str


class LogBook(logging.Handler):
    """The newest lines of everything written and logged, for any thread to add to and to read.

    Every line also goes to `file`, if there is one, but no more than a loop that prints may cost: the book always has
    the newest lines, the file says how many it was spared. As a logging handler it is safe across a fork.
    """

    def __init__(self, file: logging.Handler | None = None) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._file = file
        self._lines: deque[LogLine] = deque(maxlen=MOST_LINES)
        self._unfinished: dict[str, LogLine] = {}
        self._count = 0
        self._changes = 0
        self._allowances: dict[str, _Allowance] = {}

    @property
    def changes(self) -> int:
        """A number that is another one after every change."""
        return self._changes

    @property
    def count(self) -> int:
        """The number of the newest whole line; 0 when there is none yet."""
        return self._count

    def since(self, number: int = 0) -> tuple[LogLine, ...]:
        """The whole lines after line `number` that are still here, oldest first."""
        with self._held():
            wanted = min(len(self._lines), max(0, self._count - number))
            return tuple(self._lines[index] for index in range(len(self._lines) - wanted, len(self._lines)))

    def unfinished(self) -> tuple[LogLine, ...]:
        """What has been written and has no end of line yet: a progress bar at its present state, a question."""
        with self._held():
            return tuple(self._unfinished.values())

    def write(self, source: str, text: str) -> None:
        """Add what a source wrote, in pieces of any size. A carriage return begins its line again."""
        if not text:
            return
        with self._held():
            before = self._unfinished.pop(source, None)
            *whole, rest = ((before.text if before else "") + text).split("\n")
            for line in whole:
                self._add(source, _last_state(line))
            if rest:
                # A carriage return at the very end may be the first half of a line's end.
                kept = _last_state(rest)[: LONGEST_LINE + 1] + ("\r" if rest.endswith("\r") else "")
                self._unfinished[source] = LogLine(self._count + 1, time.time(), source, logging.INFO, kept)
            self._changes += 1

    def finish(self) -> None:
        """Make lines of what is unfinished."""
        with self._held():
            for source, line in self._unfinished.items():
                self._add(source, line.text.rstrip("\r"))
            self._unfinished.clear()
            self._changes += 1

    def emit(self, record: logging.LogRecord) -> None:
        """Add what was logged, with the traceback if there is one."""
        source = _SOURCES.get(record.name, record.name)
        try:
            lines = self.format(record).rstrip("\n").split("\n")
        except Exception as error:
            lines = [f"a message that could not be formatted ({type(error).__name__})"]
        for line in lines:
            self._add(source, line, record.levelno)
        self._changes += 1

    def close(self) -> None:
        """Close the file as well."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _add(self, source: str, text: str, level: int = logging.INFO) -> None:
        self._count += 1
        if len(text) > LONGEST_LINE:
            text = text[:LONGEST_LINE] + "…"
        line = LogLine(self._count, time.time(), source, level, text)
        self._lines.append(line)
        if self._file is None:
            return
        allowance = self._allowances.setdefault(source, _Allowance())
        if allowance.take():
            if spared := allowance.spared():
                self._to_file(line, f"({spared:,} lines left out of this file)")
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
    """How many lines a source may write to the file: many at once, few for long."""

    def __init__(self) -> None:
        self._left, self._at = float(_FILE_LINES_AT_ONCE), time.monotonic()
        self._spared = 0

    def take(self) -> bool:
        """Whether one more line may be written now."""
        now = time.monotonic()
        self._left = min(_FILE_LINES_AT_ONCE, self._left + (now - self._at) * _FILE_LINES_A_SECOND)
        self._at = now
        if self._left < 1:
            self._spared += 1
            return False
        self._left -= 1
        return True

    def spared(self) -> int:
        """How many lines were not written since this was last asked."""
        spared, self._spared = self._spared, 0
        return spared


def _last_state(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def record(error: BaseException) -> None:
    """Log a traceback: in the book if one is kept, else in the file."""
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
    """Send what libraries log and warn to a book, or else to the log file, instead of the terminal."""
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[LogFile(log_path()) if book is None else book], level=logging.WARNING, force=True)


def route_transformers() -> None:
    """Make transformers and the Hub client use the routed logging, and draw no progress bars of their own."""
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
