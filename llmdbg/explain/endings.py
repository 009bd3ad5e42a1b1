"""Why a generation ended, in words."""

from __future__ import annotations

from llmdbg.formatting import printable, quote


def why_ended(ended_by: str, ended_with: str | None = None) -> str:
    """Say why, from `ended_by` and `ended_with` of a stop or end, as a clause without a full stop."""
    what = "" if ended_with is None else f" {quote(ended_with)}"
    return {
        "eos": "the model ended its answer",
        "stop_string": f"the stop string{what} is complete",
        "criterion": f"the stopping criterion{what} is met",
        "length": "the requested length is reached",
        "time": "the time limit (max_time) is reached",
        "context": "the model's context is full",
        "quit": "left",
        "recording": "the recording goes no further",
        "detached": "debugging has ended, and the program runs on",
        "exit": f"the program has ended{f' with {printable(ended_with)}' if ended_with else ''}",
    }.get(ended_by, ended_by)


def last_token(ended_by: str, ended_with: str | None = None) -> str:
    """Say what the token that was just chosen does to the generation, in a sentence."""
    if ended_by == "eos":
        return "With it, the model ends its answer."
    if ended_by == "stop_string" and ended_with is not None:
        return f"It completes the stop string {quote(ended_with)}, which ends the generation."
    return f"It is the last token, since {why_ended(ended_by, ended_with)}."
