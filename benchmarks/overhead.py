"""What llmdbg costs: generation under it against an untouched `generate()`, and one stop against a bare hook.

Runs are interleaved (a, b, a, b, …) because machines drift, and what counts is the median of the ratios within a pair.

    python benchmarks/overhead.py                        the demo model, and two tiny 32-layer ones for the stop
    python benchmarks/overhead.py --random-weights CONFIG_FOLDER --device cuda --dtype bfloat16

Writes one JSON object to stdout; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tiny import tiny_llama, toy
from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent
from llmdbg.models.anatomy import dissect
from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec
from llmdbg.models.tokens import encode_prompt
from tests.engine.runs import generation

PROMPT = "Can you write an email explaining what an LLM is?"
_MICROSECONDS = 1e6


def main() -> None:
    """Measure what was asked for."""
    options = arguments()
    if options.memory_of:
        print(json.dumps(peak_of(options)))
        return
    if options.only_stop:
        print(json.dumps(cost_of_stops(options.pairs), indent=2))
        return
    report = compare_generation(options)
    gc.collect()
    report["stop"] = cost_of_stops(options.pairs)
    if not options.skip_memory:
        report["peak_memory"] = compare_memory()
    report["help_seconds"] = time_of_help(options.pairs)
    print(json.dumps(report, indent=2))


def compare_generation(options: argparse.Namespace) -> dict[str, Any]:
    """Whole generations: nothing armed, and the norm of every layer logged, each against `generate()`."""
    model, prompt, report = prepared(options, PROMPT)
    settings = GenerationSettings(max_new_tokens=options.tokens, greedy=True)
    model.generation_config.eos_token_id = None  # every run has the same length

    def untouched() -> None:
        untouched_run(model, prompt, settings)

    for name, run in (("nothing_armed", nothing_armed), ("every_layer_traced", every_layer_traced)):
        report[name] = compare(name, untouched, partial(run, model, prompt, settings), options.pairs)
    return report


def prepared(options: argparse.Namespace, text: str) -> tuple[Any, tuple[int, ...], dict[str, Any]]:
    """The model and the prompt's ids, and what the report says about them."""
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    loaded = load(spec_of(options))
    vocabulary = loaded.model.get_input_embeddings().weight.shape[0]
    prompt = encode_prompt(loaded.tokenizer, text, vocabulary_size=vocabulary).ids
    about = {
        "machine": machine(loaded.model.device),
        "model": loaded.name,
        "dtype": loaded.dtype,
        "attention": loaded.attn,
        "tokens": options.tokens,
        "pairs": options.pairs,
    }
    return loaded.model, prompt, about


def arguments() -> argparse.Namespace:
    """The options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", nargs="?", default="smollm2")
    options.add_argument("--random-weights", action="store_true")
    options.add_argument("--device", default="auto")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--tokens", type=int, default=64)
    options.add_argument("--pairs", type=int, default=15)
    options.add_argument("--skip-memory", action="store_true", help="leave out the two processes that measure memory")
    options.add_argument("--only-stop", action="store_true", help="measure the cost of a stop and nothing else")
    options.add_argument("--memory-of", choices=("generate", "llmdbg"), help=argparse.SUPPRESS)
    return options.parse_args()


def spec_of(options: argparse.Namespace) -> ModelSpec:
    """The model the options name."""
    return ModelSpec(options.model, dtype=options.dtype, device=options.device, random_weights=options.random_weights)


def machine(device: torch.device) -> str:
    """The machine in words."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"{where}, {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"


def untouched_run(model: Any, prompt: tuple[int, ...], settings: GenerationSettings) -> None:
    """`generate()` by itself."""
    transformers.set_seed(settings.seed)
    ids = torch.tensor([prompt], device=model.device)
    model.generate(ids, attention_mask=torch.ones_like(ids), **settings.generate_arguments())


def nothing_armed(model: Any, prompt: tuple[int, ...], settings: GenerationSettings) -> None:
    """The engine, with nothing armed."""
    for _ in generation(model, prompt, settings).events():
        pass


def every_layer_traced(model: Any, prompt: tuple[int, ...], settings: GenerationSettings) -> None:
    """`trace` on every layer and `continue`: each layer's norm is logged at every token."""
    debugger = Debugger(generation(model, prompt, settings))
    last = len(debugger.debuggee.anatomy.layers()) - 1
    COMMANDS.run(debugger, f"trace 0-{last} norm")
    COMMANDS.run(debugger, "continue")


def timed(run: Callable[[], object]) -> float:
    """Seconds one run takes, the device's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(name: str, first: Callable[[], None], second: Callable[[], None], pairs: int) -> dict[str, float]:
    """Interleave two runs; the order within a pair alternates. Returns the median of the ratios and of each side."""
    first()
    second()
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            b, a = timed(second), timed(first)
        else:
            a, b = timed(first), timed(second)
        times.append((a, b))
        print(f"{name}: pair {pair + 1} of {pairs}: {b / a:.4f}", file=sys.stderr)
    ratios = sorted(b / a for a, b in times)
    return {
        "ratio": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(each, 4) for each in statistics.quantiles(ratios, n=4)],  # type: ignore[dict-item]
        "untouched_seconds": round(statistics.median(a for a, _ in times), 4),
        "llmdbg_seconds": round(statistics.median(b for _, b in times), 4),
    }


def cost_of_stops(rounds: int) -> dict[str, Any]:
    """What a stop costs where everything it needs is in the processor's cache, and between layers that evict it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {"toy": cost_of_a_stop(toy(), rounds), "tiny_llama": cost_of_a_stop(tiny_llama(), rounds)}
    finally:
        torch.set_num_threads(threads)


def cost_of_a_stop(model: Any, rounds: int, tokens: int = 96) -> dict[str, Any]:
    """What a stop at each layer costs over a bare pre-hook and hook there, in microseconds a layer.

    Within one run tokens take turns: nothing on the layers, bare hooks, stops. So the three that are compared lie
    milliseconds apart, and what the machine does meanwhile meets all of them.
    """
    anatomy, settings = dissect(model), GenerationSettings(max_new_tokens=3 * tokens + 1, greedy=True)
    layers = [stage.address for stage in anatomy.layers()]

    def bare_hooks() -> list[Any]:
        modules = [anatomy.modules[address] for address in layers]
        before = [module.register_forward_pre_hook(lambda module, args: None) for module in modules]
        return before + [
            module.register_forward_hook(lambda module, args, kwargs, out: None, with_kwargs=True) for module in modules
        ]

    stops, hooks = [], []
    for turn in range(rounds):
        engine = generation(model, (1, 2, 3), settings, anatomy=anatomy)
        engine.stops.arm(["sample"])
        stages = engine.events()
        next(stages), next(stages)
        for _ in range(tokens):
            nothing = time_of_token(stages)
            handles = bare_hooks()
            hooked = time_of_token(stages)
            for handle in handles:
                handle.remove()
            engine.stops.arm([*layers, "sample"])
            stopped = time_of_token(stages)
            engine.stops.arm(["sample"])
            hooks.append((hooked - nothing) / len(layers) * _MICROSECONDS)
            stops.append((stopped - hooked) / len(layers) * _MICROSECONDS)
        stages.close()
        print(f"a stop: round {turn + 1} of {rounds}: {statistics.median(stops[-tokens:]):.2f} µs", file=sys.stderr)
    return {
        "microseconds_over_a_bare_hook": round(statistics.median(stops), 2),
        "quartiles": [round(each, 2) for each in statistics.quantiles(stops, n=4)],
        "bare_hook_microseconds": round(statistics.median(hooks), 2),
    }


def time_of_token(stages: Iterator[StageEvent]) -> float:
    """Seconds to the next stop at `sample`, through whatever stops lie before it."""
    started = time.perf_counter()
    for event in stages:
        if event.chosen is not None:
            break
    return time.perf_counter() - started


def compare_memory() -> dict[str, Any]:
    """Peak memory of a process that runs `generate()` against one that runs it under llmdbg, in bytes."""
    peaks: dict[str, list[int]] = {"generate": [], "llmdbg": []}
    for _ in range(3):
        for side, found in peaks.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout))
            print(f"peak memory, {side}: {found[-1]:,}", file=sys.stderr)
    generate, ours = (statistics.median(peaks[side]) for side in ("generate", "llmdbg"))
    return {"ratio": round(ours / generate, 4), "generate_bytes": generate, "llmdbg_bytes": ours}


def peak_of(options: argparse.Namespace) -> int:
    """Run one side alone. Returns the most memory this process, or its GPU, has held."""
    model, prompt, _ = prepared(options, PROMPT * 40)
    settings = GenerationSettings(max_new_tokens=16, greedy=True)
    run = untouched_run if options.memory_of == "generate" else nothing_armed
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    run(model, prompt, settings)
    if model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def time_of_help(pairs: int) -> dict[str, float]:
    """Seconds `llmdbg --help` and `--version` take, a bare Python's start included."""
    seconds = {}
    for option in ("--help", "--version"):
        command = [sys.executable, "-m", "llmdbg", option]
        runs = [timed(partial(subprocess.run, command, capture_output=True, check=True)) for _ in range(pairs)]
        seconds[option] = round(statistics.median(runs), 4)
    return seconds


if __name__ == "__main__":
    main()
