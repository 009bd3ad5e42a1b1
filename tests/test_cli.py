"""Exit codes, one clear line each, and nothing heavy imported before it is needed."""

import json
import subprocess
import sys

import pytest

from llmdbg import __version__
from llmdbg.cli import main
from llmdbg.models.load_steps import LoadStep


def complaint(capsys, *arguments, code=2):
    """Run the command line, which must fail. Returns its one line."""
    assert main([str(each) for each in arguments]) == code
    out, err = capsys.readouterr()
    assert out == "" or "--json" in arguments
    [line] = [line for line in err.splitlines() if line.startswith("llmdbg: ")]
    assert "Traceback" not in err
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "--nonsense"),
        (["-p", "x", "--dtype", "int3"], "int3"),
        (["-p", "x", "--top-k", "many"], "many"),
        (["-p", "x", "-n", "0"], "--max-new-tokens must be from 1 to"),
        (["-p", "x", "--temperature", "-1"], "greater than 0"),
        (["-p", "x", "--temperature", "0"], "--greedy"),
        (["-p", "x", "--temperature", "nan"], "greater than 0"),
        (["-p", "x", "--temperature", "inf"], "--temperature must be a finite number"),
        (["-p", "x", "--repetition-penalty", "inf"], "--repetition-penalty must be a finite number"),
        (["-p", "x", "--top-p", "-0.5"], "--top-p must be"),
        (["-p", "x", "--top-p", "2"], "--top-p must be from 0 to 1"),
        (["-p", "x", "--min-p", "2"], "from 0 to 1"),
        (["-p", "x", "--top-k", "-1"], "or 0 for all tokens"),
        (["-p", "x", "--repetition-penalty", "0"], "greater than 0"),
        (["-p", "x", "--greedy", "--top-p", "0.9"], "--greedy takes the likeliest token, so it cannot go with --top-p"),
        (["-p", "x", "--seed", "-1"], "seed"),
        (["-p", ""], "empty"),
        (["-p", "  "], "empty"),
        ([], "no prompt"),
        (["-p", "x", "--prompt-file", "y"], "not both"),
        (["--prompt-file", "/no/such/file"], "cannot read"),
        (["-x", "/no/such/file", "-p", "x"], "cannot read"),
        (["-p", "x", "--json"], "--batch"),
        (["-p", "x"], "terminal"),
        (["-p", "x", "--batch", "-ex", "fly"], "fly"),
        (["-p", "x", "--batch", "-ex", "set top_k -1"], "top_k must be"),
        (["-p", "x", "--batch", "-ex", "source /no/such/file"], "cannot read"),
        (["-p", "x", "--batch", "--device", "tpu"], "tpu"),
        (["run"], "no program to run"),
        (["run", "--batch", "/no/such.py"], "there is no program"),
        (["run", "--batch", "--", "no-such-command"], "no command no-such-command"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys, tiny_folder, arguments, words):
    model = [] if "run" in arguments else [tiny_folder]
    assert words in complaint(capsys, *model, *arguments)


def test_a_prompt_file_that_is_not_utf8(capsys, tiny_folder, tmp_path):
    path = tmp_path / "prompt"
    path.write_bytes("café".encode("latin-1"))
    line = complaint(capsys, tiny_folder, "--prompt-file", path, "--batch")

    assert "not UTF-8" in line
    assert "byte 3" in line


def test_a_prompt_file(capsys, tiny_folder, tmp_path):
    path = tmp_path / "prompt"
    path.write_text("The quick\nbrown fox ☂")
    assert main([str(tiny_folder), "--prompt-file", str(path), "--batch", "--json", "-n", "1", "-ex", "quit"]) == 0
    tokens = json.loads(capsys.readouterr().out.splitlines()[0])

    assert "".join(row["text"] for row in tokens["tokens"]).startswith("The quick\nbrown fox")


def test_a_prompt_beyond_the_context(capsys, tiny_folder):
    line = complaint(capsys, tiny_folder, "-p", "z " * 80, "--batch")
    assert "context holds 64" in line


def test_an_unknown_address(capsys, tiny_folder):
    assert main([str(tiny_folder), "-p", "Hi", "--batch", "-n", "1", "-b", "1.mpl", "-ex", "c"]) == 2
    assert "the nearest is '1.mlp'" in capsys.readouterr().err


def test_loading_trouble_is_exit_code_1(capsys, a_copy):
    folder = a_copy()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    assert "truncated" in complaint(capsys, folder, "-p", "Hi", "--batch", code=1)


def test_what_a_program_is_given_asks_nothing_of_llmdbg(capsys):
    assert main(["run", "--batch", "/no/such.py", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "there is no program" in err
    assert main(["run", "--batch", "--json", "/no/such.py"]) == 2
    assert json.loads(capsys.readouterr().out)["event"] == "error"


def test_json_errors_are_events_too(capsys, tiny_folder):
    assert main([str(tiny_folder), "-p", "", "--batch", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)

    assert (error["event"], error["type"]) == ("error", "PromptError")


def in_a_process(*arguments, code="from llmdbg.cli import main; raise SystemExit(main())"):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option):
    code = (
        "import sys\nfrom llmdbg.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'textual', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = in_a_process(option, code=code)

    assert done.stderr.strip() == "[]"
    assert (__version__ if option == "--version" else "--random-weights") in done.stdout


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "llmdbg", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"llmdbg {__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("own", [{}, {"PYTHONHASHSEED": "7"}])
def test_every_process_walks_over_sets_in_one_order_and_the_environment_stays(monkeypatch, tmp_path, own):
    """Python draws the order anew for each process, and Gemma's forward walks over a set."""
    program = tmp_path / "walks.py"
    program.write_text(
        "import os, sys\n"
        "print(*{str(number) for number in range(20)}, sep=',')\n"
        "print(sorted(each for each in os.environ if 'HASH' in each), sys.argv[1:])\n"
    )
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    command = (sys.executable, "-m", "llmdbg", "run", "--batch", "-ex", "continue", str(program), "a b", "*")
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    first, second = (each.stderr.splitlines()[:2] for each in runs)
    assert first == second
    assert first[1] == f"{sorted(own)} ['a b', '*']"


@pytest.mark.slow
def test_a_process_keeps_stdout_for_data_and_stderr_quiet(tiny_folder):
    done = in_a_process(tiny_folder, "-p", "The quick", "-n", "2", "--batch", "--json")

    assert done.returncode == 0
    assert all(json.loads(line)["event"] for line in done.stdout.splitlines())
    assert done.stderr.splitlines() == [f"{step} …" for step in LoadStep]


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(tiny_folder):
    command = f"{sys.executable} -m llmdbg {tiny_folder} -p 'The quick' -n 30 --batch | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=True)

    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("id", ["nope", "20260131-093000-1f2e"])
def test_a_saved_session_that_is_not_there_is_bad_usage(capsys, id):
    assert id in complaint(capsys, "--resume", id, "--batch")


def test_a_folder_with_the_name_of_a_command_is_no_model(capsys, monkeypatch, tmp_path):
    """As a recording that was written to `run`."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "there is no program nothing.here" in complaint(capsys, "run", "nothing.here")
