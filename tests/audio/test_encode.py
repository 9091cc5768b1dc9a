"""Encoding: pieces joined are one file, and that file says what the whole would have said."""

from __future__ import annotations

import gc
import io
import wave

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.audio.encode import FORMATS, encode, encoder_for, format_of, to_int16
from faster_higgs.audio.files import read
from faster_higgs.errors import AudioError, SettingError
from tests.audio.sounds import RATE, tone

EXACT = ("wav", "pcm", "flac")
LOSSY = ("mp3", "opus", "ogg", "aac")
# Samples that may be added in front and behind: the encoder's delay and the last block's filling.
SLACK = {"mp3": 3 * 576, "opus": 0, "ogg": 0, "aac": 3 * 1_024}
EDGES = np.array([-2, -1, -0.99999, -1e-9, 0, 1e-5, 0.5, 0.99999, 1, 3], np.float32)


def cut(samples: np.ndarray, places: list[int]) -> list[np.ndarray]:
    return np.split(samples, sorted(place % (len(samples) + 1) for place in places))


def streamed(samples: np.ndarray, format: str, places: list[int]) -> bytes:
    encoder = encoder_for(format)
    return b"".join([*map(encoder.encode, cut(samples, places)), encoder.finish()])


def decoded(content: bytes, format: str) -> np.ndarray:
    if format == "pcm":
        return np.frombuffer(content, "<i2") / np.float32(32_768)
    return read(content)


@pytest.mark.parametrize("format", EXACT)
@settings(max_examples=25, deadline=None)
@given(places=st.lists(st.integers(0, 20_000), max_size=6), count=st.integers(1, 20_000))
def test_pieces_decode_to_the_whole_exactly(format, places, count):
    sound = np.random.default_rng(count).uniform(-1.2, 1.2, count).astype("f4")
    whole = decoded(encode(sound, format), format)
    np.testing.assert_array_equal(decoded(streamed(sound, format, places), format), whole)
    np.testing.assert_array_equal(whole, to_int16(sound) / np.float32(32_768))


@pytest.mark.parametrize("format", LOSSY)
@settings(max_examples=10, deadline=None)
@given(places=st.lists(st.integers(0, 20_000), max_size=6), count=st.integers(4_800, 40_000))
def test_pieces_of_a_lossy_format_are_one_file_of_the_right_length(format, places, count):
    sound = tone(count / RATE)
    samples = decoded(streamed(sound, format, places), format)
    assert 0 <= len(samples) - count <= SLACK[format]
    lag = int(np.argmax(np.correlate(samples[:4_000], sound[:1_200], "valid")))
    size = min(len(samples) - lag, count) - 1_200
    assert np.corrcoef(samples[lag : lag + size], sound[:size])[0, 1] > 0.99


@pytest.mark.parametrize("format", LOSSY)
def test_the_cuts_do_not_change_a_lossy_stream(format):
    sound = tone(0.7)

    def body(content: bytes) -> bytes:  # without Ogg's random serial number and its checksums
        return content if format in ("mp3", "aac") else read(content).tobytes()

    assert body(streamed(sound, format, [1, 777, 9_000])) == body(streamed(sound, format, []))


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"pcm", "aac"}))
def test_a_whole_file_tells_its_exact_length(format):
    assert soundfile.info(io.BytesIO(encode(tone(1.0), format))).duration == 1.0


def test_an_encoder_that_is_dropped_in_the_middle_holds_nothing_back():
    """FFmpeg's for FLAC has 7 MB, which garbage collection would find minutes later."""

    def left() -> int:
        return sum(type(one) is av.container.OutputContainer for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = left()
        encoder = encoder_for("flac")
        encoder.encode(tone(0.5))
        assert left() == before + 1
        del encoder
        assert left() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_come_while_the_sound_is_still_growing(format):
    encoder = encoder_for(format)
    sizes = [len(encoder.encode(tone(0.2))) for _ in range(10)]
    rest = len(encoder.finish())
    assert min(sizes[2:]) > 0
    assert rest < sum(sizes) / 2


@pytest.mark.parametrize("format", FORMATS)
def test_a_sound_without_samples_gives_a_file_without_sound(format):
    for content in (encode(np.zeros(0, "f4"), format), streamed(np.zeros(0, "f4"), format, [])):
        try:
            samples = decoded(content, format)
        except AudioError:
            continue
        assert len(samples) <= SLACK.get(format, 0)


def test_a_streamed_wav_has_open_lengths_and_a_whole_one_exact_lengths():
    sound = tone(0.1)
    whole, stream = encode(sound, "wav"), streamed(sound, "wav", [100])
    assert stream[4:8] == stream[40:44] == b"\xff\xff\xff\xff"
    assert whole[44:] == stream[44:]
    with wave.open(io.BytesIO(whole)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        assert file.getnframes() == len(sound)
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8


@pytest.mark.parametrize(
    ("format", "magic"), [("opus", b"OggS"), ("wav", b"RIFF"), ("flac", b"fLaC")]
)
def test_a_stream_is_one_container_with_one_header(format, magic):
    content = streamed(tone(1.0), format, [2_400 * i for i in range(10)])
    assert content.startswith(magic)
    starts = content.count(b"OpusHead") if format == "opus" else content.count(magic)
    assert starts == 1


@pytest.mark.parametrize("format", FORMATS)
def test_equal_sound_gives_equal_sound_after_decoding_at_every_loudness(format):
    loud = decoded(encode(np.clip(4 * tone(0.5), -1, 1), format), format)
    assert 0.9 < np.abs(loud).max() <= 1.5


def test_int16_clips_and_rounds_and_survives_a_round_trip():
    assert to_int16(EDGES).tolist() == [-32768, -32768, -32768, 0, 0, 0, 16384, 32767, 32767, 32767]
    every = np.arange(-32_768, 32_768).astype(np.int16)
    np.testing.assert_array_equal(to_int16(every / np.float32(32_768)), every)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused_before_it_is_written(bad):
    sound = tone(0.1)
    sound[7] = bad
    with pytest.raises(AudioError, match="not numbers"):
        encode(sound, "wav")


def test_more_than_one_channel_is_our_own_mistake():
    with pytest.raises(ValueError, match="mono"):
        encoder_for("wav").encode(np.zeros((2, 100), "f4"))


@pytest.mark.parametrize("name", ["m4a", "WAV", "", "../wav"])
def test_an_unknown_format_is_refused_with_the_known_ones(name):
    with pytest.raises(SettingError, match="choose one of wav, pcm, flac, mp3"):
        encoder_for(name)


def test_a_rate_that_a_format_cannot_hold_is_refused():
    with pytest.raises(SettingError, match="opus cannot hold sound at 44100 Hz"):
        encoder_for("opus", 44_100)
    for rate in (8_000, 16_000, 48_000):
        for format in FORMATS:
            assert encode(tone(0.5, rate), format, rate)


@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("a.wav", "wav"),
        ("b/c.MP3", "mp3"),
        ("x.tar.opus", "opus"),
        ("o.ogg", "ogg"),
        ("p.pcm", "pcm"),
    ],
)
def test_the_suffix_names_the_format(path, format):
    assert format_of(path) == format


@pytest.mark.parametrize("path", ["speech", "speech.txt", ".wav", "-"])
def test_a_suffix_that_names_no_format_is_refused(path):
    with pytest.raises(SettingError, match=r"give it one of \.wav, "):
        format_of(path)


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac"])
def test_streams_are_what_their_type_says(format):
    with av.open(io.BytesIO(streamed(tone(0.5), format, [5_000]))) as file:
        assert file.streams.audio[0].codec_context.name.startswith(format)
        assert file.streams.audio[0].codec_context.layout.nb_channels == 1


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("format", ["wav", "mp3", "flac", "opus", "ogg"])
def test_a_note_is_the_files_comment_and_changes_no_sample(format, whole):
    sound = (0.3 * np.sin(np.arange(24_000) / 20)).astype(np.float32)
    note = "Nobody said this."

    def made(note: str) -> bytes:
        if whole:
            return encode(sound, format, 24_000, note)
        encoder = encoder_for(format, 24_000, note)
        return encoder.encode(sound) + encoder.finish()

    with av.open(io.BytesIO(made(note))) as file:
        told = {**file.metadata, **file.streams.audio[0].metadata}
    assert note in {value for key, value in told.items() if key.lower() == "comment"}
    assert note.encode() not in made("")
    np.testing.assert_array_equal(read(made(note), rate=24_000), read(made(""), rate=24_000))
