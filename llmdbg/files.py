"""Reads untrusted files within limits, and writes files that may hold a prompt, readable only by their owner."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmdbg.formatting import byte_count

FILE_MODE, FOLDER_MODE = 0o600, 0o700
_NEW = (".llmdbg-", ".new")


def state_folder() -> Path:
    """Where llmdbg keeps sessions, history, copies and its log."""
    import platformdirs

    return platformdirs.user_state_path("llmdbg")


def read_regular(path: Path, most: int, *, follow: bool = True) -> bytes:
    """All of a regular file of at most `most` bytes. `follow` says whether `path` may be a link.

    Raises OSError, whose `strerror` says why, for anything else: a pipe or a device might never end.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        require_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {byte_count(most)}", str(path))
    return data


def require_regular(found: os.stat_result, path: Path) -> None:
    """Raise OSError, naming `path`, if `found` is not of a regular file."""
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file", str(path))


def private_folder(path: Path) -> Path:
    """Make a folder of ours that only its owner can enter, and `state_folder()` if it is in there. Raises OSError.

    An existing folder with wider permissions, made by an earlier version for example, is restricted.
    """
    above = state_folder()
    for each in (above, path) if above in path.parents else (path,):
        each.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if stat.S_IMODE(each.stat().st_mode) & ~FOLDER_MODE:
            # A folder of another user, under sudo for example, stays as it is.
            with suppress(PermissionError):
                each.chmod(FOLDER_MODE)
    return path


@contextmanager
def private_replacement(path: Path) -> Iterator[Path]:
    """A new file next to `path`, readable only by its owner, that replaces it when the block is done.

    An existing file stays until then. A symbolic link is refused, so that its target is never written. If it raises
    OSError, it leaves no file behind.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, which is not followed", str(path))
    if path.exists():
        require_regular(path.stat(), path)
    # A name that nobody can know beforehand: under a known one, a link could lie in wait for what is written.
    descriptor, name = tempfile.mkstemp(prefix=_NEW[0], suffix=_NEW[1], dir=path.parent)
    os.close(descriptor)
    new = Path(name)
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def unfinished_replacements(folder: Path) -> list[Path]:
    """What processes killed in the middle of a `private_replacement` have left in a folder. Raises OSError."""
    return [each for each in folder.iterdir() if each.name.startswith(_NEW[0]) and each.name.endswith(_NEW[1])]


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, replacing an existing one. Raises OSError."""
    with private_replacement(path) as new, new.open("wb") as file:
        file.write(data)


def why_not(error: OSError) -> str:
    """Why a file cannot be read or written, in words."""
    if error.errno == errno.ELOOP:
        return "it is a link, and links are not followed"
    return error.strerror or str(error)
