"""The distribution under other sampling settings is the one that setting them gives, and asking changes nothing."""

from typing import Any

import pytest
import torch

from llmdbg.debugger.inspection.sampling_sliders import fetch, shown
from llmdbg.probes.sampling_choice import SamplingChoice
from tests.sessions import do, tiny_session

WARM = SamplingChoice(temperature=1.7, top_k=9, top_p=0.8)


def wanted(session: Any, choice: SamplingChoice = WARM) -> Any:
    seen = fetch(session.inspector, choice)
    assert seen is not None and seen.preview is not None
    return seen.preview


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba"])
@pytest.mark.parametrize(
    "settings",
    [
        {"greedy": True},
        {"temperature": 0.6},
        {"temperature": 1.0, "top_k": 5, "min_p": 0.02},
        {"top_p": 0.5, "repetition_penalty": 1.4},
    ],
)
def test_it_is_bitwise_what_setting_them_gives(name: str, settings: dict[str, Any]) -> None:
    session = tiny_session(name, max_new_tokens=4, **settings)
    do(session, "token 1")
    before = session.run.event.trail[-1][1].clone()
    preview = wanted(session)
    assert torch.equal(session.run.event.trail[-1][1], before)
    assert session.run.branches.current.name == "main", "nothing was set"
    do(session, f"set temperature {WARM.temperature} top_k {WARM.top_k} top_p {WARM.top_p}")
    probs = torch.softmax(session.run.event.trail[-1][1][0], dim=-1)
    assert [each.prob for each in preview.found.rows] == probs[[each.id for each in preview.found.rows]].tolist()
    left = int(torch.count_nonzero(probs))
    assert preview.found.left == left <= WARM.top_k
    assert sorted(each.id for each in preview.found.rows[:left]) == probs.nonzero().flatten().tolist()


def test_beside_each_stands_its_probability_now() -> None:
    session = tiny_session(max_new_tokens=4, temperature=0.6)
    do(session, "token 1")
    preview = wanted(session)
    now = torch.softmax(session.run.event.trail[-1][1][0], dim=-1)
    assert list(preview.now) == now[[each.id for each in preview.found.rows]].tolist()
    assert shown(session.inspector).now == SamplingChoice(0.6, 50, 1.0)


def test_what_has_not_run_or_is_not_made_anew_is_said() -> None:
    session = tiny_session(max_new_tokens=4, temperature=0.6, repetition_penalty=1.3)
    do(session, "token 1", "goto logits@1")
    assert wanted(session).notes == ("before repetition_penalty",)
    do(session, "step")
    assert wanted(session).notes == ()
    config = session.inspector.model.generation_config
    config.typical_p = 0.5
    typical = tiny_session(max_new_tokens=4, temperature=0.6)
    typical.inspector.model.generation_config.typical_p = 0.5
    do(typical, "start", "token 1")
    assert wanted(typical).notes == ("without typical",)


def test_there_are_none_before_the_logits() -> None:
    session = tiny_session(max_new_tokens=4)
    assert shown(session.inspector) is None
    do(session, "until 1")
    assert fetch(session.inspector, WARM) is None
