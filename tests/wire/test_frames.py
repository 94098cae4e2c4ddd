"""Messages between processes: whole, whatever pieces they come in."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcar.wire.frames import MAX_BYTES, Frame, Frames, frame

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
FRAMES = st.lists(st.builds(Frame, st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.binary(max_size=50)), max_size=5)


@settings(deadline=None)
@given(FRAMES, st.integers(1, 30))
def test_any_cut(said: list[Frame], size: int) -> None:
    """What is heard does not depend on where the stream is cut."""
    data = b"".join(frame(one.head, one.body) for one in said)
    frames, heard = Frames(), list[Frame]()
    for at in range(0, len(data), size):
        heard += frames.feed(data[at : at + size])
    assert heard == said


@pytest.mark.parametrize("data", [
    struct.pack(">II", MAX_BYTES, 1),
    struct.pack(">II", 2, 0) + b"[]",
    struct.pack(">II", 2, 0) + b"{]",
])
def test_no_frame(data: bytes) -> None:
    """More than anybody sends, a head that is no object, and one that is no JSON."""
    with pytest.raises(ValueError):
        Frames().feed(data)
