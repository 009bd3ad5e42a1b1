"""One connection of an editor to a port of this machine, from the same user."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmdbg.errors import UsageError
from llmdbg.frontends.output import complain, narrate

LOOPBACK = "127.0.0.1"
_TABLE = Path("/proc/net/tcp")


@contextmanager
def one_connection(port: int) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Wait for one editor, and give what it sends and what it reads. Port 0 is any free one. Raises UsageError.

    Whoever connects can run Python here, so nobody but the user who started this is let in.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
        except OSError as error:
            raise UsageError(f"port {port} cannot be listened to: {error.strerror or error}") from error
        listening.listen(1)
        narrate(f"waiting for an editor at {LOOPBACK}:{listening.getsockname()[1]}")
        while True:
            connection, address = listening.accept()
            if owner_of(address[1], listening.getsockname()[1]) == os.getuid():
                break
            complain("a connection that is not yours, as far as can be told, was refused")
            connection.close()
    with connection:
        yield connection.makefile("rb"), connection.makefile("wb")


def owner_of(port: int, to: int) -> int | None:
    """The user whose socket is connected from `port` to `to`, both on this machine; None if that cannot be told."""
    try:
        rows = _TABLE.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for row in rows:
        fields = row.split()
        if int(fields[1].rpartition(":")[2], 16) == port and int(fields[2].rpartition(":")[2], 16) == to:
            return int(fields[7])
    return None
