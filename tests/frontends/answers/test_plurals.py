"""How counts are written: one of a kind in the singular, thousands with commas."""

import re
from dataclasses import replace

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.frontends.answers import answer_lines
from tests.attention_kernels import session_over
from tests.sessions import do

SEVERAL = re.compile(r"(?<![\w.,])1 (tokens|layers|stages|positions|values|heads|runs|tensors|rows)\b")


def one_layer():
    config = LlamaConfig(
        vocab_size=128, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return session_over(LlamaForCausalLM(config).eval(), text="a", tokens=1)


@pytest.mark.parametrize("place", ["step", "continue"])
def test_one_token_and_one_layer_are_not_several(place):
    session = one_layer()
    do(session, place)
    lines = [line for topic in TOPICS.values() for line in answer_lines(topic.ask(session.inspector, ""))]
    assert any("1 layer" in line for line in lines)
    assert [line for line in lines if SEVERAL.search(line)] == []


def test_large_counts_have_commas_everywhere():
    session = one_layer()
    do(session, "continue")
    model = replace(TOPICS["model"].ask(session.inspector, ""), context=8192, vocabulary=49152)
    assert "context 8,192 tokens, vocabulary 49,152, " in "\n".join(answer_lines(model))
    chosen = replace(TOPICS["candidates"].ask(session.inspector, ""), left=49152, vocabulary=49152)
    assert ": 49,152 of 49,152 tokens left, " in "\n".join(answer_lines(chosen))
    assert "49,152 of 49,152 tokens left, " in repr(chosen)
