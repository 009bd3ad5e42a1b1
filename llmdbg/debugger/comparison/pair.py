"""The two sides of a comparison together: which stages stand for each other, and runs of one beside the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.branches import edited_stages
from llmdbg.debugger.comparison.configuration import model_differences
from llmdbg.debugger.comparison.grafting import Grafted
from llmdbg.debugger.comparison.lockstep import Follower
from llmdbg.debugger.comparison.mapping import NAMESAKES, map_stages
from llmdbg.formatting import listed
from llmdbg.models.anatomy import vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.debugger.comparison.grafting import OwnErrors
    from llmdbg.debugger.comparison.lockstep import Watcher
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.errors import LlmdbgError
    from llmdbg.models.tokens import Prompt

_MOST_NAMED = 4


class Pair:
    """A reference and a candidate.

    - `anatomy`, `our_anatomy`: the reference's stages, and the candidate's, whose addresses every result has.
    - `stage_map`: which of the reference's stages stand for one of the candidate's.
    - `theirs`, `ours`: the weights of both under the candidate's names.
    - `prompt`: what the candidate reads while stages are compared: the reference's ids, behind its own padding.
    - `padding`: how many positions more than the reference it has in front.
    - `edited`: how the stages are edited that only one of two branches edits, in words.
    - `notes`: what could not be compared, a sentence each.
    """

    def __init__(self, reference: LiveSide, candidate: LiveSide, given: Mapping[str, Sequence[str]]) -> None:
        self.reference = reference
        self.candidate = candidate
        self.notes: list[str] = []
        self.anatomy = reference.debuggee().anatomy
        self.our_anatomy = candidate.debuggee().anatomy
        self.ours = candidate.weights(self.our_anatomy)
        theirs = reference.weights(self.anatomy)
        self.notes += model_differences(reference, candidate, self.anatomy, self.our_anatomy)
        self._failures: set[str] = set()
        self.stage_map = map_stages(self.anatomy, self.our_anatomy, theirs, self.ours, given)
        self.theirs = self.stage_map.weights(theirs, self.ours)
        if unpaired := self.stage_map.unpaired:
            names = listed([*unpaired[:_MOST_NAMED], *(["more"] if len(unpaired) > _MOST_NAMED else [])])
            self.notes.append(f"the reference has no counterpart of {names}, or none was found: name it with --map")
        self.prompt = self._prompt()
        self.padding = self.prompt.padding - reference.prompt.padding
        self.edited = edited_stages(reference, candidate)
        self.notes += [note for each in (reference, candidate) if each.branch is not None for note in each.branch.notes]

    def _prompt(self) -> Prompt:
        ours, theirs = self.candidate.prompt, self.reference.prompt
        if ours.ids[ours.padding :] == theirs.ids[theirs.padding :]:
            return ours
        self.notes.append("the inputs differ, so the stages are compared on the reference's input")
        return theirs

    def note_failure(self, how: str, failure: LlmdbgError) -> None:
        """Note that the candidate failed, and how it was run: once for each reason."""
        if str(failure) not in self._failures:
            self._failures.add(str(failure))
            self.notes.append(f"the candidate failed {how}: {failure}")

    def known_failure(self, failure: LlmdbgError) -> None:
        """Take a failure for one that is reported already."""
        self._failures.add(str(failure))

    def lacks(self, ids: Sequence[int]) -> list[int]:
        """Those of `ids` that the candidate's vocabulary does not have, in order."""
        size = vocabulary_size(self.candidate.loaded.model)
        return [] if size is None else sorted({each for each in ids if each >= size})

    def following(self, watch: Watcher) -> Follower:
        """A run of the candidate that `watch` compares with the reference."""
        return Follower(self.candidate.debuggee(prompt=self.prompt), watch, self.stage_map, self.padding)

    def watch_grafted(self, own: OwnErrors | None = None) -> Grafted:
        """What compares a run of the candidate on the reference's values."""
        edits = self.candidate.edits(self.our_anatomy, None, self.prompt)
        length = len(self.reference.prompt.ids) - self.reference.prompt.padding
        return Grafted(self.our_anatomy, self.padding, own, edits=edits, length=length)

    def grafted(self) -> tuple[Follower, Grafted]:
        """A run of the candidate on the reference's values."""
        watch = self.watch_grafted()
        return self.following(watch), watch

    def reference_grafted(self, model: PreTrainedModel, noise: float = 0.0) -> tuple[Follower, Grafted]:
        """A run of the reference or a copy of it, on its own values; with noise in their last bits if given."""
        debuggee = self.reference.debuggee(model)
        edits = self.reference.edits(debuggee.anatomy, model, self.reference.prompt)
        watch = Grafted(debuggee.anatomy, noise=noise, edits=edits)
        return Follower(debuggee, watch, NAMESAKES), watch
