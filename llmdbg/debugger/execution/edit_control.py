"""Making, switching and undoing edits.

An edit applies from the current token on. If the current branch already has later tokens, they were produced without
the edit, so the edit goes into a new branch; otherwise into the current one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.change_tally import ChangeTally
from llmdbg.debugger.editing.edit_language import EditContext, read_edit
from llmdbg.debugger.editing.edit_syntax import BESIDE, split_edit
from llmdbg.debugger.editing.edits import DormantEdit, what_changed
from llmdbg.debugger.limits import MOST_LINE, MOST_LINES
from llmdbg.engine.debuggee import Capability, require
from llmdbg.engine.lockstep import forward_of
from llmdbg.errors import CommandError, EditError

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.editing.changes import OtherRun
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branch_control import BranchControl
    from llmdbg.debugger.execution.replay import Replay
    from llmdbg.debugger.execution.stop import Stop


_QUOTES = ("'", '"')


class EditControl:
    """Changes the edits of the current branch, and returns to the same place."""

    def __init__(self, replay: Replay, branching: BranchControl) -> None:
        self._replay = replay
        self._branching = branching
        self._run = replay.run
        self._debuggee = replay.run.debuggee
        self.open_other: Callable[[str], OtherRun] | None = None
        """Opens another model with its options or a recording, as typed; an empty text stands for the run beside this
        one. Raises LlmdbgError."""
        self.done = ""
        """What the newest edit changed when it was made, in a sentence; empty before the first."""

    def make(self, line: str) -> Stop:
        """Make an edit. Raises AddressError, EditError or CommandError, having changed nothing."""
        require(self._debuggee, Capability.EDIT)
        token = self._run.place.token
        context = EditContext(
            self._run.stages.addresses,
            self._debuggee.anatomy,
            None if self._debuggee.loaded is None else self._debuggee.loaded.model,
            token,
            len(self._debuggee.prompt.ids),
            self._run.lane.edited(self._run.event),
            lambda other: self._other_run(other, line, token),
            self._run.user_code,
            partial(forward_of, self._debuggee),
        )
        if len(self._run.edits.list()) >= MOST_LINES or len(line) > MOST_LINE:
            raise EditError(f"a branch holds {MOST_LINES} edits of {MOST_LINE} characters at most")
        draft = self._run.lane.owned(read_edit(line, context))
        stop = self._with_other_edits(token, draft.text, lambda: self._run.edits.add(draft, token))
        made = self._run.edits.list()[-1]
        self.done = what_changed(made, self._run.edits.counted(made.number))
        return stop

    def switch(self, number: int | None, *, enabled: bool) -> Stop:
        """Enable or disable one edit, or all, and go back to the first token they apply to. Raises CommandError."""
        chosen = [*self._run.edits.list()] if number is None else [self._numbered(number)]
        if not chosen:
            raise CommandError("there are no edits")
        word = "on" if enabled else "off"
        why = f"edits {word}" + (f" {number}" if number else "")
        since = min(each.since for each in chosen)
        dormant = [each for each in chosen if isinstance(each.change, DormantEdit)]
        if enabled and dormant:
            return self._wake(dormant)
        return self._back_to(since, why, chosen, lambda: self._run.edits.enable(number, enabled=enabled))

    def _wake(self, edits: list[Edit]) -> Stop:
        """Make a dormant edit where it was first made, as if the user typed its line there."""
        if len(edits) > 1:
            raise CommandError(
                "some of these run Python or need another run: switch them on one by one, with `edits on N`"
            )
        [edit] = edits
        here = self._run.place
        stop = self._replay.return_to_any(edit.since, edit.stages)
        if stop.stage.address not in edit.stages:
            self._replay.come_back_to(here)
            raise CommandError(
                f"edit {edit.number} belongs to a stage that did not run at token {edit.since}: type it again"
            )
        stop = self.make(edit.text)
        self._run.edits.remove(edit.number)
        return stop

    def undo(self, number: int | None = None) -> Stop:
        """Undo an edit, None for the newest, and go back to where it was made. Raises CommandError if there is none."""
        edits = self._run.edits.list()
        if not edits:
            raise CommandError("there is no edit to undo: `switch` goes to another branch, where a token was forced")
        undone = edits[-1] if number is None else self._numbered(number)
        # Removed from the list of the branch that is current by then, which may be a new one.
        return self._back_to(
            undone.since, f"undo {undone.text}", [undone], lambda: self._run.edits.remove(undone.number)
        )

    def _numbered(self, number: int) -> Edit:
        edits = self._run.edits.list()
        for each in edits:
            if each.number == number:
                return each
        numbers = ", ".join(str(each.number) for each in edits)
        raise CommandError(f"there is no edit {number} (there are: {numbers or 'none'})")

    def _with_other_edits(self, since: int, why: str, change: Callable[[], object]) -> Stop:
        """Rerun the current token with changed edits; restore the old edits if that fails."""
        if Capability.GO_BACK not in self._debuggee.capabilities:
            return self._from_here_on(change)
        place = self._run.place
        old = self._run.edits.copy()
        self._branching.part(since, why)
        change()
        try:
            return self._counting(lambda: self._replay.return_to(place))
        except EditError:
            self._run.branches.current.edits = old
            self._replay.come_back_to(place)
            raise

    def _back_to(self, since: int, why: str, edits: list[Edit], change: Callable[[], object]) -> Stop:
        if Capability.GO_BACK not in self._debuggee.capabilities:
            return self._from_here_on(change)
        here = self._run.place
        reached = min(since, here.token)
        self._branching.part(reached, why)
        change()
        if here.token == reached:
            return self._counting(lambda: self._replay.return_to(here))
        stages = frozenset[str]().union(*(each.stages for each in edits))
        return self._counting(lambda: self._replay.return_to_any(since, stages))

    def _from_here_on(self, change: Callable[[], object]) -> Stop:
        """Change the edits of a debuggee that cannot run anything again: they apply to what comes, and at once here.

        What an edit has changed of the stage that the run stands at stays changed, whatever happens to the edit.
        """
        run, before = self._run, self._run.edits.copy()
        known = {each.number for each in run.edits.list() if each.enabled}
        change()
        # Those that were there have been applied to this event already.
        fresh = run.edits.copy()
        for number in known:
            fresh.remove(number)
        fresh.tally = tally = ChangeTally()
        try:
            if run.event.stage.address in fresh.addresses():
                fresh.editor(len(self._debuggee.prompt.ids))(run.event)
        except EditError:
            run.branches.current.edits = before
            raise
        run.edits.keep(tally, run.event.token)
        self._debuggee.stops.edit(run.edits.addresses(), run.edits.editor(len(self._debuggee.prompt.ids)))
        return run.look()

    def _counting(self, run: Callable[[], Stop]) -> Stop:
        """Run a token again, and keep what each edit changed on the way."""
        edits = self._run.edits
        edits.tally = tally = ChangeTally()
        try:
            stop = run()
        finally:
            edits.tally = None
        edits.keep(tally, stop.token)
        return stop

    def _other_run(self, text: str, line: str, token: int) -> OtherRun:
        """The run that a `patch` line names: a branch, or in quotes a model or a recording. Raises LlmdbgError."""
        if text[:1] in _QUOTES and text[-1:] == text[:1] and len(text) > 1:
            return self._at_hand(text[1:-1])
        if text == BESIDE and not any(each.name == BESIDE for each in self._run.branches):
            return self._at_hand("")
        try:
            branch = self._run.branches.find(text)
        except CommandError as error:
            raise CommandError(f"{error}; another model or a recording goes in quotes") from error
        if branch is self._run.branches.current:
            raise CommandError("patch takes a value from another branch: `branch` lists them")
        if token > len(branch.timeline.ids):
            raise CommandError(f"branch {text} has not reached token {token}")
        address = split_edit("patch", line.strip().partition(" ")[2]).address
        stages = self._run.stages.addresses.resolve(address).addresses
        return _BranchRun(text, token, self._branching.values_in(branch, token, stages))

    def _at_hand(self, text: str) -> OtherRun:
        if self.open_other is None:
            raise CommandError("this session cannot open another run: open it with open_session")
        return self.open_other(text)


@dataclass(frozen=True, slots=True)
class _BranchRun:
    """What a branch's stages returned at one generated token."""

    name: str
    token: int
    values: Mapping[str, Tensor]

    def missing(self, token: int, address: str) -> str | None:
        """Why there is no value; None if there is one."""
        if self.value(token, address, 0) is not None:
            return None
        return f"branch {self.name} has no value of {address} at token {token}"

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """A stage's main tensor, of its last call."""
        return self.values.get(address) if token == self.token else None
