"""What the user asked to load, and what loading returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from llmdbg.models.weight_differences import ShapeMismatch, WeightDifferences

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "eager", "flash_attention_2"]
Quantization = Literal["4bit", "8bit"]
EngineName = Literal["hf", "vllm"]

DTYPES = get_args(Dtype)
ATTENTION = get_args(Attention)
QUANTIZATION = get_args(Quantization)
ENGINES = get_args(EngineName)
DEMO_MODEL = "smollm2"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model the user asked for and how to load it. Nothing has been looked up yet."""

    name: str | None = None
    """A Hub name, a folder, a `.gguf` file or `smollm2`; None is the demo model, if it is installed."""
    dtype: str = "auto"
    """One of `DTYPES`; `auto` is the dtype the weights are stored in."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`; `auto` is the first GPU, or the CPU without one."""
    attn: str | None = None
    """The attention implementation, one of `ATTENTION`; None leaves it to transformers."""
    quantize: str | None = None
    """One of `QUANTIZATION`: quantise the weights while loading. None loads them as they are."""
    random_weights: bool = False
    """Draw the weights at random, so that only the configuration is needed."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""
    allow_pickle: bool = False
    """Load pickled weights, which can run code."""
    allow_missing: bool = False
    """Load a model whose weights are incomplete or do not fit; what is missing is initialised by transformers."""
    engine: str = "hf"
    """One of `ENGINES`: what runs the model, transformers or vLLM."""


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far one stage of loading has come."""

    stage: str
    """What is being done, for people: `downloading`, `reading`, `converting` and so on."""
    done: int
    """Bytes done."""
    total: int | None
    """Bytes in all; None while that is not known."""


ProgressCallback = Callable[[LoadProgress], None]


@dataclass(frozen=True, slots=True)
class LoadingFacts:
    """How the weights got onto their device."""

    bytes: int
    """What they take there."""
    seconds: float
    """From the first bytes reported until the last copy was done; imports are not included."""
    device: str
    """The device, or several joined by +: `cuda:0`, `cuda:0+cpu`."""
    made: bool = False
    """Whether they were drawn at random rather than read from files."""
    files: tuple[tuple[str, int], ...] = ()
    """Name and bytes of each file they were read from; empty if they were not."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run: in eval mode and on its device."""

    name: str
    """How the model is called in headers and messages."""
    model: PreTrainedModel
    """The model itself, unmodified."""
    tokenizer: PreTrainedTokenizerBase | None
    """None if there are no tokenizer files (with random weights), or if whoever loaded the model gave none."""
    attn: str
    """The attention implementation in use; `none` for a model without a choice of them."""
    notes: tuple[str, ...] = ()
    """Sentences the user should read: what was substituted or skipped, and why."""
    device: str = "cpu"
    """The device, or several joined by +."""
    dtype: str = "float32"
    """The dtype of the weights, without `torch.`."""
    loading: LoadingFacts | None = None
    """How the weights were loaded; None for a model that was not loaded by llmdbg."""
    weights: WeightDifferences | None = None
    """How the stored weights differ from the model; None for random weights, or a model not loaded by llmdbg."""


__all__ = [
    "ATTENTION",
    "DEMO_MODEL",
    "DTYPES",
    "ENGINES",
    "QUANTIZATION",
    "Attention",
    "Dtype",
    "EngineName",
    "LoadProgress",
    "LoadedModel",
    "LoadingFacts",
    "ModelSpec",
    "ProgressCallback",
    "Quantization",
    "ShapeMismatch",
    "WeightDifferences",
]
