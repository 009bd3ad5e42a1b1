"""A run with branches: parting from one, leaving it, looking into another, and going there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.edits import Edits
from llmdbg.debugger.execution.branches import Branch
from llmdbg.debugger.execution.run import Run
from llmdbg.debugger.execution.trace import BEGINNING
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import LlmdbgError

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.generation.settings import GenerationSettings
    from llmdbg.engine.generation.timeline import Timeline
    from llmdbg.engine.generation.token_overrides import TokenOverrides


class BranchedRun(Run):
    """A run that can part from the branch it is on, and go to another."""

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
        place, here = self.place, self.branches.current
        self.branches.refuse_taken(name)
        self._leave_branch()
        timeline = self._forked(place.token)
        if overrides is not None:
            timeline.overrides[place.token] = overrides
        if settings is not None:
            earlier = [(since, old) for since, old in timeline.settings if since < place.token]
            timeline.settings = (*earlier, (place.token, settings))
        new = self.branches.fork(timeline, place.token, why, name)
        self.engine.timeline = timeline
        try:
            return self.return_to(place)
        except LlmdbgError:
            self._stages.close()
            self.branches.drop(new, here)
            self.engine.timeline = here.timeline
            self.return_to(place)
            raise

    def part(self, token: int, why: str) -> None:
        """Before values are changed from `token` on: leave what lies ahead to the current branch, in a new one.

        A branch that has come no further than `token` goes on itself. The session stands nowhere until `return_to`.
        """
        here = self.branches.current
        ahead = len(self.engine.timeline.ids) > token
        self._leave_branch()
        self.engine.timeline = self._forked(token)
        if ahead:
            self.branches.fork(self.engine.timeline, token, why)
        else:
            here.timeline = self.engine.timeline
            here.forget_from(token)

    @contextmanager
    def left(self) -> Iterator[None]:
        """The model as it is, with no run under way. `return_to` must follow."""
        self._leave_branch()
        yield

    @contextmanager
    def without_edits(self) -> Iterator[None]:
        """Run the present token without its edits, in a timeline that is thrown away. Ends standing nowhere."""
        branch, token = self.branches.current, self.place.token
        edits = branch.edits
        self._stages.close()
        self.engine.timeline = branch.timeline.fork(token)
        branch.edits = Edits()
        try:
            yield
        finally:
            self._stages.close()
            branch.edits = edits
            self.engine.timeline = branch.timeline

    def look_into(self, branch: Branch, token: int, look: Callable[[StageEvent], bool]) -> None:
        """Run a token of any branch again, asking `look` at every stage, and come back here."""
        here, place = self.branches.current, self.place
        self._leave_branch()
        self.branches.current, self.engine.timeline = branch, branch.timeline
        try:
            self.run_again(token, look)
        finally:
            self._stages.close()
            self.branches.current, self.engine.timeline = here, here.timeline
            self.return_to(place)

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
        if branch is self.branches.current:
            return self.stop
        self._leave_branch()
        self.branches.current = branch
        self.engine.timeline = branch.timeline
        return self.return_to(branch.place)

    def adopt(self, branches: Iterable[Branch], current: Branch) -> None:
        """Have these branches instead of what there is; `begin_again` must follow."""
        self._stages.close()
        self.branches.put_back(branches, current)
        self.engine.timeline = current.timeline

    def begin_again(self) -> Stop:
        """Stand at the beginning of the current branch, whose tokens may be known and not have been run."""
        return self.return_to(BEGINNING)

    def _forked(self, token: int) -> Timeline:
        """A timeline that parts at `token`, whose own choice stays what the user made it."""
        old = self.engine.timeline
        timeline = old.fork(token)
        if token in old.overrides:
            timeline.overrides[token] = old.overrides[token]
        return timeline

    def _leave_branch(self) -> None:
        self.branches.current.place = self.place
        event, ids = self._event, self.engine.timeline.ids
        if event.chosen is not None and event.token == len(ids):
            # Chosen, and shown, though the run has not gone on from it.
            ids.append(event.chosen)
        self._stages.close()
