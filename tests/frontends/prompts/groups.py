"""Which processes of a group still run. Where there is no /proc, none is seen."""

from __future__ import annotations

from pathlib import Path


def members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    return [process for process, state, of in _every() if of == group and state not in "ZX"]


def groups_running(program: str, parent: int) -> list[int]:
    """The groups of a process's children that run a program of this name."""
    found = []
    for process, _, group in _every():
        try:
            arguments = Path(f"/proc/{process}/cmdline").read_text()
            above = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if program in arguments and int(above) == parent:
            found.append(group)
    return found


def _every() -> list[tuple[int, str, int]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        found.append((int(path.parent.name), state, int(group)))
    return found
