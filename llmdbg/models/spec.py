"""What the user asked to load, and what loading gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "float32", "bfloat16", "float16")
ATTENTION = ("sdpa", "eager", "flash_attention_2")
QUANTIZATION = ("4bit", "8bit")
DEMO_MODEL = "smollm2"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the user typed about the model, nothing looked up yet.

    `name` is a Hub name, a folder, a `.gguf` file or `smollm2`; None means the demo model where it is installed.
    """

    name: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    attn: str | None = None
    quantize: str | None = None
    random_weights: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far one stage of loading is. `done` and `total` are bytes; `total` is None while it is unknown."""

    stage: str
    done: int
    total: int | None


ProgressCallback = Callable[[LoadProgress], None]


@dataclass(frozen=True, slots=True)
class LoadingFacts:
    """How the weights came to their device: `bytes` there, in `seconds`; `made` at random, or else read from files."""

    bytes: int
    seconds: float
    device: str
    made: bool = False


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run: in eval mode, on its device, with its tokenizer.

    `tokenizer` is None only with random weights whose folder has no tokenizer files.
    `notes` are sentences the user should read (what was substituted or skipped, and why). `loading` is what loading the
    weights took, None for a model that came from elsewhere.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    attn: str
    notes: tuple[str, ...] = field(default=())

    # What a header shows.
    device: Literal["cpu"] | str = "cpu"
    dtype: str = "float32"
    loading: LoadingFacts | None = None


__all__ = [
    "ATTENTION",
    "DEMO_MODEL",
    "DTYPES",
    "QUANTIZATION",
    "LoadProgress",
    "LoadedModel",
    "LoadingFacts",
    "ModelSpec",
    "ProgressCallback",
]
