"""`llmdbg.debug`, `attach`, `breakpoint` and sessions in a notebook, with a real kernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.frontends.program.notebooks import ROOT, Cell, Kernel, running_kernel
from tests.html_fragments import Fragment, read_fragment

PROMPT = "(llmdbg) "
HOOKS = (
    "sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()), "
    "len(hooks._global_forward_pre_hooks)"
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with running_kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        begun = kernel.run(
            "import sys; sys.path.insert(0, '.')\n"
            "import torch, llmdbg\n"
            "from torch.nn.modules import module as hooks\n"
            "from tests.tiny import tiny_model\n"
            "model = tiny_model('llama')\n"
            "ids = torch.tensor([[3, 4, 5]])\n"
            "def generate(): return model.generate(ids, max_new_tokens=2, do_sample=False).tolist()\n"
        )
        assert begun.error is None, begun
        yield kernel


@pytest.fixture(autouse=True)
def nothing_left(kernel: Kernel) -> Iterator[None]:
    yield
    assert kernel.run(f"print({HOOKS})").stdout == "0 0\n", "hooks are left"


def fragment(cell: Cell, index: int) -> Fragment:
    return read_fragment(cell.html(index))


@pytest.mark.slow
def test_stops_and_answers_are_tables_and_the_same_text_goes_with_them(kernel: Kernel) -> None:
    alone = kernel.run("print(generate())").stdout
    commands = ("until 1.mlp", "info stats", "info lanes", "until logits", "info candidates", "continue")
    cell = kernel.run("with llmdbg.debug(model):\n    print(generate())", commands)

    assert cell.error is None and cell.asked == [PROMPT] * len(commands)
    assert cell.stdout.splitlines()[0] == alone.strip(), "the program's own output"
    assert not cell.strangers
    stop = fragment(cell, 2)
    assert stop.lines[0] == "module 1.mlp (model.layers.1.mlp): token 0, prefill"
    assert stop.tables[0][0] == ["tensor", "mean", "std", "min", "max", "norm", "NaN", "inf"]
    assert stop.tables[0][1][0] == "float32[1, 3, 32] cpu" and stop.tables[0][2][0] == "position 2"
    assert cell.shown[2]["text/plain"].startswith("token 0  prefill  1.mlp "), "a client without HTML has a line"
    assert fragment(cell, 3).tables == stop.tables
    assert fragment(cell, 4).tables[0][0][:3] == ["", "lane", "padding"]
    at_logits = fragment(cell, 5)
    assert at_logits.tables[1] == fragment(cell, 6).tables[0] and at_logits.tables[1][0][:3] == ["rank", "id", "text"]


def test_what_tracepoints_log_is_one_table(kernel: Kernel) -> None:
    commands = ("trace 0-1 norm", "trace *.mlp norm", "until logits", "quit")
    cell = kernel.run("with llmdbg.debug(model):\n    generate()", commands)

    [logged] = [
        each for each in map(read_fragment, (each["text/html"] for each in cell.shown)) if "logged" in str(each)
    ]
    assert [row[2] for row in logged.tables[0]] == ["stage", "0.mlp", "0", "1.mlp", "1"]
    assert all(row[3].startswith("norm=") for row in logged.tables[0][1:])


def test_what_is_attached_in_one_cell_stops_in_another_which_reads_and_shows(kernel: Kernel) -> None:
    assert kernel.run("handle = llmdbg.attach(model)").error is None
    cell = kernel.run("generate()", ("next", "bt", "nonsense", "quit"))

    assert not cell.strangers, "all of it belongs to the cell that runs"
    assert cell.asked == [PROMPT] * 4 and len(cell.shown) == 5
    assert "there is no command 'nonsense'" in cell.stderr
    functions = [row[3] for row in fragment(cell, 3).tables[0][1:]]
    assert functions[-1] == "<module>", "the frames of the cell, not those of the notebook"
    assert kernel.run("handle.detach()").error is None


def test_a_cell_that_attaches_can_be_run_again(kernel: Kernel) -> None:
    for _ in range(3):
        assert kernel.run("handle = llmdbg.attach(model)").error is None
    cell = kernel.run("generate()", ("next", "quit"))
    assert cell.error is None and len(cell.asked) == 2
    assert kernel.run("generate()").asked == []


def test_a_breakpoint_stops_in_a_cell(kernel: Kernel) -> None:
    code = "llmdbg.breakpoint()\nfirst = model(ids)\nllmdbg.breakpoint()\nfirst.logits.shape"
    cell = kernel.run(code, ("tbreak 1.mlp", "continue", "continue", "info stage", "quit"))
    assert cell.error is None and len(cell.asked) == 5
    assert "1.mlp" in cell.shown[2]["text/plain"]
    assert cell.shown[-1]["text/plain"] == "torch.Size([1, 3, 128])"


def test_an_interrupt_stops_a_run_at_its_next_stage(kernel: Kernel) -> None:
    begun: list[None] = []

    def interrupt_once(cell: Cell) -> None:
        if "running" in cell.stdout and not begun:
            kernel.interrupt()
            begun.append(None)

    code = (
        "going = True\n"
        "with llmdbg.debug(model):\n"
        "    for n in range(100_000):\n"
        "        model(ids)\n"
        "        if n == 3: print('running', flush=True)\n"
        "        if not going: break\n"
    )
    cell = kernel.run(
        code,
        ("continue", "print __import__('__main__').__dict__.update(going=False)", "quit"),
        on_output=interrupt_once,
    )
    assert cell.error is None, cell
    assert "stopping at the next stage" in cell.stderr
    assert len(cell.asked) == 3


def test_interrupted_at_the_prompt_the_second_time_is_the_cell_s(kernel: Kernel) -> None:
    def interrupt() -> None:
        kernel.interrupt()

    cell = kernel.run("with llmdbg.debug(model):\n    generate()", ("next", interrupt, interrupt))
    assert cell.error is not None and cell.error[0] == "KeyboardInterrupt"
    assert "`quit` lets the program run on" in cell.stderr


def test_an_exception_is_stopped_at_and_is_the_cell_s_own(kernel: Kernel) -> None:
    cell = kernel.run("with llmdbg.debug(model):\n    model(torch.tensor([[3, 400]]))", ("continue", "bt", "continue"))
    assert cell.error is not None and cell.error[0] == "IndexError"
    assert "raised IndexError" in cell.text()
    assert len(cell.asked) == 3


def test_text_of_models_is_not_markup(kernel: Kernel) -> None:
    cell = kernel.run("with llmdbg.debug(model):\n    generate()", ('print "<script>x</script> $a$"', "quit"))
    assert "<script>x</script> $a$" in "".join(fragment(cell, 2).lines)
    assert "<script>" not in cell.html(2) and "mathjax_ignore" in cell.html(2)


def test_a_session_and_what_it_answers_show_themselves(kernel: Kernel) -> None:
    opened = "session = llmdbg.open_session(model, '<b>Hello</b>', max_new_tokens=2, greedy=True)\n"
    cell = kernel.run(opened + "session.do('goto logits')\nsession")
    shown = fragment(cell, 0)
    assert shown.lines[0].startswith("Session LlamaForCausalLM, cpu float32")
    assert [table[0][0] for table in shown.tables] == ["tensor", "rank"]
    for command, title in (("info stats", "tensor"), ("info tokens", "pos"), ("info ops 1.mlp", "n")):
        cell = kernel.run(f"session.do({command!r})")
        assert fragment(cell, 0).tables[0][0][0] == title
        assert "<b>" not in cell.html(0)
    cell = kernel.run("session.close()")
    assert fragment(cell, 0).lines[0].startswith("end  quit")


@pytest.mark.slow
def test_nothing_imports_ipython_where_it_is_not() -> None:
    code = (
        "import sys, torch, llmdbg\n"
        "from tests.tiny import tiny_model\n"
        "with llmdbg.debug(tiny_model('llama'), ask=lambda prompt: 'quit') as it: pass\n"
        "model = tiny_model('llama')\n"
        "with llmdbg.debug(model, commands=['next'], ask=lambda prompt: 'quit'): model(torch.tensor([[3]]))\n"
        "assert 'IPython' not in sys.modules and 'ipykernel' not in sys.modules\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
