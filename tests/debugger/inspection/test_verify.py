"""The proof of fidelity, and the user's own look."""

import pytest
import torch

from llmdbg.engine.generation.generation import Generation
from llmdbg.errors import CommandError
from tests.sessions import do, tiny_session


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "mamba", "gpt2"])
@pytest.mark.parametrize("how", [{}, {"temperature": 1.2, "top_k": 30, "seed": 6}], ids=["greedy", "sampled"])
def test_the_same_bits(name, how):
    session = tiny_session(name, "The quick fox", max_new_tokens=12, **how)
    for line in ("token 3", "step 9", "rs 4", "token 2", "until 1.mlp" if name == "llama" else "until 1"):
        do(session, line)
    before = (session.run.place, session.run.generated_ids())
    proof = do(session, "verify").data
    assert (proof.tokens, proof.first, proof.differs) == (len(before[1]), None, None)
    assert (session.run.place, session.run.generated_ids()) == before
    do(session, "continue")
    assert do(session, "verify").data.differs is None


def test_a_model_that_has_changed_since_is_found_out():
    session = tiny_session("llama", "The quick fox", max_new_tokens=12)
    do(session, "token 4")
    weight = session.inspector.model.model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        weight[0, 0] += 0.01
    proof = do(session, "verify").data
    assert (proof.first, proof.differs) == (0, "logits")


@pytest.mark.parametrize("place", ["token 1", "token 3", "continue", "until 1@2"])
@pytest.mark.parametrize("differing", ["id", "logits"])
def test_every_token_is_compared_the_newest_too(place, differing, monkeypatch):
    session = tiny_session("llama", "The quick fox", max_new_tokens=4)
    do(session, place)
    count = len(session.run.generated_ids())
    assert isinstance(session.debuggee, Generation)
    theirs = Generation.untouched

    def flipped(self, tokens):
        ids, hashes = theirs(self, tokens)
        if differing == "id":
            ids[-1] ^= 1
        else:
            hashes[-1] ^= 1
        return ids, hashes

    assert do(session, "verify").data.differs is None
    monkeypatch.setattr(Generation, "untouched", flipped)
    proof = do(session, "verify").data
    assert (proof.tokens, proof.first, proof.differs) == (count, count - 1, differing)


def test_guidance_raises_no_false_alarm():
    session = tiny_session("llama", "The quick fox", max_new_tokens=24)
    session.inspector.model.generation_config.guidance_scale = 1.5
    for line in ("run", "verify", "rt 5", "verify", "token 3", "verify", "goto 1@2", "verify", "continue", "verify"):
        outcome = do(session, line)
        if line == "verify":
            assert outcome.data.differs is None


def test_the_proof_says_why_generate_may_differ():
    from llmdbg.frontends.answers import answer_lines

    session = tiny_session("llama", "The quick fox", max_new_tokens=6)
    session.inspector.model.generation_config.num_beams = 3
    do(session, "run")
    proof = do(session, "verify").data
    assert "3 beams" in proof.notes[0]
    assert "3 beams" in answer_lines(proof)[-1]
    assert answer_lines(proof)[0].startswith("verified, but for what the notes say: ")


def test_what_the_user_did_is_not_the_models_own():
    session = tiny_session("llama", "The quick fox")
    with pytest.raises(CommandError, match="nothing has been generated"):
        do(session, "verify")
    do(session, "token 2")
    do(session, "force 50")
    with pytest.raises(CommandError, match="switch main"):
        do(session, "verify")


def test_print_is_the_users_own_python_and_changes_nothing():
    session = tiny_session("llama", "The quick fox")
    do(session, "until 1")
    before = session.stop.tensor
    assert do(session, "print out.shape").data == "torch.Size([1, 13, 32])"
    assert "Llama" in do(session, "p type(model).__name__").data
    do(session, "print out.zero_().sum().item()")
    do(session, "print torch.rand(3).shape")
    assert session.run.look().tensor == before
    with pytest.raises(CommandError, match="ZeroDivisionError"):
        do(session, "print 1 / 0")
    with pytest.raises(CommandError, match="not valid Python"):
        do(session, "print (")
