"""The proof of fidelity: the same generation by an untouched `generate()`, held against this one bit by bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session


@dataclass(frozen=True, slots=True)
class Proof:
    """What `generate()` gave beside what was stepped through: `tokens` compared, and the first that differs, if any.

    `differs` is "id" or "logits" where one does, else None.
    """

    tokens: int
    first: int | None
    differs: str | None


def verify(session: Session) -> Proof:
    """Run `generate()` from the prompt over the tokens so far, then come back. Raises CommandError where none can be.

    Logits are compared by a hash of their bits. What the user has forced, banned, set or edited is no longer the
    model's own doing, and is refused.
    """
    branch, count = session.branches.current, len(session.generated_ids())
    if branch.timeline.overrides or branch.edits.list() or len(branch.timeline.settings) > 1:
        raise CommandError("this branch is not the model's own doing any more: `switch main` and verify that")
    if count == 0:
        raise CommandError("nothing has been generated yet: go on with `token` first")
    place = session.place
    settings = replace(session.settings, max_new_tokens=count)
    with session.left():
        ids, hashes = session.engine.untouched(settings)
    session.return_to(place)
    known = branch.timeline.fingerprints()
    ours = session.generated_ids()
    for token, (id, hashed) in enumerate(zip(ids, hashes, strict=True)):
        if token < len(ours) and ours[token] != id:
            return Proof(token + 1, token, "id")
        if token in known and known[token] != hashed:
            return Proof(token + 1, token, "logits")
    return Proof(len(ids), None, None)
