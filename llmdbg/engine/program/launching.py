"""Runs a program as Python would: a script, a module (`-m`), or a console command such as `pytest`.

`sys.argv`, `sys.path[0]` and `__main__` are those that it would have without llmdbg.
"""

from __future__ import annotations

import io
import os
import runpy
import shutil
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from llmdbg.errors import UsageError


@dataclass(frozen=True, slots=True)
class Launch:
    """A program that is ready to run."""

    name: str
    """What it is called in messages: `train.py`, `pytest`."""
    run: Callable[[], None]
    """Runs it to its end, in this process. Raises whatever it raises."""


def script(path: str, arguments: Sequence[str]) -> Launch:
    """`python PATH ARGUMENTS`; a folder or a zip file with a `__main__.py` as well. Raises UsageError."""
    if not Path(path).exists():
        raise UsageError(f"there is no program {path}: `llmdbg run SCRIPT.py ARGS`, `-m MODULE ARGS` or `-- COMMAND`")
    if Path(path).is_dir() or path.endswith((".zip", ".pyz")):
        return Launch(Path(path).name, lambda: _run_folder(path, arguments))
    try:
        with io.open_code(str(Path(path).absolute())) as file:
            code = compile(file.read(), str(Path(path).absolute()), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return Launch(Path(path).name, lambda: _run_script(path, code, arguments))


def module(name: str, arguments: Sequence[str]) -> Launch:
    """`python -m NAME ARGUMENTS`."""

    def run() -> None:
        sys.argv[:] = [name, *arguments]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(name, run_name="__main__", alter_sys=True)

    return Launch(name, run)


def command(words: Sequence[str]) -> Launch:
    """A command of this Python's environment, such as `pytest -x tests`. Raises UsageError for any other."""
    if not words:
        raise UsageError("what to run is missing after `--`, as in `llmdbg run -- pytest -x tests`")
    name, *arguments = words
    for point in metadata.entry_points(group="console_scripts", name=name):

        def run(point: metadata.EntryPoint = point) -> None:
            sys.argv[:] = [shutil.which(name) or name, *arguments]
            sys.path.insert(0, os.path.dirname(sys.argv[0]))  # noqa: PTH120
            sys.exit(point.load()())

        return Launch(name, run)
    found = shutil.which(name)
    if found is None:
        raise UsageError(f"there is no command {name} in this environment")
    with Path(found).open("rb") as file:
        first = file.readline()
    if not first.startswith(b"#!") or b"python" not in first:
        raise UsageError(f"{found} is no Python program: llmdbg debugs what runs in this Python")
    return script(found, arguments)


def _run_script(path: str, code: types.CodeType, arguments: Sequence[str]) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = str(Path(path).absolute())  # as Python itself has it, whatever was typed
    main.__dict__["__builtins__"] = __builtins__
    # It stays there: threads, exit handlers and pickles look for it until the process ends.
    sys.modules["__main__"] = main
    sys.argv[:] = [path, *arguments]
    sys.path.insert(0, str(Path(path).resolve().parent))
    exec(code, main.__dict__)


def _run_folder(path: str, arguments: Sequence[str]) -> None:
    sys.argv[:] = [path, *arguments]
    runpy.run_path(path, run_name="__main__")
