"""What control costs: conditions, going back, and the memory for it.

    python benchmarks/control.py [MODEL] [--device cpu] [--dtype float32]

Writes one JSON object to stdout; progress goes to stderr. Pairs of runs are interleaved and compared within the pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.loading import load
from llmdbg.models.spec import LoadedModel, ModelSpec
from llmdbg.models.tokens import encode_prompt

PROMPT = "Can you write an email explaining what an LLM is?"
TOKENS = 64

Measurement = Callable[[LoadedModel, argparse.Namespace], Mapping[str, Any]]


def main() -> None:
    """Measure everything."""
    measure_all(__doc__, MEASUREMENTS, pairs=9)


def measure_all(about: str | None, measurements: Mapping[str, Measurement], *, pairs: int) -> None:
    """Read the options, load the model, and write what is measured."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", nargs="?", default="smollm2")
    options.add_argument("--device", default="auto")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--random-weights", action="store_true")
    options.add_argument("--pairs", type=int, default=pairs)
    options.add_argument("--back", type=int, default=500, help="how many tokens to go back")
    options.add_argument("--only", choices=sorted(measurements), action="append")
    chosen = options.parse_args()
    transformers.logging.set_verbosity_error()
    loaded = load(
        ModelSpec(chosen.model, device=chosen.device, dtype=chosen.dtype, random_weights=chosen.random_weights)
    )
    report: dict[str, Any] = {}
    for name, measure in measurements.items():
        if chosen.only is None or name in chosen.only:
            print(f"{name} …", file=sys.stderr)
            report[name] = measure(loaded, chosen)
    print(json.dumps(report, indent=2))


def conditions(loaded: LoadedModel, options: argparse.Namespace) -> dict[str, Any]:
    """`continue` with one breakpoint with a condition on every layer, over an untouched `generate()`."""
    report = {}
    for text in ("norm > 1e9", "nan or inf", "norm > 1e9 and layer >= 15"):
        ratios = []
        for pair in range(options.pairs):
            if pair % 2:
                plain, ours = untouched(loaded), with_break(loaded, f"break * if {text}")
            else:
                ours, plain = with_break(loaded, f"break * if {text}"), untouched(loaded)
            ratios.append(ours / plain)
        report[text] = quartiles(ratios)
        print(f"  {text}: {report[text]}", file=sys.stderr)
    return report


def going_back(loaded: LoadedModel, options: argparse.Namespace) -> dict[str, Any]:
    """`reverse-step` over one forward of that token, and `goto` far back over one decode step, in milliseconds."""
    with torch.inference_mode():
        session = started(loaded, options.back + 20)
        run(session, f"token {options.back + 10}")
        decode = [timed(session, "token") for _ in range(8)]
        layers = len(session.debuggee.anatomy.layers())
        steps = []
        for layer in range(1, layers, max(1, layers // 10)):
            at = session.stop.token
            run(session, f"goto {layer}@{at}")
            forward = statistics.median(timed(session, f"goto sample@{at}") for _ in range(3))
            run(session, f"goto {layer}@{at}")
            steps.append(timed(session, "reverse-step") / forward)
        here = session.stop.token
        jumps = []
        for back in (options.back, options.back - 1, options.back - 2, options.back - 3, options.back - 4):
            jumps.append(timed(session, f"goto sample@{here - back}"))
            run(session, f"goto sample@{here}")
        session.close()
    step = statistics.median(decode)
    return {
        "decode_step_ms": round(step, 2),
        "reverse_step_over_forward": quartiles(steps),
        f"goto_{options.back}_back_over_decode_step": quartiles([jump / step for jump in jumps]),
    }


def memory(loaded: LoadedModel, options: argparse.Namespace) -> dict[str, float]:
    """Bytes a token that going back keeps: going forward only, and after having gone back and forth."""
    session = started(loaded, 120)
    run(session, "token 60")
    first = session.debuggee.timeline.bytes
    run(session, "token 50")
    forward = (session.debuggee.timeline.bytes - first) / 50
    run(session, "rt 30")
    run(session, "token 30")
    after = session.debuggee.timeline.bytes / (len(session.debuggee.prompt.ids) + 110)
    session.close()
    return {"forward_bytes_a_token": round(forward), "after_going_back_bytes_a_token": round(after)}


def started(loaded: LoadedModel, tokens: int) -> Debugger:
    """A session that goes on for as long as asked, whatever the model would end."""
    loaded.model.generation_config.eos_token_id = None
    prompt = encode_prompt(loaded.tokenizer, PROMPT, chat=bool(getattr(loaded.tokenizer, "chat_template", None)))
    return Debugger(Generation(loaded, prompt, GenerationSettings(max_new_tokens=tokens, greedy=True)))


def run(session: Debugger, line: str) -> None:
    """One command."""
    COMMANDS.run(session, line)


def timed(session: Debugger, line: str) -> float:
    """Milliseconds of one command."""
    begun = time.perf_counter()
    run(session, line)
    return (time.perf_counter() - begun) * 1e3


def with_break(loaded: LoadedModel, line: str) -> float:
    """Seconds of `continue` over the whole run."""
    session = started(loaded, TOKENS)
    run(session, line)
    begun = time.perf_counter()
    run(session, "continue")
    seconds = time.perf_counter() - begun
    session.close()
    return seconds


def untouched(loaded: LoadedModel) -> float:
    """Seconds of `generate()` by itself."""
    prompt = encode_prompt(loaded.tokenizer, PROMPT, chat=bool(getattr(loaded.tokenizer, "chat_template", None)))
    ids = torch.tensor([prompt.ids], device=loaded.model.device)
    loaded.model.generation_config.eos_token_id = None
    begun = time.perf_counter()
    loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
    if ids.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def quartiles(values: list[float]) -> list[float]:
    """The first quartile, the median and the third."""
    return [round(value, 3) for value in statistics.quantiles(values, n=4)]


MEASUREMENTS = {"conditions": conditions, "going_back": going_back, "memory": memory}

if __name__ == "__main__":
    main()
