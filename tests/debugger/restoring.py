"""A session that goes through a file and comes back."""

from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import ModelSpec
from tests.sessions import tiny_session

TEXT = "The quick fox drinks tea"


def fresh(name="llama", **how):
    return tiny_session(name, TEXT, **{"max_new_tokens": 10, **how})


def through_a_file(session, name="llama", **how):
    """The session as the next start has it, and what that start says."""
    asked = GenerationSettings(**{"max_new_tokens": 10, "greedy": not how, **how})
    saved = capture(session, begin(ModelSpec("tiny"), TEXT, asked))
    again = fresh(name, **how)
    notes = restore(again, from_json(to_json(saved), TEXT))
    return again, notes


def known(session):
    """Everything that must come back."""
    return (
        session.run.place,
        [
            (row.number, row.name, row.parent, row.fork, row.why, row.current, row.ids)
            for row in session.branching.rows()
        ],
        [(each.number, each.text, each.since, each.enabled) for each in session.run.edits.list()],
        [(each.number, each.target.text, each.hits, each.ignore, each.commands) for each in session.breakpoints.list()],
        [each.condition and each.condition.text for each in session.breakpoints.list()],
        session.run.generated_ids(),
        session.stop.tensor,
    )
