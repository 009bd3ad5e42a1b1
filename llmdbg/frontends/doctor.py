"""`llmdbg doctor`: what is installed, where the files are, which settings apply, and what the screen would use here."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import byte_count
from llmdbg.frontends.log import log_path, record
from llmdbg.frontends.output import Parser, stdout_is_a_terminal, write_json, write_lines
from llmdbg.frontends.sanitize import sanitize
from llmdbg.version import __version__

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.actions import Action

_PACKAGES = ("torch", "transformers", "accelerate", "greenlet", "textual")


@dataclass(frozen=True, slots=True)
class AvailableDevice:
    """A device that a model can run on."""

    name: str
    """Its name for --device."""
    model: str
    """The product's name, or for the CPU the number of threads."""
    free: int
    """Free memory in bytes."""
    total: int
    """All of its memory in bytes."""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """Everything the doctor found."""

    versions: dict[str, str | None]
    """By package; None for one that is not installed."""
    devices: tuple[AvailableDevice, ...]
    """Every device that torch finds; empty if it cannot be asked."""
    demo_model: str
    """Whether the demo model is installed, for people."""
    files: dict[str, str]
    """Paths by what they hold: `config`, `log`, `cache`, `sessions`, `history`."""
    settings: dict[str, Any]
    """The settings in effect."""
    terminal: dict[str, Any]
    """What is known about the terminal, and what the screen would use."""
    keys: dict[str, list[str]]
    """The keys in effect by action, as people type them."""
    problems: tuple[str, ...]
    """What is wrong, a sentence each."""


def doctor(arguments: Sequence[str]) -> int:
    """Print the report, or with --config-example a configuration file. Returns the exit code: 1 if anything is wrong.

    Raises UsageError for unknown arguments.
    """
    options = _parser().parse_args(arguments)
    if options.config_example:
        from llmdbg.frontends.tui.input.preferences import example

        write_lines(example(_actions()).removesuffix("\n").split("\n"))
        return 0
    report = examine()
    if options.json:
        write_json(asdict(report))
    else:
        write_lines(lines(report))
    return 1 if report.problems else 0


def _parser() -> Parser:
    options = Parser(
        prog="llmdbg doctor",
        description="Show what is installed, set and used here. Exit code 1 if something is wrong.",
        allow_abbrev=False,
    )
    options.add_argument("--json", action="store_true", help="print the report as one JSON object")
    options.add_argument("--config-example", action="store_true", help="print a configuration file with every setting")
    return options


def examine() -> DoctorReport:
    """Collect the report."""
    from llmdbg.frontends.tui.input.key_names import bound, takes_keys, typed_key
    from llmdbg.frontends.tui.input.preferences import load_preferences
    from llmdbg.frontends.tui.terminal.look import environment_as_started, look, theme_for

    preferences = load_preferences(actions=(actions := _actions()))
    keyed, key_problems = bound(actions, preferences.keys)
    seen = look(environment_as_started(), preferences)
    columns, rows = shutil.get_terminal_size()
    devices, trouble = _devices()
    return DoctorReport(
        versions={
            "llmdbg": __version__,
            "python": platform.python_version(),
            **{each: _version(each) for each in _PACKAGES},
        },
        devices=devices,
        demo_model=_demo_model(),
        files={name: str(path) for name, path in _files().items()},
        settings={
            "theme": preferences.theme,
            "colors": preferences.colors,
            "glyphs": preferences.glyphs,
            "layout": asdict(preferences.layout),
        },
        terminal={
            **asdict(seen),
            "theme": theme_for(seen, preferences),
            "is_terminal": stdout_is_a_terminal(),
            "columns": columns,
            "rows": rows,
        },
        keys={action.name: [typed_key(key) for key in action.keys] for action in keyed if takes_keys(action)},
        problems=(*preferences.problems, *key_problems, *trouble),
    )


def _actions() -> tuple[Action, ...]:
    from llmdbg.frontends.tui.input.actions import keyed_actions

    return keyed_actions()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> tuple[tuple[AvailableDevice, ...], tuple[str, ...]]:
    """The devices, and what kept them from being found: a broken torch is a reason to run the doctor."""
    try:
        import psutil
        import torch

        from llmdbg.models.memory import available

        cpu = torch.device("cpu")
        processor = f"{torch.get_num_threads()} threads"
        found = [AvailableDevice("cpu", processor, available(cpu), int(psutil.virtual_memory().total))]
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(AvailableDevice(f"cuda:{index}", torch.cuda.get_device_name(index), free, total))
    except Exception as error:
        record(error)
        message = sanitize(" ".join(str(error).split()))
        return (), (f"the devices cannot be examined: {type(error).__name__}: {message} (more in {log_path()})",)
    return tuple(found), ()


def _demo_model() -> str:
    from llmdbg.models.demo import INSTALL, NAME, cache_folder, demo_file

    if demo_file() is None:
        return f"not installed: {INSTALL}"
    converted = any(cache_folder().glob(f"{NAME}-*/model.safetensors"))
    return f"{NAME}, {'ready' if converted else 'installed; converted when it is first opened'}"


def _files() -> dict[str, Path]:
    from llmdbg.debugger.persistence.store import sessions_folder
    from llmdbg.frontends.tui.input.history import history_path
    from llmdbg.frontends.tui.input.preferences import preferences_path
    from llmdbg.models.demo import cache_folder

    return {
        "config": preferences_path(),
        "log": log_path(),
        "cache": cache_folder(),
        "sessions": sessions_folder(),
        "history": history_path(),
    }


def lines(report: DoctorReport) -> list[str]:
    """The report as lines for people; problems come first."""
    problems = _section("problems", (("-", each) for each in report.problems) if report.problems else (("none", ""),))
    return [
        *(problems if report.problems else ()),
        *_section("versions", ((name, each or "not installed") for name, each in report.versions.items())),
        *_section("devices", ((each.name, _device_text(each)) for each in report.devices)),
        *_section("demo model", (("smollm2", report.demo_model),)),
        *_section("files", ((name, f"{path}{_absent(path)}") for name, path in report.files.items())),
        *_section("settings", ((name, _setting_text(value)) for name, value in report.settings.items())),
        *_section("this terminal", _terminal_texts(report.terminal)),
        *_section("keys", ((name, "  ".join(keys) or "none") for name, keys in report.keys.items())),
        *(() if report.problems else problems),
    ]


_LABEL = 16


def _section(title: str, entries: Any) -> list[str]:
    return [
        title,
        *(f"  {name:{1 if name == '-' else _LABEL}} {sanitize(text)}".rstrip() for name, text in entries),
        "",
    ]


def _device_text(device: AvailableDevice) -> str:
    return f"{device.model}, {byte_count(device.free)} of {byte_count(device.total)} free"


def _absent(path: str) -> str:
    return "" if Path(path).exists() else "  (not there yet)"


def _setting_text(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    chosen = [f"{name} {size}" for name, size in value.items() if size is not None]
    return ", ".join(chosen) or "auto"


def _terminal_texts(terminal: dict[str, Any]) -> list[tuple[str, str]]:
    size = f"{terminal['columns']} x {terminal['rows']}"
    return [
        ("TERM", f"{terminal['term'] or 'not set'}{_inside(terminal['multiplexer'])}"),
        ("size", size if terminal["is_terminal"] else f"{size} (the output is not a terminal)"),
        ("colors", terminal["colors"]),
        ("glyphs", "unicode" if terminal["unicode"] else "ascii"),
        ("background", "light" if terminal["light"] else "dark"),
        ("theme", terminal["theme"]),
    ]


def _inside(multiplexer: str | None) -> str:
    return "" if multiplexer is None else f", inside {multiplexer}"
