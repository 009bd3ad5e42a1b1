"""Forking, leaving, reading and switching branches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.edits import Edits
from llmdbg.debugger.execution.branches import Branch, BranchRow
from llmdbg.debugger.execution.trace import last_of
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
    """Moves a run between branches."""

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
        """Fork the current branch at the current token, and stop at the same place of the new branch.

        `overrides` force or ban ids for this token, `settings` apply from it on. `why` is shown in the list of
        branches. Raises CommandError for a taken name or a debuggee that cannot branch; if the new branch fails to
        run, goes back to the old one and raises the LlmdbgError.
        """
        require(self._debuggee, Capability.FORK, Capability.GO_BACK)
        place, here = self._run.place, self._run.branches.current
        self._run.branches.refuse(name)
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
            self._replay.come_back_to(place)
            raise

    def part(self, token: int, why: str) -> None:
        """Prepare to change values from `token` on, in a new branch if the current one has later tokens to keep.

        A branch without later tokens is continued itself. No run is active until `Replay.return_to`.
        """
        require(self._debuggee, Capability.FORK, Capability.GO_BACK)
        here = self._run.branches.current
        # At `sample`, this token itself may be kept already, and it is run again.
        first_later = token + (self._run.place == last_of(token))
        ahead = len(self._debuggee.timeline.ids) > first_later
        self._leave_branch()
        self._debuggee.timeline = self._forked(token)
        if ahead:
            self._run.branches.fork(self._debuggee.timeline, token, why)
        else:
            here.timeline = self._debuggee.timeline
            here.forget_from(token)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Leave the model untouched, with no active run. `Replay.return_to` must follow.

        Raises CommandError for a debuggee that cannot go back.
        """
        require(self._debuggee, Capability.GO_BACK)
        self._leave_branch()
        yield

    @contextmanager
    def without_edits(self) -> Iterator[None]:
        """Run the current token without its edits, in a timeline that is thrown away. No run is active afterwards."""
        require(self._debuggee, Capability.FORK, Capability.GO_BACK)
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
        """Rerun a token of any branch, calling `look` at every stage until it returns True, and come back here.

        Raises CommandError for a debuggee that cannot go back.
        """
        require(self._debuggee, Capability.GO_BACK)
        here, place = self._run.branches.current, self._run.place
        self._leave_branch()
        self._run.branches.current, self._debuggee.timeline = branch, branch.timeline
        try:
            self._replay.run_token(token, look)
        finally:
            self._run.cursor.close()
            self._run.branches.current, self._debuggee.timeline = here, here.timeline
            self._replay.come_back_to(place)

    def values_in(self, branch: Branch, token: int, addresses: Collection[str]) -> dict[str, Tensor]:
        """Copies of some stages' main tensors in another branch at `token`, by address. Comes back here."""
        found: dict[str, Tensor] = {}

        def look(event: StageEvent) -> bool:
            tensor = main_tensor(event.output) if event.stage.address in addresses else None
            if tensor is not None:
                found[event.stage.address] = tensor.clone()
            return False

        self.look_into(branch, token, look)
        return found

    def switch(self, branch: Branch) -> Stop:
        """Switch to a branch, at the place where it was left. Raises CommandError if the debuggee cannot go back."""
        if branch is self._run.branches.current:
            return self._run.stop
        require(self._debuggee, Capability.GO_BACK)
        self._leave_branch()
        self._run.branches.current = branch
        self._debuggee.timeline = branch.timeline
        return self._replay.return_to(branch.place)

    def adopt(self, branches: Iterable[Branch], current: Branch) -> None:
        """Replace all branches by these; `Replay.begin_again` must follow.

        Raises CommandError for a debuggee that cannot branch or go back.
        """
        require(self._debuggee, Capability.FORK, Capability.GO_BACK)
        self._run.cursor.close()
        self._run.branches.put_back(branches, current)
        self._debuggee.timeline = current.timeline

    def rows(self) -> tuple[BranchRow, ...]:
        """Every branch, each after its parent. The current one's tokens end at the current stop."""
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
        """A timeline that forks at `token` and keeps the override of that token, if any."""
        old = self._debuggee.timeline
        timeline = old.fork(token)
        if token in old.overrides:
            timeline.overrides[token] = old.overrides[token]
        return timeline

    def _leave_branch(self) -> None:
        self._run.branches.current.place = self._run.place
        self._run.keep_chosen()
        self._run.cursor.close()
