"""Sends to the log file what libraries log, warn of, and write to descriptor 2 by themselves: a panic of Rust, say.

stderr is narration, each line of it ours. What Python code prints to `sys.stderr` still gets there: the user's own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

from llmdbg.frontends.log import LogBook, LogFile, log_path, route_libraries
from llmdbg.frontends.spool import Spool

_STDERR = 2
_SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def libraries_in_log() -> Iterator[None]:
    """Route libraries' output while this lasts; their logs and warnings afterwards too. Decorates functions as well."""
    book = LogBook(LogFile(log_path()))
    route_libraries(book)
    with ExitStack() as undo:
        _keep_own(undo)
        spool = Spool("stderr", book)
        before = os.dup(_STDERR)
        left = threading.Event()
        reader = threading.Thread(target=_read, args=(spool, left), name="llmdbg-stderr", daemon=True)

        def lead_back() -> None:
            os.dup2(before, _STDERR)
            os.close(before)
            left.set()
            reader.join()
            spool.read()
            os.close(spool.descriptor)
            book.finish()

        os.dup2(spool.descriptor, _STDERR)
        undo.callback(lead_back)
        reader.start()
        yield


def _read(spool: Spool, left: threading.Event) -> None:
    while not left.wait(_SECONDS_BETWEEN_LOOKS):
        spool.read()


def _keep_own(undo: ExitStack) -> None:
    """Give `sys.stderr` a descriptor of its own if it writes to 2."""
    stream = sys.stderr
    try:
        if stream is None or stream.fileno() != _STDERR:
            return
        stream.flush()
    except (OSError, ValueError):
        return
    own: IO[str] = os.fdopen(os.dup(_STDERR), "w", buffering=1, encoding=stream.encoding, errors=stream.errors)

    def give_back() -> None:
        sys.stderr = stream
        # A disk that is full fails again.
        with suppress(OSError, ValueError):
            own.close()

    sys.stderr = own
    undo.callback(give_back)
