"""Copies and screenshots."""

from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import loaded, press, request


async def test_a_pane_can_be_copied_and_the_screen_saved(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "y")
        assert app.clipboard == app.row_pane("stages").text
        assert "embed" in (tmp_path / "llmdbg" / "kept" / "copied.txt").read_text()
        await press(pilot, app, "P")
        svg, text = sorted((tmp_path / "llmdbg" / "kept").glob("llmdbg-*"))
        assert "embed" in text.read_text()
        assert svg.suffix == ".svg"
        assert "</svg>" in svg.read_text()
