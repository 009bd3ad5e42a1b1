"""A cache in an engine's own blocks: what is in them is not read, and `info` says so."""

import pytest

from llmdbg.debugger.inspection.kv_blocks import held_in_blocks
from llmdbg.engine.debuggee import PagedCache, RequestBlocks
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


def test_blocks_that_follow_one_another_are_a_run() -> None:
    said = held_in_blocks(PagedCache("vLLM", (3, 4, 5, 9, 11, 12), 16, 512, shared=(3, 4)), 90)
    assert "positions 0 to 89 in 6 blocks of 16 positions each: 3 to 5, 9, 11, 12 (of 512)" in said
    assert "3, 4 shared with other requests. They lie there" in said


def test_each_of_several_requests_has_its_own() -> None:
    """Of many, the first."""
    many = tuple(RequestBlocks(at + 4, (at, 90)) for at in range(14))
    said = held_in_blocks(PagedCache("vLLM", (), 16, 512, (90,), many), 0)
    assert "these 14 requests in blocks of 16 positions each (of 512): lane 0 positions 0 to 3 in 0, 90; lane 1" in said
    assert "lane 11 positions 0 to 14 in 11, 90; 2 more lanes: `lane 12` shows one; 90 shared. They lie there" in said


def test_a_request_that_has_ended_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is said of a cache object, which such an engine never has."""
    assert _said(monkeypatch, "info kv") == (
        "vLLM keeps no keys and values of this request now: it takes its blocks back at its end"
    )


def test_attention_over_blocks_says_whose_kernels_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any forward runs again to look for a kernel that is not there."""
    said = _said(monkeypatch, "info attention", 3)
    assert said.startswith("vLLM's own kernels compute attention over its blocks, and hand no weights out")
