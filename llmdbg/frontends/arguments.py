"""The options that say what to run: model, prompt and generation. Every command line that runs one has them."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.limits import MOST_COMMANDS_BYTES
from llmdbg.errors import PromptError, SettingsError, UsageError
from llmdbg.files import read_regular
from llmdbg.models.spec import ATTENTION, DTYPES, ENGINES, QUANTIZATION, ModelSpec
from llmdbg.models.tokens import MOST_TEXT_BYTES, check_text

if TYPE_CHECKING:
    from llmdbg.engine.settings import GenerationSettings


def add_run(options: argparse.ArgumentParser) -> None:
    """Add MODEL, and the options of the prompt, the generation and the loading."""
    options.add_argument(
        "model", nargs="?", metavar="MODEL", help="a Hub name, a folder, a .gguf file, or smollm2 (the default)"
    )
    add_run_options(options)


def add_run_options(options: argparse.ArgumentParser) -> None:
    """Add the options of the prompt, the generation and the loading."""
    _add_prompt(options.add_argument_group("prompt"))
    _add_generation(options.add_argument_group("generation", "the same settings and defaults as generate()"))
    add_loading(options.add_argument_group("loading"))


def _add_prompt(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-p", "--prompt", metavar="TEXT", help="what the model reads")
    group.add_argument("--prompt-file", metavar="FILE", type=Path, help="read the prompt from a UTF-8 file")
    group.add_argument("--chat", action="store_true", help="put the prompt through the model's chat template")
    group.add_argument("--system", metavar="TEXT", help="a system message for the chat template (implies --chat)")
    group.add_argument(
        "--left-pad", type=int, metavar="N", default=0, help="put N masked pad tokens first, as in a batch (default 0)"
    )


def _add_generation(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-n", "--max-new-tokens", type=int, metavar="N", help="generate at most N tokens")
    group.add_argument("--greedy", action="store_true", help="always take the likeliest token")
    group.add_argument("--temperature", type=float, metavar="X", help="divide the logits by X, and sample")
    group.add_argument("--top-k", type=int, metavar="K", help="sample among the K likeliest tokens (0: all)")
    group.add_argument("--top-p", type=float, metavar="P", help="sample among the likeliest that add up to P")
    group.add_argument(
        "--min-p", type=float, metavar="P", help="sample among those at least P times as likely as the best"
    )
    group.add_argument("--repetition-penalty", type=float, metavar="X", help="make earlier tokens less likely")
    group.add_argument("--seed", type=int, metavar="N", default=0, help="seed for sampling (default 0)")


def add_loading(group: argparse._ActionsContainer) -> None:
    """Add the options of the loading."""
    group.add_argument(
        "--engine", choices=ENGINES, default="hf", help="what runs the model: transformers (hf, the default) or vLLM"
    )
    group.add_argument("--dtype", choices=DTYPES, default="auto", help="auto is the dtype of the stored weights")
    group.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda", help="auto is the first GPU, or the CPU without one"
    )
    group.add_argument("--attn", choices=ATTENTION, help="the attention implementation")
    group.add_argument("--quantize", choices=QUANTIZATION, help="quantise the weights while loading")
    group.add_argument(
        "--random-weights", action="store_true", help="draw the weights at random; needs only the configuration"
    )
    group.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    group.add_argument(
        "--allow-pickle", action="store_true", help="load pickled weights (.bin, .pt), which can run code"
    )
    group.add_argument(
        "--allow-missing", action="store_true", help="load weights that are incomplete or do not fit, to look at them"
    )


def model_spec(options: argparse.Namespace) -> ModelSpec:
    """Which model was asked for, and how to load it."""
    return ModelSpec(
        name=options.model,
        dtype=options.dtype,
        device=options.device,
        attn=options.attn,
        quantize=options.quantize,
        random_weights=options.random_weights,
        trust_remote_code=options.trust_remote_code,
        allow_pickle=options.allow_pickle,
        allow_missing=options.allow_missing,
        engine=options.engine,
    )


def generation_settings(options: argparse.Namespace) -> GenerationSettings:
    """How tokens are chosen. Raises SettingsError, which names options where the settings have names."""
    from llmdbg.engine.settings import GenerationSettings

    names = [each.name for each in fields(GenerationSettings)]
    try:
        return GenerationSettings(**{name: getattr(options, name) for name in names})
    except SettingsError as error:
        named = re.sub(rf"\b({'|'.join(names)})\b", lambda name: f"--{name[0].replace('_', '-')}", str(error))
        raise SettingsError(named) from error


def is_chat(options: argparse.Namespace) -> bool:
    """Whether the prompt goes through the chat template."""
    return bool(options.chat or options.system is not None)


def prompt_text(options: argparse.Namespace) -> str:
    """The prompt, from the command line or its file. Raises UsageError and PromptError."""
    if options.prompt is not None and options.prompt_file is not None:
        raise UsageError("give the prompt with -p or with --prompt-file, not both")
    if options.prompt is None and options.prompt_file is None:
        raise PromptError("there is no prompt: give one with -p TEXT or --prompt-file FILE")
    text = (
        read_text(options.prompt_file, "prompt file", MOST_TEXT_BYTES)
        if options.prompt is None
        else str(options.prompt)
    )
    called = "the prompt" if options.prompt_file is None else f"the prompt ({options.prompt_file})"
    check_text(text, called=called, remedy="give some text with -p TEXT or --prompt-file FILE")
    return text


def read_text(path: Path, what: str, most: int) -> str:
    """The text of a file of at most `most` bytes; `what` names it in errors. Raises PromptError."""
    try:
        return read_regular(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"the {what} {path} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}): convert it"
        ) from error
    except OSError as error:
        raise PromptError(f"cannot read the {what} {path}: {error.strerror or error}") from error


def add_commands(group: argparse._ArgumentGroup, *, stdin: bool = False) -> None:
    """Add the options that say where to stop and what to run: `breakpoints` and `commands`, in their order.

    With `stdin`, `-x -` sets `from_stdin`: further commands are read from there.
    """
    group.add_argument(
        "-b", "--break", dest="breakpoints", action="append", default=[], metavar="ADDRESS", help="stop at a stage"
    )
    group.add_argument(
        "-ex",
        dest="commands",
        action=_Command,
        default=[],
        metavar="COMMAND",
        help="run a command at the start; may be repeated",
    )
    action, more = (_CommandFileOrStdin, "; - reads them from stdin, with --batch") if stdin else (_CommandFile, "")
    group.add_argument("-x", dest="commands", action=action, metavar="FILE", help=f"run the commands in a file{more}")
    if stdin:
        group.add_argument(
            "--keep-going",
            action="store_true",
            help="with -x -: read on after a command that fails, and exit with its code",
        )


def add_detachable(group: argparse._ArgumentGroup) -> None:
    """Add the option that asks for an engine which outlives its screen: `detachable`, None if nothing is said."""
    group.add_argument(
        "--detachable",
        action=argparse.BooleanOptionalAction,
        help="run it in a process of its own, which outlives this terminal (see `llmdbg attach --help`)",
    )


def check_detachable(options: argparse.Namespace) -> None:
    """Raise UsageError for --detachable where there is no screen to outlive."""
    for name in ("batch", "plain"):
        if options.detachable and getattr(options, name, False):
            raise UsageError(f"--{name} has no screen to outlive: leave out --detachable")


def check_tour(options: argparse.Namespace) -> None:
    """Raise UsageError for a tour that there is not, or with what does not go with it."""
    if reads_stdin(options) and options.tour is not None:
        raise UsageError("--tour with --batch runs its own commands: leave out -x -")
    if options.tour is not None:
        from llmdbg.explain.tour_routes import check_route

        check_route(options.tour)
    if options.tour and options.resume is not None:
        raise UsageError("--tour starts a run of its own: leave out --resume")
    if options.tour and options.batch and (options.breakpoints or options.commands):
        raise UsageError("--tour with --batch runs its own commands: leave out -b, -ex and -x")


class _Command(argparse.Action):
    def __call__(self, _parser: object, namespace: argparse.Namespace, value: object, _option: object = None) -> None:
        """Keep -ex and -x in the order they were given."""
        _check_nothing_follows_stdin(namespace)
        namespace.commands = [*namespace.commands, str(value)]


class _CommandFile(argparse.Action):
    def __call__(self, _parser: object, namespace: argparse.Namespace, value: object, _option: object = None) -> None:
        """Read the file now, so that a wrong name is reported before anything is loaded."""
        _check_nothing_follows_stdin(namespace)
        lines = read_text(Path(str(value)), "command file", MOST_COMMANDS_BYTES).splitlines()
        namespace.commands = [*namespace.commands, *lines]


class _CommandFileOrStdin(_CommandFile):
    def __call__(self, parser: object, namespace: argparse.Namespace, value: object, option: object = None) -> None:
        """Note that commands come from stdin, or read the file."""
        if str(value) != "-":
            super().__call__(parser, namespace, value, option)
            return
        _check_nothing_follows_stdin(namespace)
        namespace.from_stdin = True


def reads_stdin(options: argparse.Namespace) -> bool:
    """Whether commands come from stdin. Raises UsageError for what does not go with that, or only with that."""
    from_stdin = bool(getattr(options, "from_stdin", False))
    if from_stdin and not options.batch:
        raise UsageError("-x - goes with --batch: the screen needs the terminal's input itself")
    if options.keep_going and not from_stdin:
        raise UsageError("--keep-going goes with -x -, which reads commands from stdin: add it or leave this out")
    return from_stdin


def _check_nothing_follows_stdin(namespace: argparse.Namespace) -> None:
    if getattr(namespace, "from_stdin", False):
        raise UsageError("-x - reads commands to the end of stdin: put it after every other -ex and -x")
