"""The proof of fidelity: compares this generation, bit for bit, with that of an untouched `generate()`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from llmdbg.display import Displayed
from llmdbg.engine.debuggee import Capability, Verifiable, require
from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.errors import CommandError, UnableError
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector


@dataclass(frozen=True, slots=True, repr=False)
class Proof(Displayed):
    """The result of comparing with an untouched `generate()`."""

    tokens: int
    """How many tokens were compared, up to the first that differs."""
    first: int | None
    """The first token that differs, counted from 0; None if all are equal."""
    differs: str | None
    """What differs there: "id" or "logits"; None if all is equal."""
    notes: tuple[str, ...] = ()
    """Why `generate()` by itself may decode differently, in sentences."""


def verify(inspector: Inspector) -> Proof:
    """Run an untouched `generate()` over the tokens so far, compare, and return to where the run stood.

    Logits are compared by a hash of their bits. Raises UnableError if the debuggee cannot run without the debugger,
    and CommandError if the branch has forced or banned tokens, changed settings or edits, and if nothing has been
    generated yet.
    """
    if not isinstance(inspector.debuggee, Verifiable):
        raise UnableError(
            f"{printable(inspector.debuggee.name)} cannot run without the debugger, so there is nothing to verify"
        )
    require(inspector.debuggee, Capability.GO_BACK)
    branch, ours = inspector.run.branches.current, inspector.run.generated_ids()
    if branch.timeline.overrides or branch.edits.list() or len(branch.timeline.settings) > 1:
        raise CommandError("this branch has edits, changed settings or forced tokens: `switch main` and verify that")
    if not ours:
        raise CommandError("nothing has been generated yet: go on with `token` first")
    place, chosen = inspector.run.place, _chosen_here(inspector)
    with inspector.branching.left():
        ids, hashes = inspector.debuggee.untouched(len(ours))
    inspector.replay.come_back_to(place)
    known = branch.timeline.fingerprints() | chosen
    notes = inspector.debuggee.notes
    for token, (ours_here, theirs) in enumerate(zip_longest(ours, ids)):
        if ours_here != theirs:
            return Proof(token + 1, token, "id", notes)
        if known.get(token) != hashes[token]:
            return Proof(token + 1, token, "logits", notes)
    return Proof(len(ids), None, None, notes)


def _chosen_here(inspector: Inspector) -> dict[int, int]:
    """A hash of the raw logits of the token that is being chosen at this stop, which the timeline does not have yet."""
    event = inspector.event
    if event.chosen is None:
        return {}
    (_, logits), *_ = event.trail
    return {event.token: int(fingerprint_of(logits))}
