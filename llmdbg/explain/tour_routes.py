"""The routes of the tour, and what it asks the model. Without torch, for the command line."""

from __future__ import annotations

from llmdbg.errors import UsageError
from llmdbg.formatting import did_you_mean, listed
from llmdbg.models.spec import DEMO_MODEL

MODEL, MISTRAL = "model", "mistral"

ROUTES = {
    MODEL: "through any model, from the prompt to its second token",
    MISTRAL: "a Mistral model's way: its tokenizer, loading, the GPU, grouped-query attention, the sliding window",
}
"""The routes, and where each leads."""

PROMPT = "Can you write an email explaining what an LLM is?"
"""The prompt of a tour without one; where the model has a chat template it goes through that."""


def check_route(name: str) -> str:
    """The route of this name. Raises UsageError, which lists the routes, for any other."""
    if name in ROUTES:
        return name
    there_are = "; ".join(f"`{each}`, {leads}" for each, leads in ROUTES.items())
    raise UsageError(
        f"the tour has no route {name!r}{did_you_mean(name, ROUTES)}: it takes {listed([*ROUTES], 'or')} "
        f"({there_are}); a MODEL comes before --tour"
    )


def tour_prompt(model: str | None) -> tuple[str, bool]:
    """The prompt for a tour without one, and whether to put it through the model's chat template."""
    return PROMPT, model in (None, DEMO_MODEL) or "instruct" in (model or "").lower()
