"""The command line: parses the arguments and picks the front end. Nothing heavy is imported before that."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, OutputError, UsageError
from llmdbg.frontends import output
from llmdbg.frontends.arguments import (
    add_commands,
    add_detachable,
    add_run,
    check_detachable,
    check_tour,
    generation_settings,
    is_chat,
    model_spec,
    prompt_text,
    reads_stdin,
)
from llmdbg.frontends.opening import check_left_pad
from llmdbg.models.launched_rank import launched_rank
from llmdbg.models.tokenizer_calls import is_panic
from llmdbg.version import __version__

if TYPE_CHECKING:
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.models.spec import ModelSpec

_EPILOG = """\
examples:
  llmdbg smollm2 --chat -p "What is a token?"              step through it on the screen
  llmdbg smollm2 -p "Once upon a time" -n 5 --batch        trace every layer as text
  llmdbg FOLDER -p "Hi" --batch --json -b 12 -ex continue  stop after layer 12, as JSON Lines
  llmdbg --tour                                            from a prompt to its second token, explained step by step
  llmdbg FOLDER --tour mistral                             the same through a Mistral model, from its files on
  llmdbg --resume                                          continue an interrupted session where it was
  llmdbg FOLDER -p "Hi" --detachable                       leave the model loaded when the link drops or you detach
  llmdbg attach                                            take such an engine up again
  llmdbg run generate.py                                   stop in the forwards of your own program
  llmdbg diff smollm2 "smollm2 --dtype bfloat16" -p Hi     find the first stage that differs between two runs
  llmdbg record smollm2 -p Hi -n 8 -o RUN                  what every stage returned, in a folder
  llmdbg replay RUN                                        step through a recording, without the model
  llmdbg import DUMP -o RUN                                a dump of another tool as such a folder
  llmdbg dap                                               debug in VS Code or nvim-dap, which start it
  llmdbg serve --json                                      the commands for programs, in JSON Lines
  llmdbg mcp                                               the commands as tools, for an agent
  llmdbg doctor                                            show what is installed, set and used here
"""


_SUBCOMMANDS = ("attach", "doctor", "diff", "record", "replay", "import", "run", "dap", "serve", "mcp")
_SAVED = (
    *("model", "prompt", "prompt_file", "chat", "system", "left_pad"),
    *("max_new_tokens", "greedy", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed"),
    *("engine", "dtype", "device", "attn", "quantize", "random_weights", "allow_missing"),
)


def parser() -> output.Parser:
    """The argument parser behind `llmdbg --help`."""
    options = output.Parser(
        prog="llmdbg",
        description="A debugger for language models: stops a real model's forward at every stage of generation.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument(
        "--version", action=output.Version, nargs=0, const=f"llmdbg {__version__}", help="show the version and exit"
    )
    add_run(options)
    _add_debugging(options.add_argument_group("debugging"))
    return options


def _add_debugging(group: argparse._ArgumentGroup) -> None:
    add_commands(group, stdin=True)
    group.add_argument(
        "--resume", nargs="?", const="", metavar="ID", help="continue a saved session; without ID, the last one"
    )
    group.add_argument(
        "--tour",
        nargs="?",
        const="model",
        metavar="ROUTE",
        help="explain the way from a prompt to its second token; ROUTE is model (the default) or mistral",
    )
    add_detachable(group)
    group.add_argument("--batch", action="store_true", help="no screen; without commands, trace to the end")
    group.add_argument("--web", type=int, metavar="PORT", help="show the screen as a web page, on this machine only")
    group.add_argument("--json", action="store_true", help="with --batch: one JSON object per line")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run llmdbg. Returns the exit code: 0 done, 1 failed while running, 2 bad usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    json_lines = "--json" in _our_own(arguments)
    ranks: Ranks | None = None
    try:
        output.require_stdout()
        ranks = _ranks(arguments)
        return _do(arguments, ranks)
    except LlmdbgError as error:
        if ranks is not None:
            ranks.end(f"{type(error).__name__}: {error}")
        return _report(error, json_lines=json_lines)
    except KeyboardInterrupt:
        if ranks is None:
            output.complain("interrupted")
        else:
            ranks.interrupted()
        _ends_with_a_code_of_its_own()
        return 130
    except BrokenPipeError:
        # The reader of our stdout has gone, so nothing can be reported.
        output.stop_writing()
        return 1
    except BaseException as error:  # a bug of ours: no traceback on the terminal, since it may contain untrusted text
        if ranks is not None:
            ranks.end("" if isinstance(error, SystemExit) and not error.code else f"{type(error).__name__}: {error}")
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        return _report_mistake(error, json_lines=json_lines)


def _do(arguments: Sequence[str], ranks: Ranks | None) -> int:
    """What the arguments ask for, in this process; `ranks` if it is one of several. Returns the exit code."""
    subcommand = _subcommand(arguments, ranks)
    if ranks is not None:
        ranks.check(arguments, subcommand=subcommand is not None)
    if subcommand:
        code = subcommand(arguments[1:])
    else:
        options = parser().parse_args(arguments)
        options.ranks = ranks
        code = _run(options) if options.web is None else _serve(options, arguments)
    return code if ranks is None else ranks.end(code=code)


def _ranks(arguments: Sequence[str]) -> Ranks | None:
    """The ranks of a torchrun, if this process is one of several."""
    if (place := launched_rank()) is None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return None
    from llmdbg.frontends.detached.on_ranks import begin

    return begin(place, arguments)


def _ends_with_a_code_of_its_own() -> None:
    """Have Python end with the code that it is given, though Ctrl-C came.

    CPython notes a KeyboardInterrupt that leaves the code of a string, as when a dataclass is made, and kills itself by
    that signal in the end, even if the exception is caught further out. It forgets it as it runs the next string.
    """
    exec("")


def _run(options: argparse.Namespace) -> int:
    if options.json and not options.batch:
        raise UsageError("--json goes with --batch: add --batch")
    check_detachable(options)
    check_tour(options)
    if options.resume is not None or _wants_the_interrupted_session(options):
        return _resume(options)
    check_left_pad(options.left_pad)
    settings = generation_settings(options)
    spec = model_spec(options)
    if options.tour and options.prompt is None and options.prompt_file is None:
        _give_tour_a_prompt(options)
    return _launch(options, spec, settings, prompt_text(options), chat=is_chat(options), system=options.system)


def _serve(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Serve a page whose visitors run the other arguments. What can be refused is refused now, on this terminal."""
    if options.batch:
        raise UsageError("--web shows the screen, and --batch has none: leave one out")
    if options.detachable:
        raise UsageError("--web ends with its page, and --detachable outlives a terminal: leave one out")
    if options.resume is None:
        check_left_pad(options.left_pad)
        generation_settings(options)
        if not options.tour:
            prompt_text(options)
    from llmdbg.frontends.web import serve

    return serve(arguments, options.web)


def _give_tour_a_prompt(options: argparse.Namespace) -> None:
    from llmdbg.explain.tour_routes import tour_prompt

    options.prompt, chat = tour_prompt(options.model)
    options.chat = options.chat or chat


def _resume(options: argparse.Namespace) -> int:
    """Continue a saved session: the one named, or else the last one that was interrupted or quit."""
    from llmdbg.debugger.persistence.store import SessionStore

    follows = options.ranks is not None and not options.ranks.place.owns_terminal
    if not (options.batch or follows or (options.ranks and options.ranks.link) or output.has_a_screen()):
        raise UsageError("the screen needs a terminal: add --batch to run without one")
    _refuse_what_is_saved(options)
    store = SessionStore()
    latest = None if options.resume else store.latest()
    if not options.resume and latest is None:
        raise UsageError("there is no saved session to resume: start one with a MODEL and -p TEXT")
    if not options.batch and options.ranks is not None and latest is not None:
        raise UsageError(f"every rank has to resume the same session: name it, as in --resume {latest.id}")
    id = options.resume or (latest.id if latest is not None else "")
    stored = store.load(id)
    spec = stored.spec_to_load(trust_remote_code=options.trust_remote_code, allow_pickle=options.allow_pickle)
    # Batch mode saves nothing, so the session is only read.
    saved = stored if options.batch or follows else store.resume(id)
    return _launch(options, spec, saved.settings, saved.prompt, chat=saved.chat, system=saved.system, resumed=saved)


def _refuse_what_is_saved(options: argparse.Namespace) -> None:
    defaults = parser()
    given = [name for name in _SAVED if getattr(options, name) != defaults.get_default(name)]
    if given:
        names = ", ".join("MODEL" if name == "model" else f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--resume takes model, prompt and settings from the saved session: leave out {names}")


def _launch(
    options: argparse.Namespace,
    spec: ModelSpec,
    settings: GenerationSettings,
    prompt: str,
    *,
    chat: bool,
    system: str | None,
    resumed: SavedSession | None = None,
) -> int:
    left_pad = options.left_pad if resumed is None else resumed.left_pad
    if options.tour and options.batch:
        from llmdbg.frontends.tour import launch as launch_tour

        return launch_tour(
            spec, prompt, settings, options.tour, chat=chat, system=system, json=options.json, left_pad=left_pad
        )
    if options.batch:
        from llmdbg.frontends.batch.launch import launch
        from llmdbg.frontends.batch.run import FromStdin

        commands = (*(f"break {address}" for address in options.breakpoints), *options.commands)
        return launch(
            spec,
            prompt,
            settings,
            commands,
            chat=chat,
            system=system,
            json=options.json,
            resumed=resumed,
            left_pad=left_pad,
            ranks=options.ranks,
            stdin=FromStdin(options.keep_going) if reads_stdin(options) else None,
        )
    from llmdbg.frontends.launch_request import LaunchRequest

    breakpoints, commands, tour = tuple(options.breakpoints), tuple(options.commands), options.tour or ""
    request = LaunchRequest(
        spec, prompt, settings, chat, system, breakpoints, commands, resumed, left_pad, tour, ranks=options.ranks
    )
    return _show(request, options)


def _show(request: LaunchRequest, options: argparse.Namespace) -> int:
    """Show the screen; on a rank that has none, do what the one that has it asks for."""
    if request.ranks is not None and not request.ranks.place.owns_terminal:
        from llmdbg.frontends.tui.worker.following import follow

        return follow(request)
    if request.ranks is not None:
        request.ranks.take_terminal()
    if not output.has_a_screen():
        raise UsageError("the screen needs a terminal: add --batch to run without one, or --web PORT for a page")
    from llmdbg.frontends.detached.wanted import stand_if_wanted
    from llmdbg.frontends.tui.start import run

    link = stand_if_wanted(options.detachable) if request.ranks is None else request.ranks.link
    return link if isinstance(link, int) else run(request, link)


def _wants_the_interrupted_session(options: argparse.Namespace) -> bool:
    """Offer an interrupted session to a user who gave no model and no prompt."""
    asked = (options.model, options.prompt, options.prompt_file)
    elsewhere = options.batch or options.tour or options.ranks is not None
    if elsewhere or any(each is not None for each in asked) or not output.is_on_a_terminal():
        return False
    from llmdbg.debugger.persistence.model import describe
    from llmdbg.debugger.persistence.store import SessionStore

    try:
        survey = SessionStore().survey()
    except LlmdbgError as error:
        output.complain(str(error))
        return False
    for note in survey.notes:
        output.complain(note)
    interrupted = survey.interrupted
    if not interrupted:
        return False
    output.complain(f"a session was interrupted: {describe(interrupted[0])}")
    answer = output.ask("resume it? [Y/n] ")
    return answer is not None and answer.strip().lower() in ("", "y", "yes")


def _subcommand(arguments: Sequence[str], ranks: Ranks | None) -> Callable[[Sequence[str]], int] | None:
    """What the first word asks for, unless a model folder has that name; None for a model."""
    first = arguments[0] if arguments else ""
    if first not in _SUBCOMMANDS or Path(first, "config.json").exists():
        return None
    if first == "attach":
        from llmdbg.frontends.detached.command import attach

        return attach
    if first == "doctor":
        from llmdbg.frontends.doctor import doctor

        return doctor
    if first == "record":
        from llmdbg.frontends.record import record

        return record
    if first == "replay":
        from llmdbg.frontends.replay import replay

        return replay
    if first == "run":
        from llmdbg.frontends.program.command import run

        return run
    if first == "dap":
        from llmdbg.frontends.dap.command import dap

        return dap
    if first in ("serve", "mcp"):
        from llmdbg.frontends.server import command

        return partial(command.serve if first == "serve" else command.mcp, ranks=ranks)
    if first == "import":
        from llmdbg.frontends.importing import import_dump

        return import_dump
    from llmdbg.frontends.diff import diff

    return diff


def _our_own(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments that are llmdbg's: those after a program that it runs are the program's own."""
    if list(arguments[:1]) != ["run"] or Path("run", "config.json").exists():
        return arguments
    from llmdbg.frontends.program.command import own_options

    return own_options(arguments[1:])


def _report(error: LlmdbgError, *, json_lines: bool) -> int:
    from llmdbg.frontends.log import record

    record(error)
    message = " ".join(str(error).split())
    if json_lines:
        from llmdbg.frontends.batch.events import error_event

        # Where stdout is what failed, stderr alone is left.
        with suppress(OutputError, BrokenPipeError):
            output.write_json(error_event(type(error).__name__, message, error))
    output.complain(message)
    return error.exit_code


def _report_mistake(error: BaseException, *, json_lines: bool) -> int:
    from llmdbg.frontends.log import log_path

    mistake = LlmdbgError(f"{type(error).__name__}: {error} (a bug in llmdbg; its traceback is in {log_path()})")
    mistake.__cause__ = error
    return _report(mistake, json_lines=json_lines)
