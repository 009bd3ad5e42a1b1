"""A session leaves the caller's random streams where they are, and is not moved by what the caller draws."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

import llmdbg
from llmdbg.engine.random_streams import CALLERS_STREAMS
from tests.tiny import tiny_model


def drawn() -> tuple[float, float, float]:
    return torch.rand(1).item(), random.random(), float(np.random.rand())


def seeded() -> None:
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)


def test_the_callers_random_streams_stay_where_they_are():
    seeded()
    wanted = drawn()
    seeded()
    with llmdbg.open_session(tiny_model("llama"), "Hello there", temperature=1.5, max_new_tokens=5) as session:
        session.do("token 2")
        session.run_script("reverse-token\nbranch other\ncontinue")
    assert drawn() == wanted


def test_a_run_is_not_moved_by_what_the_caller_draws():
    def ids(between: Any) -> tuple[int, ...]:
        with llmdbg.open_session(tiny_model("llama"), "Hello there", temperature=1.5, max_new_tokens=9) as session:
            while session.end is None:
                session.do("token")
                between()
        return session.end.ids

    assert ids(drawn) == ids(lambda: None)


class Drawing(torch.nn.Module):
    """Draws from Python's and NumPy's streams, as a model's own code may."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.inner(hidden) * (1 + 0.1 * random.random() + 0.1 * float(np.random.randn()))


def test_nor_where_the_models_own_code_draws():
    model = tiny_model("llama")
    model.model.layers[1].mlp = Drawing(model.model.layers[1].mlp)

    seeded()
    wanted = drawn()
    seeded()
    with llmdbg.open_session(model, "Hello there", greedy=True, max_new_tokens=4) as session:
        session.do("break 1.mlp")
        session.do("continue")
        session.do("token 2")
    assert drawn() == wanted


@pytest.mark.parametrize(
    "line", ["print __import__('numpy').random.rand()", "edit out * __import__('random').random()"]
)
def test_nor_where_the_users_own_python_draws(line):
    seeded()
    wanted = drawn()
    seeded()
    with llmdbg.open_session(tiny_model("llama"), "Hello there", greedy=True, max_new_tokens=3) as session:
        session.do("step")
        session.do(line)
        session.do("continue")
    assert drawn() == wanted


def test_a_session_used_inside_another_ones_command_keeps_to_itself():
    random.seed(99)
    wanted = random.getstate()
    with llmdbg.open_session(tiny_model("llama"), "Hello", greedy=True, max_new_tokens=3) as inner:
        with CALLERS_STREAMS.kept():
            CALLERS_STREAMS.about_to_be_used()
            seeded()
            within = drawn()
            seeded()
            inner.do("run")
            assert drawn() == within
        assert random.getstate() == wanted
