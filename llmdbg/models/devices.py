"""What this machine offers: devices, attention kernels, quantisation. Checked before anything is read."""

from __future__ import annotations

import importlib
import importlib.util
import re

import torch

from llmdbg.errors import ModelRequestError

_CUDA = re.compile(r"cuda(:(?P<index>\d+))?")


def choose_device(name: str) -> torch.device:
    """The device to put a model on; `auto` is the first GPU, or the CPU without one.

    Raises ModelRequestError for a device that does not exist here.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = _CUDA.fullmatch(name)
    if match is None:
        raise ModelRequestError(f"there is no device {name!r}: --device takes auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise ModelRequestError(f"--device {name}: {_why_no_cuda()}; use --device cpu")
    index, count = int(match["index"] or 0), torch.cuda.device_count()
    if index >= count:
        raise ModelRequestError(f"--device {name}: this machine's GPUs are cuda:0 to cuda:{count - 1}")
    return torch.device(f"cuda:{index}")


def require_attention(name: str | None, device: torch.device) -> None:
    """Raise ModelRequestError if an attention implementation cannot run on this machine."""
    if name != "flash_attention_2":
        return
    if device.type != "cuda":
        raise ModelRequestError("--attn flash_attention_2 needs CUDA, and this run is on the CPU: use --attn sdpa")
    if importlib.util.find_spec("flash_attn") is None:
        raise ModelRequestError(
            "--attn flash_attention_2 needs the package flash-attn: run `pip install flash-attn`, or use --attn sdpa"
        )


def require_quantization(name: str | None, device: torch.device) -> None:
    """Raise ModelRequestError if weights cannot be quantised on this machine."""
    if name is None:
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelRequestError(
            f"--quantize {name} needs the package bitsandbytes: run `pip install bitsandbytes`, or leave --quantize out"
        )
    # Older versions do not say where they work, and need CUDA.
    supported = getattr(importlib.import_module("bitsandbytes"), "supported_torch_devices", {"cuda"})
    if device.type not in supported:
        raise ModelRequestError(
            f"--quantize {name}: this bitsandbytes does not run on {device.type}: update it, or leave --quantize out"
        )


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    return "torch finds no CUDA device here"
