"""What attention and MLP added, beside the stages: only where there is room, and only then is it asked."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.panes import pane_named
from tests.frontends.tui.driving import loaded, pane, press, request
from tests.frontends.tui.states import drawn_pane, state_at
from tests.sessions import answered, do, tiny_session


def drawn(session, width):
    state = state_at(session, "layers", "additions")
    return [line.text for line in drawn_pane("stages", state, width)]


def test_each_layer_has_the_length_and_the_token_of_both_below_their_titles():
    session = tiny_session()
    do(session, "goto sample@0")
    lines = drawn(session, 93)
    title = next(line for line in lines if "attn adds" in line)
    assert " embed " in title
    assert len(title) == 93
    added = answered("additions", session)
    for address in ("0", "1"):
        line = next(line for line in lines if line.split()[1:2] == [address])
        for what, name in (("attention", "attn"), ("mlp", "mlp")):
            part = added.layers[address][what]
            shown = line[title.index(f"{name} adds") - 2 :]
            assert shown.startswith(f"{part.share:6.2f} "), line
        assert len(line) == 93
    assert "attn adds" not in "".join(drawn(session, 89))


def test_a_layer_whose_modules_do_not_add_up_has_a_dash():
    session = tiny_session("mamba")
    do(session, "goto sample@0")
    if answered("layers", session).why_none:
        pytest.skip("there is no lens to compare with")
    assert any("–" in line for line in drawn(session, 93))


def test_the_question_depends_on_the_width():
    stages = pane_named("stages")
    assert stages.questions(93) == ["additions", "layers"]
    assert stages.questions(45) == ["layers"]
    assert pane_named("log").questions(200) == []


@pytest.mark.parametrize(("size", "asks"), [((200, 50), True), ((120, 40), False)])
async def test_it_is_asked_only_where_it_is_shown(tiny_folder, size, asks):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        assert ("additions" in app.state.snapshot.asked) is asks
        assert ("attn adds" in pane(app, "stages")) is asks
        await press(pilot, app, "L", "n")
        assert "additions" not in app.state.snapshot.asked
        assert "attn adds" not in pane(app, "stages")
