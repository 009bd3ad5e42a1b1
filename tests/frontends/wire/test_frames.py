"""Frames: whole however they are cut, and nothing taken that is too long, unknown or of another version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.frontends.wire.frames import MOST_BYTES, PREAMBLE, FrameError, FrameReader, Kind, frame, frames

SENT = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=8)


@given(SENT, st.lists(st.integers(1, 50), max_size=60))
def test_frames_arrive_whole_however_they_are_cut(sent, cuts):
    stream = PREAMBLE + b"".join(frame(kind, payload) for kind, payload in sent)
    reader = FrameReader()
    received: list[tuple[Kind, bytes]] = []
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        received += reader.take(piece)
    assert received == sent


@pytest.mark.parametrize("kind", Kind)
def test_a_frame_is_refused_by_its_length_before_it_is_there(kind):
    reader = FrameReader()
    with pytest.raises(FrameError, match=f"a frame of {kind.name}"):
        list(reader.take(PREAMBLE + kind.value + (MOST_BYTES[kind] + 1).to_bytes(4, "big")))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "not llmdbg's protocol"),
        (b"llmdbg\x00\x01", "version 1 of the protocol"),
        (PREAMBLE + b"z\x00\x00\x00\x00", "unknown kind b'z'"),
        (b"\x80\x04\x95", "not llmdbg's protocol"),
    ],
)
def test_what_is_not_of_this_protocol_is_said_in_a_few_words(data, said):
    with pytest.raises(FrameError, match=said):
        list(FrameReader().take(data))


def test_a_long_output_takes_several_frames():
    output = bytes(range(256)) * 1024
    reader = FrameReader()
    received = list(reader.take(PREAMBLE + b"".join(frames(Kind.OUTPUT, output))))
    assert b"".join(payload for _, payload in received) == output
    assert len(received) == 2
    with pytest.raises(ValueError, match="262144 bytes"):
        frame(Kind.OUTPUT, output)
