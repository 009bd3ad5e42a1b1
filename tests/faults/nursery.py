"""Starts llmdbg many times without waiting for torch each time: a process that has imported all, and forks.

Reads one JSON object a line from stdin (`tty`, `argv`, `environment`, `folder`), starts llmdbg on that terminal below a
leader that stays, as a shell would, and writes `{"pid": …}` and later `{"status": …}`, a line each, to stdout.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import termios
import time
import traceback
from typing import Any


def main() -> None:
    """Start what is asked for, until stdin ends."""
    import transformers.models.auto.modeling_auto
    import transformers.models.llama.modeling_llama  # noqa: F401

    import llmdbg.debugger.commands
    import llmdbg.debugger.persistence.restore
    import llmdbg.frontends.opening
    import llmdbg.frontends.tui.app
    import llmdbg.frontends.tui.start  # noqa: F401

    answers = os.dup(1)
    _write(answers, {"ready": True})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with os.fdopen(os.dup(0)) as wishes:
        for line in wishes:
            if os.fork() == 0:
                _lead(json.loads(line), answers)


def _lead(wish: dict[str, Any], answers: int) -> None:
    """Own the terminal, as a shell does, and wait for llmdbg."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    terminal = os.open(wish["tty"], os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    program = os.fork()
    if program == 0:
        _run(wish, terminal)
    _write(answers, {"pid": program, "leader": os.getpid()})
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _, status = os.waitpid(program, 0)
    _write(answers, {"status": os.waitstatus_to_exitcode(status)})
    # The terminal is looked at as the shell finds it; who looks ends this process.
    time.sleep(600)
    os._exit(0)


def _run(wish: dict[str, Any], terminal: int) -> None:
    for descriptor in range(3):
        os.dup2(terminal, descriptor)
    os.environ.update(wish["environment"])
    os.chdir(wish["folder"])
    code = 99
    try:
        from llmdbg.cli import main as llmdbg

        code = llmdbg(wish["argv"])
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def _write(descriptor: int, answer: dict[str, Any]) -> None:
    os.write(descriptor, (json.dumps(answer) + "\n").encode())


if __name__ == "__main__":
    main()
