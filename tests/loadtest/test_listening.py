"""What a listener hears of an answer that comes in pieces."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.errors import AudioError
from faster_higgs.loadtest.endpoints import Events, NoSound, Raw, Whole, error_in, reader_for
from faster_higgs.loadtest.listening import Listener

RATE = 24_000
SECOND = bytes(2 * RATE)


def wav(seconds: float, rate: int = RATE) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * round(seconds * rate)))
    return made.getvalue()


class TestListener:
    def test_it_is_dry_when_all_that_came_is_played(self):
        heard = Listener("pcm")
        for now in (1.0, 1.5, 2.9, 4.5):  # one second each
            heard.feed(SECOND, now)
        assert heard.first == 1.0 and heard.seconds == 4
        assert heard.underruns == 1 and heard.dry == pytest.approx(0.5)

    def test_after_a_gap_it_is_ahead_by_what_came_then(self):
        heard = Listener("pcm")
        for now in (0.0, 3.0, 3.9, 5.0):
            heard.feed(SECOND, now)
        assert heard.underruns == 1 and heard.dry == pytest.approx(2.0)

    @pytest.mark.parametrize("size", [1, 7, 44, 45, 10_000])
    def test_a_wav_file_in_any_pieces_is_that_file(self, size):
        data, heard = wav(0.5, 16_000), Listener("wav")
        for at in range(0, len(data), size):
            heard.feed(data[at : at + size], float(at + size > 44))
        assert heard.seconds == 0.5 and heard.size == len(data) and heard.first == 1.0

    def test_a_header_is_no_sound(self):
        heard = Listener("wav")
        heard.feed(wav(0), 1.0)
        assert heard.first is None

    @pytest.mark.parametrize("format", ["mp3", "flac", "opus"])
    def test_of_other_formats_only_the_length_is_known(self, format):
        sound = 0.3 * np.sin(np.arange(RATE) * 0.05).astype(np.float32)
        heard = Listener(format)
        heard.feed(encode(sound, format, RATE), 2.0)
        assert heard.first == 2.0 and heard.underruns is None
        assert heard.seconds == pytest.approx(1, abs=0.1)

    def test_what_is_no_sound_has_no_length(self):
        heard = Listener("wav")
        heard.feed(b"<html>Welcome to this page, which is no sound.</html>", 0.0)
        with pytest.raises(AudioError):
            _ = heard.seconds


class TestAnswers:
    @pytest.mark.parametrize("size", [1, 10, 1000])
    def test_events_of_speech_and_of_chat_in_any_pieces(self, size):
        lines = [
            b"event: speech.audio.delta",
            b'data: {"type": "speech.audio.delta", "audio": "YWI="}',
            b'data: {"choices": [{"delta": {"audio": {"data": "Y2Q="}}}]}',
            b'data: {"choices": [{"delta": {"content": "Hi"}}]}',
            b'data: {"type": "speech.audio.done", "usage": {}}',
            b"data: [DONE]",
            b"",
        ]
        data, reader = b"\n".join(lines), Events()
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        assert b"".join(sound for part in parts for sound in reader.feed(part)) == b"abcd"

    def test_an_event_that_tells_of_an_error(self):
        with pytest.raises(NoSound, match="no more"):
            list(Events().feed(b'data: {"error": {"message": "no more"}}\n'))

    def test_a_whole_chat_answer(self):
        reader = Whole()
        assert not list(reader.feed(b'{"choices": [{"message": {"audio"'))
        assert not list(reader.feed(b': {"data": "YWI="}}}]}'))
        assert list(reader.finish()) == [b"ab"]

    @pytest.mark.parametrize("answer", [b"{}", b"[1]", b'{"choices": []}', b"<html>"])
    def test_an_answer_without_sound(self, answer):
        reader = Whole()
        assert not list(reader.feed(answer))
        with pytest.raises(NoSound):
            list(reader.finish())

    def test_the_kind_of_an_answer_says_how_it_is_read(self):
        assert type(reader_for("audio/wav")) is Raw
        assert isinstance(reader_for("text/event-stream; charset=utf-8"), Events)
        assert isinstance(reader_for("application/json"), Whole)

    @pytest.mark.parametrize(
        "body",
        [
            b'{"error": {"message": "Too long."}}',
            b'{"error": "Too long."}',
            b'{"detail": "Too long."}',
            b"Too long.\n",
            b'"Too long."',
        ],
    )
    def test_errors_of_any_server(self, body):
        assert error_in(body) == "Too long."
