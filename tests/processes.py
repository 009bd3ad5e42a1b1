"""Processes of other programs: killing those that may have ended by themselves."""

from collections.abc import Iterable
from contextlib import suppress

import psutil


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill each that still runs. Killing one end of a link may end the other before its turn comes."""
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()
