"""What looking inside costs: the lens over head products, attention over forwards, and recording in passing.

    python benchmarks/insight.py [MODEL] [--device cpu] [--dtype float32]

Writes one JSON object to stdout; progress goes to stderr. Runs that are compared are interleaved.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.control import measure_all, quartiles, run, started
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt

LONG = "The quick brown fox jumps over the lazy dog. " * 30


def main() -> None:
    """Measure everything."""
    measure_all(__doc__, MEASUREMENTS, pairs=20)


def lens(loaded: LoadedModel, options: argparse.Namespace) -> dict[str, Any]:
    """The whole lens of a stop, its residuals recorded in passing, over one head product for every eight layers."""
    session = started(loaded, 60)
    run(session, "goto logits@20")
    ask(session, "lens")
    layers = len(session.debuggee.anatomy.layers())
    head = loaded.model.get_output_embeddings()
    residual = torch.randn(1, head.weight.shape[1], dtype=head.weight.dtype, device=head.weight.device)
    ratios, products = [], []
    with torch.no_grad():
        for pair in range(options.pairs):
            sides = {"lens": lambda: ask(session, "lens"), "head": lambda: head.forward(residual)}
            times = interleaved(sides, loaded, swap=bool(pair % 2))
            products.append(times["head"])
            ratios.append(times["lens"] / (times["head"] * layers / 8))
    session.close()
    return {"head_product_ms": quartiles(products), "lens_over_a_product_per_8_layers": quartiles(ratios)}


def attention(loaded: LoadedModel, options: argparse.Namespace) -> dict[str, Any]:
    """Attention of one layer and one focus, nobody having asked before, over one forward of the same token."""
    report = {}
    for name, text, token in (("decode", None, 20), ("prefill", LONG, 0)):
        session = started(loaded, 60) if text is None else prompted(loaded, text)
        last = len(session.debuggee.anatomy.layers()) - 1
        for layer in (0, last // 2, last):
            ratios = []
            for _ in range(options.pairs if text is None else 5):
                run(session, f"goto {max(0, layer - 1)}@{token}")
                forward = milliseconds(loaded, partial(whole_forward, session))
                run(session, f"goto {layer}@{token}")
                session.run.recorder.forget()
                asked = milliseconds(loaded, partial(ask, session, "attention", str(layer)))
                ratios.append(asked / forward)
            report[f"{name}, standing after layer {layer}"] = quartiles(ratios)
            print(f"  {name} {layer}: {quartiles(ratios)}", file=sys.stderr)
        session.close()
    return report


def recorder(loaded: LoadedModel, options: argparse.Namespace) -> dict[str, Any]:
    """A decode step with lens and attention recorded in passing, over one with nothing recorded."""
    report = {}
    for topic in ("lens", "attention", "attribution"):
        session, plain = started(loaded, 200), started(loaded, 200)
        run(session, "token 2")
        run(plain, "token 2")
        ratios = []
        for pair in range(options.pairs):
            ask(session, topic)
            sides = {
                "recorded": partial(run, session, "token"),
                "plain": partial(run, plain, "token"),
            }
            times = interleaved(sides, loaded, swap=bool(pair % 2))
            ratios.append(times["recorded"] / times["plain"])
        session.close()
        plain.close()
        report[topic] = quartiles(ratios)
        print(f"  {topic}: {report[topic]}", file=sys.stderr)
    return report


def prompted(loaded: LoadedModel, text: str) -> Debugger:
    """A session with a prompt of its own."""
    return Debugger(
        Generation(loaded, encode_prompt(loaded.tokenizer, text), GenerationSettings(max_new_tokens=4, greedy=True))
    )


def ask(session: Debugger, topic: str, arguments: str = "") -> Any:
    """What `info TOPIC` answers."""
    return TOPICS[topic].ask(session.inspector, arguments)


def whole_forward(session: Debugger) -> None:
    """The present token's forward from beginning to end, with nothing watched on the way."""
    session.replay.run_token(session.stop.token, lambda _: False, ())


def milliseconds(loaded: LoadedModel, function: Callable[[], Any]) -> float:
    """What a call takes."""
    begun = time.perf_counter()
    function()
    if loaded.model.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) * 1e3


def interleaved(sides: Mapping[str, Callable[[], Any]], loaded: LoadedModel, *, swap: bool) -> dict[str, float]:
    """Milliseconds of each side, one after the other."""
    names = list(sides)
    return {name: milliseconds(loaded, sides[name]) for name in (reversed(names) if swap else names)}


MEASUREMENTS = {"lens": lens, "attention": attention, "recording": recorder}

if __name__ == "__main__":
    main()
