"""One screen's connection: it blocks nobody, and what it is too slow for is dropped whole."""

import socket

import pytest

from llmdbg.frontends.detached.viewer import MOST_WAITING, Viewer
from llmdbg.frontends.wire.frames import FrameReader, Kind
from llmdbg.frontends.wire.messages import Role


@pytest.fixture
def ends():
    here, there = socket.socketpair()
    yield Viewer(here), there
    here.close()
    there.close()


def read(viewer, there):
    """The frames that come until nothing waits any more."""
    reader = FrameReader()
    found: list[tuple[Kind, bytes]] = []
    while viewer.has_more:
        assert viewer.send()
        found += reader.take(there.recv(1 << 20))
    there.setblocking(False)
    try:
        while data := there.recv(1 << 20):
            found += reader.take(data)
    except BlockingIOError:
        pass
    return found


def test_who_is_too_slow_misses_whole_frames_and_gets_the_whole_screen(ends):
    viewer, there = ends
    viewer.size = (80, 24)
    for at in range(60):
        viewer.show(b"%02d" % at * 20_000)
        viewer.send()
    assert viewer.is_behind
    viewer.tell(Role("a", drives=True, columns=80, lines=24))
    received = read(viewer, there)
    assert sum(len(payload) for _, payload in received) < MOST_WAITING
    assert all(len(set(payload)) <= 2 for kind, payload in received if kind is Kind.OUTPUT)
    assert [kind for kind, _ in received].count(Kind.MESSAGE) == 1
    viewer.is_behind, viewer.waits_for = False, 1
    viewer.show(b"before the mark")
    viewer.begin(b"")
    viewer.show(b"after it")
    assert not any(b"before" in bytes(each) for each in viewer._waiting)
    assert any(b"after it" in bytes(each) for each in viewer._waiting)


def test_a_terminal_is_taken_over_once_and_nothing_cut_short_is_left_in_it(ends):
    viewer, there = ends
    viewer.size, viewer.waits_for, viewer.wants_modes = (80, 24), 1, True
    viewer.begin(b"modes")
    viewer.begin(b"modes")
    assert b"".join(payload for _, payload in read(viewer, there)) == b"\x18modes\x18"


def test_who_has_gone_is_noticed(ends):
    viewer, there = ends
    there.close()
    assert viewer.receive() is None
    viewer.size = (80, 24)
    viewer.show(b"x")
    assert not viewer.send()
