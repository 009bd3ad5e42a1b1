"""Every stage kind explained on several architectures: it renders, and speaks of this run's numbers and no others."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.explaining import explain_here, explain_stage
from llmdbg.errors import CommandError
from llmdbg.explain.facts import ModuleRole
from llmdbg.explain.roles import norm_formula
from llmdbg.frontends.answers import answer_lines
from llmdbg.models.stages import FINE, StageKind
from tests.explain.checking import check, numbers_of, run_numbers, words_of
from tests.sessions import do, tiny_session
from tests.tiny import tiny_model

ARCHITECTURES = ("llama", "gpt2", "mamba", "mixtral", "falcon")
SAMPLING: dict[str, Any] = {"temperature": 0.7, "top_k": 50, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2}


def stages_of(name: str) -> list[str]:
    """One stage of every kind and role."""
    session = tiny_session(name, **SAMPLING)
    found: dict[Any, Any] = {}
    for stage in session.run.stages.all():
        found.setdefault((stage.kind, stage.address.partition(".")[2] if stage.layer is not None else stage), stage)
    session.close()
    return [stage.address for stage in found.values()]


def at(session: Debugger, address: str, token: int = 0) -> bool:
    """Go to a stage; False where the model never runs it."""
    try:
        do(session, f"goto {address}@{token}")
    except CommandError:
        return address == "tokenize"
    return True


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("token", [0, 2])
def test_every_stage_is_told_with_this_runs_numbers(name: str, token: int) -> None:
    session = tiny_session(name, **SAMPLING)
    do(session, "token 3")
    seen = set()
    for address in stages_of(name):
        if not at(session, address, token):
            continue
        explanation = explain_here(session.inspector)
        seen.add(explanation.facts.stage.kind)
        assert explanation.plain
        assert all(text.strip().endswith((".", "?")) for text in explanation.plain)
        lines = answer_lines(explanation)
        assert explanation.title in lines[0]
        assert "!" not in "".join(re.sub(r'"[^"]*"+', "", line) for line in explanation.plain)
        check(session, explanation)
    wanted = set(StageKind) - set(FINE) - ({StageKind.TOKENIZE} if token else set())
    assert seen == wanted


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_stage_where_the_run_does_not_stand_is_told_without_this_runs_numbers(name: str) -> None:
    session = tiny_session(name, **SAMPLING)
    for stage in session.run.stages.all():
        explanation = explain_stage(session.inspector, stage)
        if stage.kind is StageKind.TOKENIZE:
            continue
        assert explanation.plain
        assert (explanation.facts.guesses, explanation.facts.norm, explanation.facts.choice) == ((), None, None)
        assert "of this" not in " ".join(explanation.plain) or stage.kind is StageKind.LAYER


@pytest.mark.parametrize("address", ["0", "1", "norm", "logits", "sample.temperature", "sample", "tokenize"])
def test_another_prompt_or_another_token_changes_what_is_told(address: str) -> None:
    told = []
    for text, token in (("Hello there", 0), ("Something else", 0), ("Hello there", 2)):
        session = tiny_session("llama", text=text, **SAMPLING)
        do(session, "token 3")
        if address == "tokenize":
            do(session, "goto tokenize")
        elif not at(session, address, token):
            continue
        told.append(
            (
                run_numbers(explain_here(session.inspector).facts),
                explain_here(session.inspector).plain,
            )
        )
    assert len({repr(each) for each in told}) == (2 if address == "tokenize" else 3)


def test_another_layer_changes_what_is_told() -> None:
    session = tiny_session("llama")
    do(session, "goto 0")
    first = explain_here(session.inspector)
    do(session, "goto 1")
    second = explain_here(session.inspector)
    assert first.plain != second.plain
    with pytest.raises(AssertionError):
        check(session, first)


def test_the_checker_finds_a_number_and_a_word_that_are_not_this_runs() -> None:
    session = tiny_session("llama")
    do(session, "goto sample")
    explanation = explain_here(session.inspector)
    check(session, explanation)
    for wrong in ("It had 12.34%.", "It had 64%.", "It is at position 3.", "It is layer 7.", 'It was "nonsense".'):
        changed = type(explanation)(explanation.title, (wrong,), (), (), explanation.facts)
        with pytest.raises(AssertionError):
            check(session, changed)


def test_numbers_and_words_are_found_in_texts() -> None:
    assert numbers_of('from "a 9" at 3 (4.5%), 12,345 tokens') == ["3", "4.5%", "12,345"]
    assert words_of('"a" and " b".') == ["a", " b"]


@pytest.mark.parametrize(
    ("name", "address", "formula"),
    [
        ("llama", "norm", "RMSNorm: y = x / sqrt(mean(x^2) + eps) * w"),
        ("gemma2", "norm", "RMSNorm: y = x / sqrt(mean(x^2) + eps) * (1 + w)"),
        ("gpt2", "norm", "LayerNorm"),
        ("mamba", "0.norm", "RMSNorm: y = x / sqrt(mean(x^2) + eps) * w"),
        ("llama", "0.mlp.act_fn", "SiLU"),
        ("gpt2", "0.mlp.act", "GELU, its tanh form"),
        ("opt", "0.activation_fn", "ReLU"),
        ("nemotron", "0.mlp.act_fn", "squared ReLU"),
    ],
)
def test_a_formula_is_claimed_where_the_module_answers_by_it(name: str, address: str, formula: str) -> None:
    session = tiny_session(name)
    stage = session.run.stages.find(address)
    explanation = explain_stage(session.inspector, stage)
    assert any(line.startswith(formula) for line in explanation.engineer), explanation.engineer


def test_a_norm_that_does_something_else_is_given_no_formula() -> None:
    model = tiny_model("llama")
    norm = model.model.norm
    right = type(norm).forward
    norm.forward = lambda hidden: right(norm, hidden) + 1
    assert norm_formula(norm) is None


@pytest.mark.parametrize(
    ("name", "address", "role"),
    [
        ("llama", "0.self_attn", ModuleRole.ATTENTION),
        ("gpt2", "0.attn", ModuleRole.ATTENTION),
        ("falcon", "0.self_attention", ModuleRole.ATTENTION),
        ("mamba", "0.mixer", ModuleRole.STATE_SPACE),
        ("mamba", "0.mixer.conv1d", ModuleRole.CONVOLUTION),
        ("gpt2", "0.mlp.c_fc", ModuleRole.PROJECTION),
        ("mixtral", "0.mlp", ModuleRole.MIXTURE),
        ("mixtral", "0.mlp.gate", ModuleRole.ROUTER),
        ("mixtral", "0.mlp.experts", ModuleRole.EXPERTS),
        ("gpt2", "0.mlp.dropout", ModuleRole.DROPOUT),
        ("gpt2", "transformer.wpe", ModuleRole.TABLE),
        ("qwen3_next", "0.linear_attn", ModuleRole.RECURRENT),
        ("llama", "model.rotary_emb", ModuleRole.ROTARY),
        ("rwkv", "0.feed_forward", ModuleRole.OTHER),
        ("phi3", "0.mlp", ModuleRole.MLP),
    ],
)
def test_what_a_module_is_for(name: str, address: str, role: ModuleRole) -> None:
    session = tiny_session(name)
    part = explain_stage(session.inspector, session.run.stages.find(address)).facts.part
    assert part is not None
    assert part.role is role


def test_a_part_of_no_known_kind_says_so() -> None:
    session = tiny_session("rwkv")
    explanation = explain_stage(session.inspector, session.run.stages.find("0.feed_forward"))
    assert "has no text of its own here" in explanation.plain[0]


@pytest.mark.parametrize(
    "name", ["qwen2", "phi3", "gemma3", "gpt_neox", "opt", "bloom", "deepseek_v3", "jamba", "rwkv"]
)
def test_every_stage_of_other_architectures_has_a_text(name: str) -> None:
    session = tiny_session(name)
    for stage in session.run.stages.all():
        assert explain_stage(session.inspector, stage).plain
    for address in ("embed", "0", "1", "norm", "logits", "sample"):
        if session.run.stages.has(address) and at(session, address):
            check(session, explain_here(session.inspector)) if name not in (
                "rwkv",
                "opt",
                "bloom",
            ) else explain_here(session.inspector)
