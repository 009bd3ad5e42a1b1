"""A debugging session: one model, one prompt, one run at a time, and where it stands.

Front ends talk to a session and get frozen values. A session belongs to one thread, the one that calls its methods;
only `interrupt` may be called from another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

import torch

from llmdbg.debugger.execution.branch_control import BranchedRun
from llmdbg.debugger.execution.branches import BranchRow
from llmdbg.debugger.execution.stop import Stop, TokenRow
from llmdbg.debugger.inspection.source import SourceCode, source_of
from llmdbg.debugger.positions import focus_in, positions
from llmdbg.engine.generation.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import CommandError
from llmdbg.models.stages import StageKind
from llmdbg.probes.candidates import candidates
from llmdbg.probes.change import ResidualChange, change, input_like
from llmdbg.probes.histogram import Histogram, histogram
from llmdbg.probes.statistics import Statistics, statistics

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from torch import Tensor

    from llmdbg.debugger.commands import Outcome
    from llmdbg.debugger.inspection.values import Values
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt


class Session(BranchedRun):
    """A run, and what can be seen of it.

    `focus` is the position whose vector the statistics describe, None for the last; `top` is how many candidates a stop
    lists; `followed` are the ids the lens follows, none for its prediction. `last_answers` are the newest answers that
    cost runs of their own, by topic, for panes to show. `exporter(value, path)` is what writes an answer to a file and
    says so in a sentence; front ends set it. Raises PromptError for a prompt that is empty or
    longer than the model's context.
    """

    def __init__(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings, *, top: int = 10) -> None:
        super().__init__(loaded, prompt, settings)
        self.focus: int | None = None
        self.followed: tuple[int, ...] = ()
        self.last_answers: dict[str, Any] = {}
        self.exporter: Callable[[Any, Path], str] | None = None
        self._top = top
        self._rows = tuple(self._row(index, id, None) for index, id in enumerate(prompt.ids))
        self.restart()

    def do(self, line: str) -> Outcome:
        """Run one command line, as `-ex` and the screen's command line do. Raises LlmdbgError."""
        from llmdbg.debugger.commands import COMMANDS

        return COMMANDS.run(self, line)

    def export(self, value: Any, path: Path) -> str:
        """Write an answer to a file, in the format its name asks for; say so in a sentence. Raises CommandError."""
        if self.exporter is None:
            raise CommandError(
                f"nothing here writes files, so {path} is not written: open the session with open_session"
            )
        return self.exporter(value, path)

    def vector(self, event: StageEvent) -> Tensor | None:
        """A copy of the vector (width,) at the focus position of an event's tensor, None where it has none."""
        tensor = main_tensor(event.output)
        return None if tensor is None else self.vector_of(event, tensor)

    def vector_of(self, event: StageEvent, tensor: Tensor) -> Tensor | None:
        """The same of any tensor a stage worked with."""
        if not tensor.is_floating_point():
            return None
        axis, position = focus_in(event, tensor, len(self.prompt.ids), self.focus)
        return None if axis is None else tensor.select(axis, position).reshape(-1).clone()

    def focus_position(self) -> int:
        """The position that what is seen of the present token's forward describes: the focus, if it ran over that."""
        first, length = self.forward_positions()
        inside = self.focus is not None and first <= self.focus < first + length
        return self.focus if inside and self.focus is not None else first + length - 1

    def forward_positions(self) -> tuple[int, int]:
        """The first position the present token's forward runs over, and how many."""
        prompt, token = len(self.prompt.ids), self._event.token
        return (0, prompt) if token == 0 else (prompt + token - 1, 1)

    def probabilities(self) -> tuple[float | None, ...]:
        """How likely the model itself, before any logits processor, held each generated token to be.

        None for a token nobody looked at as it was chosen. One copy to the host for all that are new.
        """
        return self.probabilities_of(range(len(self.generated_ids())))

    def probabilities_of(self, tokens: Iterable[int | None]) -> tuple[float | None, ...]:
        """The same for some of the generated tokens, the one being chosen included."""
        probabilities = self.branches.current.probabilities
        fresh = {token: prob for token, prob in probabilities.items() if not isinstance(prob, float)}
        if fresh:
            probabilities |= zip(fresh, torch.stack(list(fresh.values())).tolist(), strict=True)
        known = cast("dict[int | None, float]", probabilities)
        return tuple(known.get(token) for token in tokens)

    def spread(self) -> Histogram | None:
        """How the values at the present stop are spread, None where it has no tensor."""
        tensor = main_tensor(self._event.output)
        return None if tensor is None else histogram(tensor)

    def residual_change(self) -> ResidualChange | None:
        """What the stage did to the vector at the focus position, None where nothing of that shape went in."""
        event, output = self._event, main_tensor(self._event.output)
        if output is None or not output.is_floating_point() or event.trail:
            return None
        before = input_like(output, (*event.args, *event.kwargs.values()))
        if before is None:
            return None
        axis, position = focus_in(event, output, len(self.prompt.ids), self.focus)
        if axis is None:
            return change(before, output)
        return change(before.select(axis, position), output.select(axis, position))

    def focused_values(self, wanted: tuple[int, int] | None = None) -> Values | str:
        """The numbers `x` was last asked for, those of the vector at the focus position here if it was not.

        `wanted` are the first of them to list and how many. A sentence where there are none. Raises as `x` does.
        """
        from llmdbg.debugger.inspection import values

        return values.shown(self) if wanted is None else values.fetch(self, wanted)

    def source(self) -> SourceCode:
        """The Python source of the forward that has just run."""
        module = self.anatomy.modules.get(self._event.stage.address)
        head = self.loaded.model.get_output_embeddings() if self._event.stage.kind is StageKind.LOGITS else None
        return source_of(module if module is not None else head)

    def tokens(self) -> tuple[TokenRow, ...]:
        """The whole sequence so far: prompt and generated tokens."""
        prompt, ids = len(self.prompt.ids), self.generated_ids()
        if any(row.id != id for row, id in zip(self._rows[prompt:], ids, strict=False)):
            self._rows = self._rows[:prompt]
        known = len(self._rows) - prompt
        if known < len(ids):
            self._rows += tuple(self._row(prompt + i, id, i) for i, id in enumerate(ids) if i >= known)
        return self._rows[: prompt + len(ids)]

    def look(self) -> Stop:
        """Describe the present stop again, e.g. after the focus has moved."""
        self.stop = self._describe(self._event)
        return self.stop

    def branch_rows(self) -> tuple[BranchRow, ...]:
        """Every branch below its parent. The current one's tokens end where the session stands."""
        rows = []
        for branch, depth in self.branches.tree():
            current = branch is self.branches.current
            ids = self.generated_ids() if current else tuple(branch.timeline.ids)
            own = ids[branch.fork :]
            parent = None if branch.parent is None else branch.parent.number
            place = self.place if current else branch.place
            text = self.vocabulary.decode(own)
            named = (branch.number, branch.name, parent, depth, branch.fork, branch.why)
            rows.append(BranchRow(*named, current, place, own, text))
        return tuple(rows)

    def _describe(self, event: StageEvent) -> Stop:
        trail = [(stage.address, scores) for stage, scores in event.trail]
        chosen_tensor = event.output if event.stage.kind is StageKind.SAMPLE else None
        found = candidates(trail, self.vocabulary.text, top=self._top, chosen=chosen_tensor) if trail else (None, None)
        tensor = main_tensor(event.output)
        return Stop(
            reason=self._reason,
            breakpoint=self._hit,
            token=event.token,
            phase=event.phase,
            stage=event.stage,
            tensor=None if tensor is None else self._statistics(event, tensor),
            candidates=found[0],
            chosen=found[1],
            ms=event.ms,
            ended_by=event.ended_by,
            values=self._values,
            differs=bool(self.engine.timeline.differing()),
        )

    def _statistics(self, event: StageEvent, tensor: Tensor) -> Statistics:
        first, length = positions(event, len(self.prompt.ids))
        return statistics(tensor, first=first, length=length, focus=self.focus)

    def _row(self, index: int, id: int, generated: int | None) -> TokenRow:
        token = self.vocabulary.token(id)
        return TokenRow(index, id, token.piece, token.text, token.special, generated)
