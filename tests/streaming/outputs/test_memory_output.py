from __future__ import annotations

import numpy as np
import pytest

from streaming.outputs import MemoryOutput


@pytest.mark.parametrize(("limit", "kept"), [(10, [0, 1, 2, 3]), (2, [2, 3]), (0, [])])
def test_keeps_the_newest_and_counts_all(limit, kept):
    with MemoryOutput(limit) as output:
        for number in range(4):
            output.write(np.full((2, 2, 3), number, np.uint8), number / 25)
            output.write_audio(np.full(960, number, np.int16), number / 25)
    assert [frame[0, 0, 0] for _, frame in output.frames] == kept
    assert [time for time, _ in output.sounds] == [number / 25 for number in kept]
    assert (output.frame_count, output.sample_count, output.closed) == (4, 4 * 960, True)


def test_a_frame_that_is_changed_later_stays_as_it_was_written():
    output = MemoryOutput()
    frame = np.zeros((2, 2, 3), np.uint8)
    output.write(frame, 0.0)
    frame[:] = 9
    assert not output.frames[0][1].any()
