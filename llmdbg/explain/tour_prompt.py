"""What the tour asks the model. Kept out of `tour.py` so that the command line need not import torch."""

from __future__ import annotations

from llmdbg.models.spec import DEMO_MODEL

PROMPT = "Can you write an email explaining what an LLM is?"
"""The prompt of a tour without one; with the demo model it goes through the chat template."""


def tour_prompt(model: str | None) -> tuple[str, bool]:
    """The prompt for a tour without one, and whether to put it through the model's chat template."""
    return PROMPT, model in (None, DEMO_MODEL)
