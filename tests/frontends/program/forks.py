"""Runs programs in processes of their own that need not import torch again: forks of a server that has it already.

As a program, it is that server: a line of JSON on stdin asks for a run, a line on stdout says how it ended. Each child
has its own descriptors, working folder and session, and ends as a Python process ends, exit handlers included.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SCRIPTS = Path(__file__).parent / "scripts"
SECONDS = 150


@dataclass(frozen=True)
class Done:
    """How a process ended, and what it left."""

    code: int
    """Its exit code; less than 0 for a signal."""
    out: str
    err: str
    files: dict[str, bytes]
    """What it wrote in its working folder, by name."""


class Forks:
    """The server."""

    def __init__(self) -> None:
        pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        ours = {"PYTHONPATH": f"{ROOT}{os.pathsep}{SCRIPTS}", "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}
        # OpenMP does not survive a fork.
        ours["OMP_NUM_THREADS"] = "1"
        server = [sys.executable, "-m", __name__]
        self._server = subprocess.Popen(server, cwd=ROOT, env={**os.environ, **ours}, **pipe)

    def run(self, how: str, words: list[str], folder: Path, given: str = "") -> Done:
        """Run `python WORDS` (`how` is "plain") or `llmdbg run WORDS` ("llmdbg") in a new folder.

        `given` is the text on its stdin.
        """
        streams = folder.with_name(f"{folder.name}.streams")
        folder.mkdir()
        streams.mkdir()
        (streams / "in").write_text(given)
        assert self._server.stdin is not None and self._server.stdout is not None
        request = {"how": how, "words": words, "folder": str(folder), "streams": str(streams)}
        self._server.stdin.write(f"{json.dumps(request)}\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        files = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
        return Done(code, (streams / "out").read_text(), (streams / "err").read_text(), files)

    def close(self) -> None:
        """End it."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(20)


def _serve() -> dict[str, Any] | None:
    """Fork for every request. Returns the request in the child, None at the end in the server."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return request
        os.write(1, f"{_ended(child)}\n".encode())
    return None


def _ended(child: int) -> int:
    waiting = os.pidfd_open(child)
    if not select.select([waiting], [], [], SECONDS)[0]:
        os.killpg(child, signal.SIGKILL)
    os.close(waiting)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(request: dict[str, Any]) -> None:
    """Take over the descriptors, the folder and a new session."""
    os.setsid()
    streams = Path(request["streams"])
    for descriptor, name in enumerate(("in", "out", "err")):
        opened = os.open(streams / name, os.O_RDONLY if name == "in" else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, closefd=False)  # type: ignore[misc]
    os.chdir(request["folder"])
    os.environ["PWD"] = request["folder"]


def _plain(words: list[str]) -> None:
    """What Python does itself."""
    import runpy
    import types

    if words[0] == "-m":
        sys.argv[:] = words[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "--":
        import pytest

        sys.argv[:] = words[1:]
        sys.exit(pytest.main(words[2:]))
    else:
        main = types.ModuleType("__main__")
        main.__file__ = words[0]
        sys.modules["__main__"] = main
        sys.argv[:] = words
        sys.path[0] = str(Path(words[0]).parent)
        exec(compile(Path(words[0]).read_text(), words[0], "exec"), main.__dict__)


def _shown(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    """An exception as Python would show it, without this module's frames."""
    ours = ("<frozen runpy>", __file__)
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


def _llmdbg(words: list[str]) -> None:
    from llmdbg.cli import main

    sys.argv[:] = ["llmdbg", "run", *words]
    sys.path[0] = str(Path(sys.executable).parent)
    sys.exit(main())


def _heavy() -> None:

    import llmdbg.engine.program.launched
    import llmdbg.frontends.program.batch
    import llmdbg.frontends.program.command
    import llmdbg.frontends.program.plain  # noqa: F401


if __name__ == "__main__":
    _heavy()
    if (asked := _serve()) is not None:
        _become(asked)
        if asked["how"] == "plain":
            sys.excepthook = _shown
            _plain(asked["words"])
        else:
            _llmdbg(asked["words"])
