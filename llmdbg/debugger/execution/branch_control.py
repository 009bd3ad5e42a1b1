"""Parting from a branch, leaving it, looking into another, and going there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.edits import Edits
from llmdbg.debugger.execution.branches import Branch, BranchRow
from llmdbg.engine.debuggee import Capability, require
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import LlmdbgError

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.execution.replay import Replay
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.debuggee import Timeline
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.token_overrides import TokenOverrides


class BranchControl:
    """Lets a run part from the branch it is on and go to another."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._run = replay.run
        self._debuggee = replay.run.debuggee

    def fork(
        self,
        why: str,
        *,
        name: str | None = None,
        overrides: TokenOverrides | None = None,
        settings: GenerationSettings | None = None,
    ) -> Stop:
        """Part from the current branch at the present token, and stand at the same place of a new one.

        `overrides` is what the user makes of the choice of this token, `settings` hold from it on.
        """
        require(self._debuggee, Capability.FORK)
        place, here = self._run.place, self._run.branches.current
        self._run.branches.refuse_taken(name)
        self._leave_branch()
        timeline = self._forked(place.token)
        if overrides is not None:
            timeline.overrides[place.token] = overrides
        if settings is not None:
            earlier = [(since, old) for since, old in timeline.settings if since < place.token]
            timeline.settings = (*earlier, (place.token, settings))
        new = self._run.branches.fork(timeline, place.token, why, name)
        self._debuggee.timeline = timeline
        try:
            return self._replay.return_to(place)
        except LlmdbgError:
            self._run.cursor.close()
            self._run.branches.drop(new, here)
            self._debuggee.timeline = here.timeline
            self._replay.return_to(place)
            raise

    def part(self, token: int, why: str) -> None:
        """Before values are changed from `token` on: leave what lies ahead to the current branch, in a new one.

        A branch that has come no further than `token` goes on itself. The run stands nowhere until `Replay.return_to`.
        """
        require(self._debuggee, Capability.FORK)
        here = self._run.branches.current
        ahead = len(self._debuggee.timeline.ids) > token
        self._leave_branch()
        self._debuggee.timeline = self._forked(token)
        if ahead:
            self._run.branches.fork(self._debuggee.timeline, token, why)
        else:
            here.timeline = self._debuggee.timeline
            here.forget_from(token)

    @contextmanager
    def left(self) -> Iterator[None]:
        """The model as it is, with no run under way. `Replay.return_to` must follow."""
        self._leave_branch()
        yield

    @contextmanager
    def without_edits(self) -> Iterator[None]:
        """Run the present token without its edits, in a timeline that is thrown away. Ends standing nowhere."""
        require(self._debuggee, Capability.FORK)
        branch, token = self._run.branches.current, self._run.place.token
        edits = branch.edits
        self._run.cursor.close()
        self._debuggee.timeline = branch.timeline.fork(token)
        branch.edits = Edits()
        try:
            yield
        finally:
            self._run.cursor.close()
            branch.edits = edits
            self._debuggee.timeline = branch.timeline

    def look_into(self, branch: Branch, token: int, look: Callable[[StageEvent], bool]) -> None:
        """Run a token of any branch again, asking `look` at every stage, and come back here."""
        here, place = self._run.branches.current, self._run.place
        self._leave_branch()
        self._run.branches.current, self._debuggee.timeline = branch, branch.timeline
        try:
            self._replay.run_token(token, look)
        finally:
            self._run.cursor.close()
            self._run.branches.current, self._debuggee.timeline = here, here.timeline
            self._replay.return_to(place)

    def values_in(self, branch: Branch, token: int, addresses: Collection[str]) -> dict[str, Tensor]:
        """Copies of what some stages were worth in another branch while `token` was produced. Comes back here."""
        found: dict[str, Tensor] = {}

        def look(event: StageEvent) -> bool:
            tensor = main_tensor(event.output) if event.stage.address in addresses else None
            if tensor is not None:
                found[event.stage.address] = tensor.clone()
            return False

        self.look_into(branch, token, look)
        return found

    def switch(self, branch: Branch) -> Stop:
        """Go to where a branch was left."""
        if branch is self._run.branches.current:
            return self._run.stop
        self._leave_branch()
        self._run.branches.current = branch
        self._debuggee.timeline = branch.timeline
        return self._replay.return_to(branch.place)

    def adopt(self, branches: Iterable[Branch], current: Branch) -> None:
        """Have these branches instead of what there is; `Replay.begin_again` must follow."""
        self._run.cursor.close()
        self._run.branches.put_back(branches, current)
        self._debuggee.timeline = current.timeline

    def rows(self) -> tuple[BranchRow, ...]:
        """Every branch below its parent. The current one's tokens end where the run stands."""
        rows = []
        for branch, depth in self._run.branches.tree():
            current = branch is self._run.branches.current
            ids = self._run.generated_ids() if current else tuple(branch.timeline.ids)
            own = ids[branch.fork :]
            parent = None if branch.parent is None else branch.parent.number
            place = self._run.place if current else branch.place
            text = self._debuggee.vocabulary.decode(own)
            named = (branch.number, branch.name, parent, depth, branch.fork, branch.why)
            rows.append(BranchRow(*named, current, place, own, text))
        return tuple(rows)

    def _forked(self, token: int) -> Timeline:
        """A timeline that parts at `token`, whose own choice stays what the user made it."""
        old = self._debuggee.timeline
        timeline = old.fork(token)
        if token in old.overrides:
            timeline.overrides[token] = old.overrides[token]
        return timeline

    def _leave_branch(self) -> None:
        self._run.branches.current.place = self._run.place
        event, ids = self._run.event, self._debuggee.timeline.ids
        if event.chosen is not None and event.token == len(ids):
            # Chosen, and shown, though the run has not gone on from it.
            ids.append(event.chosen)
        self._run.cursor.close()
