"""What every benchmark shares: its rows, interleaved pairs, medians with quartiles, and figures as JSON.

Machines drift by more than what is measured here. So what is compared runs in turns, a ratio is taken within a turn,
and what is reported is the median of the ratios with their quartiles.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
import transformers

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.loading import load
from llmdbg.models.spec import LoadedModel, ModelSpec
from llmdbg.models.tokens import Prompt, encode_prompt

PROMPT = "Can you write an email explaining what an LLM is?"


@dataclass(frozen=True)
class Setup:
    """The model that is measured, and how much of it. `quick` is a smoke run: every row, few repetitions."""

    model: str = "smollm2"
    device: str = "auto"
    dtype: str = "auto"
    random_weights: bool = False
    quick: bool = False

    def times(self, usual: int) -> int:
        """How often to repeat what is usually repeated `usual` times."""
        return 1 if self.quick else usual

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, which ends a generation only where its length is reached: every run has the same length."""
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        spec = ModelSpec(self.model, device=self.device, dtype=self.dtype, random_weights=self.random_weights)
        loaded = load(spec)
        loaded.model.generation_config.eos_token_id = None
        return loaded

    def prompt(self, text: str = PROMPT) -> Prompt:
        """`text` as the model reads it, in its chat template where it has one."""
        tokenizer, vocabulary = self.loaded.tokenizer, self.loaded.model.get_input_embeddings().weight.shape[0]
        chat = bool(getattr(tokenizer, "chat_template", None))
        return encode_prompt(tokenizer, text, chat=chat, vocabulary_size=int(vocabulary))

    def debugger(self, tokens: int, text: str = PROMPT) -> Debugger:
        """A debugger at the first stage of a greedy generation of so many tokens."""
        return Debugger(Generation(self.loaded, self.prompt(text), GenerationSettings(tokens, greedy=True)))


@dataclass(frozen=True, slots=True)
class Spread:
    """How repeated measurements of one thing lie: median, first and third quartile, 95th percentile, and how many."""

    median: float
    first: float
    third: float
    p95: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        several = values if len(values) > 1 else [*values, *values]
        first, median, third = statistics.quantiles(several, n=4, method="inclusive")
        p95 = sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]
        return cls(median, first, third, p95, len(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured on this machine, and beside it what depends on the machine less or not at all.

    `unit` is that of `here`, None where only what stands beside counts. The keys of `beside` complete a sentence:
    `× untouched generate()`, `bytes`.
    """

    here: Spread | None
    unit: str = ""
    beside: Mapping[str, Spread] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Benchmark(Protocol):
    """A module that measures one subject."""

    @property
    def ROWS(self) -> Mapping[str, str]:  # noqa: N802
        """Its rows in order, as its table in README.md names them, each with its target; empty where there is none."""

    def measure(self, setup: Setup) -> Iterator[tuple[str, Figure]]:
        """Yield each row's figure as soon as it is known."""


def figures(benchmark: Benchmark, setup: Setup) -> dict[str, dict[str, Any]]:
    """Measure every row of a benchmark, in the order of its table. Raises RuntimeError where one is missing."""
    found: dict[str, dict[str, Any]] = {}
    for row, figure in benchmark.measure(setup):
        found[row] = figure.as_json()
        say(f"  {row}: {found[row]['here']} {found[row]['beside']}")
    if set(found) != set(benchmark.ROWS):
        raise RuntimeError(f"measured and listed rows differ: {sorted(set(found) ^ set(benchmark.ROWS))}")
    return {row: found[row] for row in benchmark.ROWS}


def machine(setup: Setup) -> str:
    """The machine and the model in words."""
    device = setup.loaded.model.device
    cuda = device.type == "cuda"
    where = torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} CPU threads"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{setup.loaded.name}, {setup.loaded.dtype}, {setup.loaded.attn}; {where}, {platform.machine()}, {versions}"


def say(line: str) -> None:
    """Progress, for whoever waits."""
    print(line, file=sys.stderr, flush=True)


def seconds(function: Callable[[], object]) -> float:
    """Seconds a call takes, the device's work included."""
    _wait_for_device()
    started = time.perf_counter()
    function()
    _wait_for_device()
    return time.perf_counter() - started


def milliseconds(function: Callable[[], object]) -> float:
    """The same in milliseconds."""
    return seconds(function) * 1e3


def pairs(
    measured: Callable[[], float], reference: Callable[[], float], count: int
) -> tuple[list[float], list[float], list[float]]:
    """Measure both in turns, `count` times, the order within a pair changing each time.

    Returns the values of the first, those of the second, and the ratios within the pairs.
    """
    ours, theirs = [], []
    for pair in range(count):
        if pair % 2:
            theirs.append(reference())
            ours.append(measured())
        else:
            ours.append(measured())
            theirs.append(reference())
    return ours, theirs, [a / b for a, b in zip(ours, theirs, strict=True)]


def rounds(
    sides: Mapping[str, Callable[[], float]], reference: Callable[[], float], count: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Measure each side between two runs of the reference, which neighbours share, `count` times over.

    Returns for each side its values, and their ratios to the mean of the two runs around it.
    """
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in sides}
    before = reference()
    for turn in range(count):
        say(f"  round {turn + 1} of {count}")
        for name, side in sides.items():
            value, after = side(), reference()
            found[name][0].append(value)
            found[name][1].append(2 * value / (before + after))
            before = after
    return found


def do(debugger: Debugger, line: str) -> None:
    """Run one command line."""
    COMMANDS.run(debugger, line)


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
