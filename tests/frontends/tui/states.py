"""The state of the screen after some commands of a real session, with no screen, and panes drawn from it."""

from llmdbg.debugger.commands import COMMANDS
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.state.screen_state import ScreenState
from llmdbg.frontends.tui.worker.seen_stages import SeenStages
from llmdbg.frontends.tui.worker.snapshot import snapshot
from tests.sessions import answered, tiny_session


def state_at(session, *questions, memory=None, **answers):
    """The state at a stop, these questions answered; `answers` stand in for what would be answered."""
    asked = {**{name: answered(name, session) for name in questions}, **answers}
    state = ScreenState("tiny")
    state.arrive(snapshot(session, memory or SeenStages(), asked))
    return state


def state_after(*lines, **settings):
    """The state after some commands, every stop on the way remembered and every pane answered."""
    session, memory = tiny_session(**settings), SeenStages()
    session.run.on_token = lambda *_: None
    state = ScreenState("tiny")
    for line in (None, *lines):
        if line is not None:
            COMMANDS.run(session, line)
        asked = {pane.question: answered(pane.question, session) for pane in all_panes() if pane.question}
        state.arrive(snapshot(session, memory, asked))
    return state


def shown_after(*lines, **settings):
    return state_after(*lines, **settings).snapshot


def drawn_pane(name, state, width, height=40):
    return list(pane_named(name).draw(state, width, height))


def pane_lines(pane, session, width=36, memory=None, height=20):
    """The lines of a pane where a session stands, its own question answered."""
    state = state_at(session, pane.question, memory=memory)
    return [line.text for line in pane.draw(state, width, height)]


def text(rows):
    return "\n".join(row.text for row in rows)


def addresses(state):
    return [stage.address for stage in state.stages()]


def stages_text(state, width=40):
    return text(drawn_pane("stages", state, width))
