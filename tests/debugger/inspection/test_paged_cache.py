"""A cache in an engine's own blocks: what is in them is not read, and `info` says so."""

import pytest

from llmdbg.engine.debuggee import PagedCache
from llmdbg.engine.generation.generation import Generation
from llmdbg.frontends.answers import answer_lines
from tests.sessions import do, tiny_session


def _said(monkeypatch: pytest.MonkeyPatch, line: str, *blocks: int) -> str:
    session = tiny_session()
    do(session, "goto 1@1")
    monkeypatch.setattr(Generation, "cache", PagedCache("vLLM", blocks, 16, 512))
    return "\n".join(answer_lines(do(session, line).data))


def test_the_blocks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "in 2 blocks of 16 positions each: 3, 7 (of 512)" in _said(monkeypatch, "info kv", 3, 7)


def test_a_request_that_has_ended_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is said of a cache object, which such an engine never has."""
    assert _said(monkeypatch, "info kv") == (
        "vLLM keeps no keys and values of this request now: it takes its blocks back at its end"
    )


def test_attention_over_blocks_says_whose_kernels_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any forward runs again to look for a kernel that is not there."""
    said = _said(monkeypatch, "info attention", 3)
    assert said.startswith("vLLM's own kernels compute attention over its blocks, and hand no weights out")
