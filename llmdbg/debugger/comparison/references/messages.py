"""What is said between llmdbg and a process of its own that runs a model under another Python: a line of JSON each.

Tensors are not said: that process writes them into a folder of safetensors, from which this one reads.
"""

from __future__ import annotations

import msgspec

from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import ModelSpec
from llmdbg.models.tokens import Prompt

MOST_BYTES = 2**16
"""The longest answer."""
MOST_REASON = 600
"""The longest reason of a failure, in characters."""


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """The first line: run a model after a prompt, and follow a run."""

    model: ModelSpec
    """The model."""
    prompt: Prompt
    """What it reads, as ids."""
    settings: GenerationSettings
    """How it chooses."""
    folder: str
    """A folder to be made, for the header of the run and the tensors that are asked for."""


class Record(msgspec.Struct, frozen=True, tag="record"):
    """The first line: record a whole run, with every tensor."""

    words: tuple[str, ...]
    """The command line of one side of a comparison."""
    folder: str
    """The folder of the recording, to be made."""


Job = Follow | Record


class Ask(msgspec.Struct, frozen=True):
    """Run to a stage, and write down what it returns."""

    number: int
    """The number of the question, and of the file of the tensors."""
    token: int
    """The generated token."""
    address: str
    """The stage."""
    call: int
    """Which of its calls."""
    same: int
    """How many of the generated ids are those of the question before."""
    ids: tuple[int, ...]
    """The ids that come after these."""
    inputs: bool
    """Whether to write down what the stage takes too."""


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """It is at work."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """It stands at the prompt, and its folder has the run's header; or the recording is complete."""

    last_bit: float = 0.0
    """As `ReferenceSource.last_bit`."""


class Found(msgspec.Struct, frozen=True, tag="found"):
    """It stands where it was asked to."""

    number: int
    """Of the question."""
    restarts: int
    """As `ReferenceSource.restarts`."""
    there: bool
    """Whether there is such a stage and call; the file is there then."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It cannot go on."""

    why: str
    """The reason, in a line."""


Answer = Alive | Ready | Found | Failed
