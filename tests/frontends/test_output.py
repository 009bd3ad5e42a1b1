"""One door to the terminal: nothing else prints, and what goes through it is shown, never obeyed."""

import ast
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmdbg
from llmdbg.cli import main
from llmdbg.errors import OutputError
from llmdbg.frontends import output
from llmdbg.frontends.sanitize import harmless, json_text, sanitize
from llmdbg.frontends.tui.terminal.look import TerminalLook
from llmdbg.frontends.tui.terminal.themes import line_filters

HOSTILE = "a\x1b[31m\x9b2J\u202e\u200b\x07\x7f\udc80\u2028é"
RAW = ("Cc", "Cf", "Cs", "Zl", "Zp")
SOURCES = Path(llmdbg.__file__).parent

PRINTS = {"print", "input", "breakpoint"}
STREAMS = {"stdout", "stderr", "stdin", "__stdout__", "__stderr__", "__stdin__"}
WRITES = {"write", "writelines", "print_exc", "print_exception", "print_stack", "StreamHandler", "dup2", "showwarning"}
DOORS = {
    "frontends/output.py": "this door",
    "frontends/prompts/early_process.py": "a child without a terminal: its streams are pipes to its parent",
    "frontends/other_process.py": "a child without a terminal: its streams are pipes to its parent, or lead nowhere",
    "frontends/batch/foreign_output.py": "leads what libraries print to the log",
    "frontends/server/streams.py": "gives a protocol stdin and stdout, and leads what else is printed to the log",
    "frontends/tui/terminal/capture.py": "leads what libraries print to the log, and the screen to the terminal",
    "frontends/tui/terminal/driver.py": "the screen's door: what is drawn has been through `line_filters`",
    "engine/program/exits.py": "writes what Python writes for a program that ends with `sys.exit(TEXT)`",
    "engine/program/started.py": "flushes the streams of a program that has forked",
    "frontends/program/prompt.py": "asks whether somebody types",
    "frontends/program/surroundings.py": "gives a program its own streams",
    "frontends/program/typed_stdin.py": "gives a program the lines that are typed on the screen",
    "frontends/dap/streams.py": "leads what is printed to the log and the editor, since stdout is the protocol's",
    "frontends/detached/holder.py": "passes what an engine drew to its screens, and keys to the engine",
    "frontends/detached/relay.py": "passes what an engine drew to its terminal: it has been through `line_filters`",
    "frontends/detached/pseudo_terminal.py": "gives an engine a terminal of its own",
    "frontends/detached/starting.py": "lets go of the terminal",
    "frontends/tui/terminal/hangup.py": "wakes its own thread through a pipe",
}
FILES = {
    "debugger/user_code.py": "a stream that hands on what the user's Python prints, line by line",
    "files.py": "a file of the user's",
    "frontends/log.py": "the log",
    "frontends/spool.py": "the log",
    "frontends/dap/wire.py": "messages to an editor, in which nothing but JSON is",
    "models/bounded.py": "the pipe from a child to its parent",
    "frontends/prompts/early.py": "the pipe to a child that cuts the prompt",
    "frontends/other_process_jobs.py": "the pipe from a child to its parent",
    "debugger/comparison/references/process.py": "the pipe to a child that runs a reference",
    "traces/tensor_files.py": "a file of a recording",
    "traces/writer.py": "a file of a recording",
    "frontends/tui/input/history.py": "the history",
    "frontends/tui/terminal/guard.py": "a pipe to its keeper",
    "frontends/tui/terminal/keeper.py": "the log, and a sentence of its own to a terminal whose program has died",
    "frontends/answers/tables.py": "a string that becomes a CSV file",
}


def raw(text):
    return [character for character in text if unicodedata.category(character) in RAW and character != "\n"]


def what_prints(tree):
    """Line and name of everything in a syntax tree that could reach a terminal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PRINTS | {"Console"}:
            yield node.lineno, node.func.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            if node.attr in STREAMS:
                yield node.lineno, f"sys.{node.attr}"
        elif isinstance(node, ast.Attribute) and node.attr in WRITES:
            yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in ("sys", "builtins"):
            yield from ((node.lineno, each.name) for each in node.names if each.name in STREAMS | PRINTS)


def test_nothing_else_prints():
    found = {}
    for path in sorted(SOURCES.rglob("*.py")):
        name = path.relative_to(SOURCES).as_posix()
        if name not in DOORS and (prints := list(what_prints(ast.parse(path.read_text(encoding="utf-8"))))):
            found[name] = prints
    others = {name: prints for name, prints in found.items() if name not in FILES}
    assert others == {}, "write it with llmdbg.frontends.output"
    assert {each for prints in found.values() for _, each in prints} <= {".write", ".writelines"}
    assert set(found) == set(FILES), "a file in the list no longer writes"


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "import sys\nsys.stdout.write('x')",
        "from sys import stderr",
        "import sys\nprint_to = sys.__stderr__",
        "out.write('x')",
        "import os\nos.write(1, b'x')",
        "import traceback\ntraceback.print_exc()",
        "input('name? ')",
        "Console(stderr=True)",
    ],
)
def test_the_test_finds_what_prints(code):
    assert list(what_prints(ast.parse(code)))


def written(write, encoding="utf-8"):
    raw_bytes = io.BytesIO()
    stream = io.TextIOWrapper(raw_bytes, encoding=encoding)
    write(stream)
    return raw_bytes.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@given(text=st.text(st.characters()))
def test_no_character_is_obeyed(encoding, text):
    assert not raw(written(lambda out: output.write_lines([text], out), encoding))
    line = written(lambda out: output.write_json({text: [text]}, out), encoding)
    assert not raw(line) and line.count("\n") == 1
    assert json.loads(line) == {text: [text]}
    assert not raw(harmless(text))
    assert sanitize(sanitize(text)) == sanitize(text)


def test_json_says_what_it_said():
    assert json_text(HOSTILE) == '"a\\u001b[31m\\u009b2J\\u202e\\u200b\\u0007\\u007f\\udc80\\u2028é"'
    assert json_text({"a": [1, None, 0.5]}, indent=1) == '{\n "a": [\n  1,\n  null,\n  0.5\n ]\n}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


def template(text):
    return f"{{{{ raise_exception({text!r}) }}}}"


@pytest.mark.parametrize("json_lines", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ["/tmp/no" + HOSTILE, "-p", "hi", "--batch"],
        ["FOLDER", "--prompt-file", "/tmp/no" + HOSTILE, "--batch"],
        ["FOLDER", "-x", "/tmp/no" + HOSTILE, "--batch"],
        ["FOLDER", "--no" + HOSTILE],
        ["FOLDER", "-p", "hi", "--dtype", HOSTILE],
        ["FOLDER", "-p", "hi", "--batch", "-ex", HOSTILE],
        ["FOLDER", "-p", "hi", "--batch", "-b", HOSTILE],
        ["FOLDER", "-p", "hi", "--batch", "-ex", f"ban {HOSTILE}"],
        ["FOLDER", "-p", "hi", "--batch", "-ex", f"print {HOSTILE!r}"],
        ["FOLDER", "-p", "hi", "--batch", "-ex", f"info stage > /no/{HOSTILE}.txt"],
        ["FOLDER", "-p", "hi", "--batch", "--device", HOSTILE],
        ["--resume", HOSTILE, "--batch"],
        ["doctor", HOSTILE],
    ],
    ids=lambda arguments: " ".join(each for each in arguments if each.isascii() and each.isprintable()),
)
def test_what_a_user_typed_is_not_obeyed(capfd, tiny_folder, arguments, json_lines):
    given_ = [str(tiny_folder) if each == "FOLDER" else each for each in arguments]
    main([*given_, "--json"] if json_lines else given_)
    out, err = capfd.readouterr()
    assert out + err and "a bug in llmdbg" not in err and not raw(out + err)
    assert not json_lines or all(json.loads(line) for line in out.splitlines())


def spoil(folder, name, change):
    path = folder / name
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def config(**entries):
    return lambda folder: spoil(folder, "config.json", lambda document: document.update(entries))


def header(folder):
    text = json.dumps({HOSTILE: {"dtype": HOSTILE, "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0\0\0")


def index(folder):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": HOSTILE}}))


def refusing_template(folder):
    (folder / "chat_template.jinja").write_text(template(HOSTILE.replace("\udc80", "")))


@pytest.mark.parametrize(
    "change",
    [
        config(model_type=HOSTILE),
        config(architectures=[HOSTILE], num_hidden_layers=HOSTILE),
        config(dtype=HOSTILE),
        config(hidden_act=HOSTILE),
        lambda folder: spoil(folder, "generation_config.json", lambda document: document.update(temperature=HOSTILE)),
        lambda folder: spoil(
            folder, "tokenizer_config.json", lambda document: document.update(tokenizer_class=HOSTILE)
        ),
        header,
        index,
        refusing_template,
    ],
)
def test_what_a_model_folder_says_is_not_obeyed(capfd, a_copy, change):
    change(folder := a_copy())
    main([str(folder), "-p", "hi", "--chat", "--batch", "--json"])
    out, err = capfd.readouterr()
    assert "a bug in llmdbg" not in err and not raw(out + err)


def run(arguments, **how):
    return subprocess.run(
        [sys.executable, "-m", "llmdbg", *arguments], stderr=subprocess.PIPE, text=True, check=False, timeout=120, **how
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["doctor"], ["doctor", "--json"]])
def test_a_full_disk_and_a_closed_stdout_are_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        ended = run(arguments, stdout=full)
    assert (ended.returncode, ended.stderr) == (1, "llmdbg: the output cannot be written: No space left on device\n")
    ended = run(arguments, preexec_fn=lambda: os.close(1))
    assert (ended.returncode, ended.stderr) == (1, "llmdbg: stdout is closed: llmdbg has nowhere to write to\n")


@pytest.mark.slow
def test_a_run_whose_output_cannot_be_written_ends_with_one_line(tiny_folder):
    with Path("/dev/full").open("w") as full:
        ended = run([str(tiny_folder), "-p", "hi", "--batch", "-n", "2"], stdout=full)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "llmdbg: the output cannot be written: No space left on device"
    assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr


@pytest.mark.slow
def test_narration_that_cannot_be_written_is_dropped(tiny_folder):
    command = [sys.executable, "-m", "llmdbg", str(tiny_folder), "-p", "hi", "--batch", "-n", "1", "--json"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, check=False, timeout=120)
    assert ended.returncode == 0
    assert json.loads(ended.stdout.splitlines()[-1])["event"] == "end"


def test_a_stream_that_fails_is_an_output_error():
    closed = io.StringIO()
    closed.close()
    with pytest.raises(OutputError, match="cannot be written"):
        output.write_lines(["a"], closed)


def test_a_mistake_of_ours_is_one_line(monkeypatch, capsys):
    def fail(*_arguments, **_options):
        raise RuntimeError(f"what {HOSTILE}")

    monkeypatch.setattr("llmdbg.frontends.batch.launch.launch", fail)
    assert main(["-p", "x", "--batch"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and not raw(err)
    assert "RuntimeError: what a" in err and "traceback is in" in err


def test_the_screen_draws_nothing_raw():
    from rich.segment import Segment
    from textual.color import Color

    look = TerminalLook("truecolor", unicode=True, light=False, multiplexer=None, term="xterm")
    for unicode in (True, False):
        seen = TerminalLook("none", unicode=unicode, light=False, multiplexer=None, term="xterm")
        for each in (look, seen):
            line = [Segment(HOSTILE), Segment("plain")]
            for filtering in line_filters(each, []):
                line = filtering.apply(line, Color.parse("black"))
            assert not raw("".join(segment.text for segment in line))
            assert sum(segment.cell_length for segment in line) == Segment(HOSTILE).cell_length + 5
