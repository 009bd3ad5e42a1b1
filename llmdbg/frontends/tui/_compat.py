"""All private names of Textual that the screen needs, each covered by a test.

- Textual exports the screen as SVG but not as text; its compositor has the lines last drawn.
- A driver that reads its own input has to parse it, and Textual's parser is in a private module.
- Its driver sets signal handlers, which only the main thread may: it looks the module `signal` up by that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver

if TYPE_CHECKING:
    from textual.app import App

__all__ = ("XTermParser", "screen_lines", "signals_of_the_driver")


def screen_lines(app: App[Any]) -> list[str]:
    """The screen as plain lines."""
    strips = app.screen._compositor.render_strips(app.size)
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


@contextmanager
def signals_of_the_driver(instead: Any) -> Iterator[None]:
    """Let Textual's driver use `instead` as the module `signal`."""
    driver: Any = linux_driver
    before, driver.signal = driver.signal, instead
    try:
        yield
    finally:
        driver.signal = before
