"""The screen of an engine that stands by itself: why it was lost, what another terminal gets, and what it reports."""

import inspect
import re
import socket

import pytest
from textual.drivers.linux_driver import LinuxDriver

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.standing import lost_reason, tell_that_it_is_lost
from llmdbg.frontends.tui.terminal import driver
from llmdbg.frontends.tui.terminal.frame_diff import FrameDiff
from llmdbg.frontends.wire.engine_link import EngineLink
from llmdbg.frontends.wire.frames import FrameReader
from llmdbg.frontends.wire.messages import REPORTS, Lost, unpacked
from tests.frontends.tui.driving import loaded, press, request, until


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("CUDA error: device-side assert triggered\nCompile with", "the device has failed: CUDA error: device-side"),
        ("CUDA error: an illegal memory access was", "the device has failed: CUDA error: an illegal memory access"),
        ("CUDA error: out of memory", "RuntimeError: CUDA error: out of memory"),
        ("something else", "RuntimeError: something else"),
    ],
)
def test_why_an_engine_was_lost_is_said_in_a_line(said, reason):
    assert lost_reason(RuntimeError(said)).startswith(reason)


def test_who_holds_the_terminal_is_told():
    here, there = socket.socketpair()
    with here, there:
        tell_that_it_is_lost(EngineLink(here, "ab"), "x" * 5000)
        ((_, payload),) = FrameReader().take(there.recv(65536))
        assert unpacked(REPORTS, payload) == Lost("x" * 1000)
    tell_that_it_is_lost(None, "nobody")


async def test_a_device_that_answers_nothing_any_more_ends_the_screen(tiny_folder, monkeypatch):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test() as pilot:
        await loaded(pilot, app)

        def fail(_debugger):
            raise RuntimeError("CUDA error: device-side assert triggered")

        monkeypatch.setattr(app.engine, "_snapshot", fail)
        await pilot.press("n")
        await until(pilot, lambda: app.return_value is not None)
    assert "device-side assert" in str(app.return_value)


async def test_an_engine_without_a_process_of_its_own_is_not_left_standing(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test() as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "Q")
        assert "--detachable" in app.state.status[0]


def test_another_terminal_gets_the_modes_that_textual_sets(monkeypatch):
    """Textual's own, in `LinuxDriver.start_application_mode` and what that calls."""
    source = inspect.getsource(LinuxDriver)
    started = source[source.index("def start_application_mode") : source.index("def _request_terminal_sync")]
    helpers = re.findall(r"self\.(_(?:enable|disable)_\w+)\(", started)
    text = started + "".join(inspect.getsource(getattr(LinuxDriver, each)) for each in helpers)
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    wanted = set(re.findall(r"\\x1b\[\?(\d+)([hl])", text)) - {("2048", "h"), ("1016", "h")}
    ours = set(re.findall(r"\x1b\[\?(\d+)([hl])", driver._MODES.format(kitty="")))
    assert ours == wanted


@pytest.mark.parametrize(
    ("colors", "sent"),
    [
        ("truecolor", "\x1b[1H\x1b[0;38;2;255;0;0mx"),
        ("256", "\x1b[1H\x1b[0;38;5;196mx"),
        ("16", "\x1b[1H\x1b[0;31mx"),
    ],
)
def test_colours_are_reduced_to_what_the_terminal_that_comes_shows(colors, sent):
    frames = FrameDiff()
    frames.colors = colors
    assert frames.less("\x1b[1;1H\x1b[38;2;255;0;0mx") == sent
