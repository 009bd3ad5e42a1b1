"""Debugs a vLLM engine and prints what it found as JSON. Run by vLLM's own Python: `drive_vllm.py MODEL`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import always_suspend, main_tensor
from llmdbg.engine.vllm.request import VllmRequest
from llmdbg.frontends.answers.writers import lines
from llmdbg.frontends.opening import open_generation
from llmdbg.models.spec import ModelSpec

PROMPT = "The old lighthouse keeper looked at the letter and"
HOT = GenerationSettings(
    max_new_tokens=4, temperature=1.4, top_k=50, top_p=0.95, min_p=0.01, repetition_penalty=1.2, seed=7
)


def main(model: str) -> dict[str, Any]:
    """What a debugger finds out about a vLLM engine, and what vLLM does without one."""
    spec = ModelSpec(model, dtype="float32", engine="vllm")
    greedy = GenerationSettings(max_new_tokens=4, greedy=True)
    request = open_generation(spec, PROMPT, greedy, chat=False, system=None, report=lambda _: None)
    assert isinstance(request, VllmRequest)
    found: dict[str, Any] = {"untouched": request.untouched(4)}
    found["stepped"] = stepped(request)
    hot = VllmRequest(request._engine, request.prompt, HOT)
    found["hot untouched"], found["hot stepped"] = hot.untouched(4), stepped(hot)
    hot = VllmRequest(request._engine, request.prompt, HOT)
    found["hot"] = commands(
        hot, ["goto sample", "info candidates", "ban " + json.dumps(" said"), "continue", "info tokens"]
    )
    found["greedy"] = commands(VllmRequest(request._engine, request.prompt, greedy), GREEDY)
    found["after"] = request.untouched(4)[0]
    return found


GREEDY = [
    *("until 12", "info stats", "info lens", "until logits", "continue", "info tokens"),
    *("goto 12@0", "scale 12 0.5", "continue", "info tokens", "undo", "goto 5@2", "continue", "info tokens", "verify"),
    *("goto sample@1", 'force " the"', "continue", "info tokens", "info attention", "info kv"),
    *("goto 3.self_attn.qkv_proj@1", "explain", "info kv"),
]


def stepped(request: VllmRequest) -> dict[str, Any]:
    """A run that is suspended at every stage: its tokens, the hashes of its logits, and its stages."""
    addresses = [each.address for each in request.anatomy.stages]
    stages: list[str] = []
    events = request.events()
    next(events)
    request.stops.arm([*addresses, *(each.address for each in request.processors)], always_suspend)
    shapes: dict[str, list[int]] = {}
    for event in events:
        stages.append(event.stage.address)
        if (output := main_tensor(event.output)) is not None:
            shapes.setdefault(event.stage.address, list(output.shape))
    hashes = request.timeline.fingerprints()
    return {"ids": list(request.generated), "hashes": [*hashes.values()], "stages": stages, "shapes": shapes}


def commands(request: VllmRequest, typed: list[str]) -> dict[str, list[str]]:
    """What each command of a new session says; of one that is given again, the last."""
    session = Debugger(request)
    said: dict[str, list[str]] = {}
    try:
        for at, line in enumerate(typed):
            said[f"{at} {line}"] = lines(COMMANDS.run(session, line))
    finally:
        session.close()
    return said


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
