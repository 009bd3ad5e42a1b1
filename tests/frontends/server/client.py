"""A client of `serve --json`, which knows nothing of llmdbg but how to start it; it checks every line that it reads."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from typing import Any

from jsonschema.exceptions import best_match

from tests import schemas

SECONDS = 120


class Client:
    """A server in a process of its own, or on so many `ranks` of a torchrun; `program` runs llmdbg."""

    def __init__(self, *arguments: str, ranks: int = 1, program: tuple[str, ...] = ("-m", "llmdbg")) -> None:
        launcher = () if ranks == 1 else ("-m", "torch.distributed.run", f"--nproc-per-node={ranks}")
        self.process = subprocess.Popen(
            [sys.executable, *launcher, *program, "serve", "--json", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **({} if ranks == 1 else {"OMP_NUM_THREADS": "1"})},
        )
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.progress: list[dict[str, Any]] = []
        self._count = 0
        threading.Thread(target=self._read, daemon=True).start()
        self.ready = self.next()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def next(self) -> Any:
        """The next message that is not progress; None at the end."""
        while (message := self.lines.get(timeout=SECONDS)) is not None:
            wrong = best_match(schemas.message().iter_errors(message))
            assert wrong is None, f"{wrong.message[:500]} at {list(wrong.absolute_path)}"
            if message["event"] != "progress":
                return message
            self.progress.append(message)
        return None

    def close(self) -> None:
        """Close the pipes of a server that has ended."""
        for each in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                each.close()

    def send(self, do: str, **arguments: Any) -> int:
        """Send a request. Returns its id."""
        self._count += 1
        line = {"id": self._count, "do": do, **arguments}
        self.raw(json.dumps(line).encode() + b"\n")
        return self._count

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        id = self.send(do, **arguments)
        while (answer := self.next()) is not None:
            if answer["id"] == id:
                return answer
        raise AssertionError(f"no answer to {do}: {self.process.stderr.read()!r}")

    def command(self, line: str, **more: Any) -> dict[str, Any]:
        """Run a command line."""
        return self.ask("command", line=line, **more)

    def end(self) -> int:
        """Close the input and wait for the end. Returns the exit code."""
        self.process.stdin.close()
        code = self.process.wait(SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()
        return code
