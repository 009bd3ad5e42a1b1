"""The private names of Textual the screen needs: one test each, and no other use of one."""

import ast
import signal
from pathlib import Path

from textual import events
from textual.app import App
from textual.widgets import Static

import llmdbg
from llmdbg.frontends.tui import _compat

BEGIN, END = "\x1b[200~", "\x1b[201~"


class Drawn(App[None]):
    def compose(self):
        yield Static("fox")
        yield Static("日本 jumps")


def test_these_are_all():
    assert set(_compat.__all__) == {"XTermParser", "screen_lines", "signals_of_the_driver"}


async def test_textual_still_has_the_parser_the_driver_feeds():
    parser = _compat.XTermParser()
    keys = [event.key for event in parser.feed("a\x1b[A") if isinstance(event, events.Key)]
    assert keys == ["a", "up"]
    assert list(parser.tick()) == []
    pasted = list(parser.feed(f"{BEGIN}one\ntwo{END}"))
    assert [event.text for event in pasted if isinstance(event, events.Paste)] == ["one\ntwo"]


async def test_textual_still_has_the_lines_it_drew_last():
    app = Drawn()
    async with app.run_test(size=(20, 4)) as pilot:
        await pilot.pause()
        assert _compat.screen_lines(app) == ["fox", "日本 jumps", "", ""]


def test_no_other_private_module_of_textual_is_imported():
    for path in Path(llmdbg.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Import | ast.ImportFrom) or path.name == "_compat.py":
                continue
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [".".join(filter(None, (module, each.name))) for each in node.names]
            assert not any(name.startswith("textual.") and "._" in name for name in names), (path, names)


def test_textuals_driver_still_looks_signals_up_by_name() -> None:
    from textual.drivers import linux_driver

    def found() -> object:
        return vars(linux_driver)["signal"]

    assert found() is signal
    with _compat.signals_of_the_driver("another"):
        assert found() == "another"
    assert found() is signal
