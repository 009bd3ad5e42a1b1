"""What runs a model: transformers, or vLLM, which runs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.errors import ModelRequestError

if TYPE_CHECKING:
    from llmdbg.models.spec import ModelSpec


def require_transformers(spec: ModelSpec) -> None:
    """Raise ModelRequestError where a model that transformers loads is needed and vLLM is asked for."""
    if spec.engine == "vllm":
        raise ModelRequestError(
            "vLLM wants another transformers, and stands beside no other run: as a side of diff, give it the Python of "
            "its environment (--python PATH); or record it there (`llmdbg record MODEL --engine vllm -o RUN`)"
        )
