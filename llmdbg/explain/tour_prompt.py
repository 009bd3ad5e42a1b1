"""What the tour asks the model. Apart from `tour.py`, since the command line imports nothing heavy."""

from __future__ import annotations

from llmdbg.models.spec import DEMO_MODEL

PROMPT = "Can you write an email explaining what an LLM is?"
"""What the tour asks where no prompt is given; it goes through the demo model's chat template."""


def tour_prompt(model: str | None) -> tuple[str, bool]:
    """The prompt of a tour that was given none, and whether it goes through a chat template."""
    return PROMPT, model in (None, DEMO_MODEL)
