"""A voice without a picture as an input of a call."""

from __future__ import annotations

import time
import wave

import numpy as np
import pytest

from streaming.inputs import InputError, SoundFilePlayer, VoiceOnly, open_live_input
from streaming.media import AUDIO_BLOCK
from streaming.media_sender import MediaSender
from streaming.participant import Capture

pytestmark = pytest.mark.realtime


@pytest.fixture
def sound(tmp_path):
    """A tenth of a second and a little more, 16 kHz."""
    samples = np.rint(10_000 * np.sin(np.arange(1700) / 10)).astype("<i2")
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return tmp_path / "voice.wav"


def test_a_sound_file_plays_in_real_time_in_whole_blocks(sound):
    with open_live_input(str(sound)) as player:
        assert isinstance(player, SoundFilePlayer)
        assert player.has_audio
        assert not player.has_picture
        assert player.read() is None
        begin, blocks = time.monotonic(), []
        while (block := player.read_audio()) is not None:
            blocks.append(block)
        took = time.monotonic() - begin
    assert [round(at, 3) for at, _ in blocks] == [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]
    assert all(samples.size == AUDIO_BLOCK and samples.dtype == np.int16 for _, samples in blocks)
    assert np.abs(blocks[2][1]).max() == pytest.approx(10_000, rel=0.05)
    assert 0.11 < took < 1.0


def test_a_file_that_is_neither_is_said(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"nothing of the kind" * 40)
    with pytest.raises(InputError, match=r"a\.wav"):
        open_live_input(str(tmp_path / "a.wav"))
    with pytest.raises(InputError, match="no such file"):
        SoundFilePlayer(tmp_path / "b.wav")


async def test_a_capture_of_a_voice_alone_sends_it_and_ends_with_it(sound):
    sent = []

    class Sender(MediaSender):
        def send_voice(self, samples, at):
            sent.append((at, samples.size))

    sender = Sender()
    capture = Capture(SoundFilePlayer(sound), sender)
    await capture.run()
    assert len(sent) == 6
    assert np.diff([at for at, _ in sent]) == pytest.approx([0.02] * 5)
    assert sent[0][0] == pytest.approx(capture.offset, abs=1e-6)
    assert capture.frames == 0


def test_a_microphone_without_a_camera_is_on_the_clock_of_its_start():
    class Fake:
        """A device that this machine may not have; what it records is made up."""

        started = None

        def start(self, origin):
            self.started = origin

        def read(self):
            return 0.0, np.zeros(AUDIO_BLOCK, np.int16)

        def close(self):
            self.started = None

    device = Fake()
    with VoiceOnly(device) as voice:
        assert device.started == voice.epoch
        assert voice.read() is None
        assert voice.read_audio()[1].size == AUDIO_BLOCK
    assert device.started is None
