"""A real Jupyter kernel, and a user who runs cells in it and answers what they ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[3]
_LONGEST = 120.0  # seconds


@dataclass
class Cell:
    """What a cell has shown, and asked for."""

    shown: list[dict[str, str]] = field(default_factory=list)
    """What was displayed, its result included: by MIME type."""
    stdout: str = ""
    stderr: str = ""
    asked: list[str] = field(default_factory=list)
    """The prompts of the lines that it read."""
    strangers: list[Any] = field(default_factory=list)
    """What came while it ran, and that named another cell."""
    error: tuple[str, str] | None = None
    """The exception it ended with: the name of its class, and its message."""

    def html(self, index: int) -> str:
        return self.shown[index]["text/html"]

    def text(self) -> str:
        """All that was displayed, as a client without HTML shows it."""
        return "\n".join(each["text/plain"] for each in self.shown)


Answers = Sequence[str | Callable[[], str | None]]


class Kernel:
    """A kernel of its own process. An answer that is a function is called; None answers nothing."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager = manager
        self._client = client

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def run(self, code: str, answers: Answers = (), *, on_output: Callable[[Cell], None] | None = None) -> Cell:
        """Run a cell to its end."""
        left, cell = list(answers), Cell()
        run = self._client.execute(code, allow_stdin=True)
        end = monotonic() + _LONGEST
        while monotonic() < end:
            for read, receive in ((self._client.get_iopub_msg, self._shown), (self._client.get_stdin_msg, self._asked)):
                try:
                    message = read(timeout=0.05)
                except Empty:
                    continue
                if message["parent_header"].get("msg_id") != run:
                    assert message["msg_type"] != "input_request", "a line is read in another cell's name"
                    cell.strangers += [message["content"]] if message["msg_type"] != "status" else []
                elif receive(cell, message, left):
                    return cell
                if on_output is not None:
                    on_output(cell)
        raise AssertionError(f"the cell has not ended: {cell}")

    def _asked(self, cell: Cell, message: dict[str, Any], left: list[Any]) -> bool:
        cell.asked.append(message["content"]["prompt"])
        assert left, f"nothing is left to answer: {cell}"
        answer = left.pop(0)
        typed = answer() if callable(answer) else answer
        if typed is not None:
            self._client.input(typed)
        return False

    def _shown(self, cell: Cell, message: dict[str, Any], _left: list[Any]) -> bool:
        content = message["content"]
        match message["msg_type"]:
            case "display_data" | "execute_result":
                cell.shown.append(content["data"])
            case "stream":
                setattr(cell, content["name"], getattr(cell, content["name"]) + content["text"])
            case "error":
                cell.error = content["ename"], content["evalue"]
            case "status":
                return bool(content["execution_state"] == "idle")
        return False


@contextmanager
def running_kernel(folder: Path) -> Iterator[Kernel]:
    """A kernel that keeps its files in `folder`."""
    manager = KernelManager(transport="ipc", ip=str(folder / "k"), connection_file=str(folder / "kernel.json"))
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    places = {name: str(folder) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    manager.start_kernel(env=os.environ | places | {"HF_HUB_OFFLINE": "1"}, cwd=str(ROOT))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
