"""Why ranks cannot go on. Imports nothing heavy: a rank may be lost before torch is there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Loss:
    """Why the ranks cannot go on."""

    rank: int | None
    """The rank that is gone or has failed; None if it is not one of them."""
    what: str
    """What happened, as a sentence without its full stop."""
    code: int = 1
    """The exit code."""


@dataclass(frozen=True, slots=True)
class LastWord:
    """What a rank leaves for the others when it ends."""

    failed: str = ""
    """How it failed, or, of another rank that it has lost, a sentence; empty if it is done."""
    is_sentence: bool = False
    """Whether `failed` says by itself which rank it is about."""
    about: int | None = None
    """The rank that such a sentence is about; None if it is about none."""

    def of(self, rank: int) -> str:
        """What happened, as a sentence, of the rank that has left it."""
        if not self.failed:
            return f"rank {rank} has ended before the others"
        return self.failed if self.is_sentence else f"rank {rank} failed: {self.failed}"

    def loss(self, rank: int, code: int = 1) -> Loss:
        """Why the others cannot go on either, of the rank that has left it."""
        return Loss(self.about if self.is_sentence else rank, self.of(rank), code)

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LastWord:
        """What `to_json` has made. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(text))
