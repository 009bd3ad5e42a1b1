"""Where the sockets of standing engines are: a folder that only its owner can enter, and a name that nobody can guess.

Not the runtime folder of the login: that is removed when the last login ends, as it does when the link drops.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import stat
import struct
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.files import FOLDER_MODE

FOLDER_VARIABLE = "LLMDBG_ENGINES"
"""The environment variable that names another folder."""
_SUFFIX, _NEW = ".sock", ".new"
_ID = re.compile(r"[0-9a-f]{16}")
_LONGEST_PATH = 100  # bytes: the kernel takes 107, macOS 103
_BACKLOG = 16
_LOCAL_PEERCRED = 1


def engines_folder() -> Path:
    """The folder, made if it is not there. Raises LlmdbgError if it is not ours alone."""
    named = os.environ.get(FOLDER_VARIABLE)
    temporary = "/tmp" if sys.platform == "linux" else tempfile.gettempdir()
    folder = Path(named) if named else Path(temporary) / f"llmdbg-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=FOLDER_MODE, parents=bool(named))
        found = folder.lstat()
    except OSError as error:
        raise LlmdbgError(f"cannot make {folder}, where engines are found: {error.strerror or error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise LlmdbgError(
            f"{folder} is not a folder that only you can enter: set {FOLDER_VARIABLE} to one that is, or remove it"
        )
    return folder


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(8)


def listen(id: str) -> tuple[socket.socket, Path]:
    """A socket under this id, that listens. Raises LlmdbgError."""
    folder = engines_folder()
    path, new = folder / f"{id}{_SUFFIX}", folder / f"{id}{_NEW}"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise LlmdbgError(f"{folder} is too long a name for a socket: set {FOLDER_VARIABLE} to a shorter one")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Under its own name it is found only once it listens: what refuses a connection is taken for a dead one.
        listening.bind(os.fspath(new))
        new.chmod(0o600)
        listening.listen(_BACKLOG)
        new.rename(path)
    except OSError as error:
        listening.close()
        new.unlink(missing_ok=True)
        raise LlmdbgError(f"cannot listen in {folder}: {error.strerror or error}") from error
    return listening, path


def connect(id: str) -> socket.socket | None:
    """A connection to the engine of this id; None, and its file removed, if that has ended. Raises LlmdbgError."""
    path = engines_folder() / f"{id}{_SUFFIX}"
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with ExitStack() as undo:
        undo.callback(connected.close)
        try:
            connected.connect(os.fspath(path))
        except FileNotFoundError:
            return None
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return None
        except OSError as error:
            raise LlmdbgError(f"cannot reach the engine {id}: {error.strerror or error}") from error
        if peer_user(connected) != os.getuid():
            raise LlmdbgError(f"the engine {id} is another user's")
        undo.pop_all()
    return connected


def short(id: str) -> str:
    """As much of an id as people read and type."""
    return id[:6]


def known_ids() -> list[str]:
    """The ids that have a socket, of engines that may have ended."""
    return sorted(each.stem for each in engines_folder().glob(f"*{_SUFFIX}") if _ID.fullmatch(each.stem))


def id_that_begins(beginning: str, ids: list[str]) -> str:
    """The one id with this beginning. Raises UsageError if there is none, or more than one."""
    fitting = [each for each in ids if beginning and each.startswith(beginning.lower())]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{len(fitting)} engines begin with {beginning!r}: give more of the id (`llmdbg attach --list`)"
        )
    raise UsageError(f"there is no engine {beginning!r} (`llmdbg attach --list` shows what there is)")


def peer_user(connected: socket.socket) -> int | None:
    """The user id of the process at the other end; None if the system does not say."""
    with suppress(OSError, struct.error):
        if hasattr(socket, "SO_PEERCRED"):
            size = struct.calcsize("3i")
            return int(struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])
        # xucred of macOS and the BSDs: its version, then the user.
        return int(struct.unpack_from("II", connected.getsockopt(0, _LOCAL_PEERCRED, 128))[1])
    return None
