"""Reading: any file becomes mono at 24 kHz, and what cannot is refused in one sentence."""

from __future__ import annotations

import io
import os
import struct
import threading
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.audio.encode import FORMATS, encode, encoder_for
from faster_higgs.audio.files import read
from faster_higgs.errors import AudioError
from tests.audio.sounds import RATE, file_bytes, tone


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    size = min(len(one), len(other))
    return float(np.corrcoef(one[:size], other[:size])[0, 1])


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]),
    channels=st.integers(1, 8),
    count=st.integers(8, 20_000),
)
def test_any_rate_and_channel_count_gives_mono_of_the_same_length(rate, channels, count):
    sound = np.repeat(tone(count / rate, rate)[:count, None], channels, axis=1)
    samples = read(file_bytes(sound, rate, subtype="FLOAT"))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert abs(len(samples) - len(sound) * RATE / rate) <= 1


def test_samples_at_the_asked_rate_come_back_untouched():
    sound = tone() * 5  # far over full scale, which a float file may hold
    np.testing.assert_array_equal(read(file_bytes(sound, subtype="FLOAT")), sound)


def test_resampling_keeps_the_tone():
    samples = read(file_bytes(tone(1.0, 44_100), 44_100))
    assert len(samples) == RATE
    assert np.abs(samples - tone())[500:-500].max() < 1e-3


def test_channels_are_averaged():
    stereo = np.stack([tone(), -tone()], axis=1)
    assert np.abs(read(file_bytes(stereo, subtype="FLOAT"))).max() < 1e-7


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"pcm"}))
def test_every_format_we_write_can_be_read_back(format):
    sound = tone(1.0)
    samples = read(encode(sound, format))
    spectrum = np.abs(np.fft.rfft(samples[:RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 3
    assert len(sound) <= len(samples) <= len(sound) + 2 * 1_024


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "W64", "RF64"])
def test_what_libsndfile_reads_is_read(kind):
    assert correlation(read(file_bytes(tone(), format=kind)), tone()) > 0.99


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_what_only_ffmpeg_reads_is_read(container, tmp_path):
    path = tmp_path / "clip.bin"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("aac", rate=48_000, layout="stereo")
        sound = np.repeat(tone(1.0, 48_000)[None], 2, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", "stereo")
        frame.sample_rate = 48_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert abs(len(read(path)) - RATE) < 2_048


def test_a_path_bytes_a_file_and_a_pipe_give_the_same(tmp_path):
    content = file_bytes(tone())
    path = tmp_path / "a clip.raw"  # a suffix that lies
    path.write_bytes(content)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    found = [read(path), read(str(path)), read(content), read(io.BytesIO(content)), read(pipe)]
    writer.join()
    with path.open("rb") as file:
        found.append(read(file))
    for samples in found:
        np.testing.assert_array_equal(samples, found[0])


def test_streamed_files_without_a_length_are_read_whole():
    for format in ("wav", "flac"):
        encoder = encoder_for(format)
        content = encoder.encode(tone(0.5)) + encoder.encode(tone(0.5)) + encoder.finish()
        assert len(read(content)) == RATE


def bad_files() -> dict[str, bytes]:
    silent = io.BytesIO()
    with wave.open(silent, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    broken = tone()
    broken[RATE // 2] = np.nan
    endless = tone()
    endless[-1] = np.inf
    odd_rate = bytearray(file_bytes(tone(0.1)))
    odd_rate[24:28] = struct.pack("<I", 3)
    flac = file_bytes(tone(5), format="FLAC")
    picture = b"\x89PNG\r\n\x1a\n" + bytes(200)
    return {
        "empty: 0 bytes": b"",
        "not one sample": silent.getvalue(),
        "not numbers, first at 0.50 s": file_bytes(broken, subtype="FLOAT"),
        "not numbers, first at 1.00 s": file_bytes(endless, subtype="DOUBLE"),
        "sample rate of 3 Hz": bytes(odd_rate),
        "damaged": flac[: len(flac) // 2] + bytes(1_000) + flac[len(flac) // 2 + 1_000 :],
        "not a sound file|no sound in it": picture,
        "not a sound file": b"Dear reader, this is a letter." * 50,
    }


@pytest.mark.parametrize("words", bad_files())
def test_what_is_not_sound_is_refused_in_one_sentence(words):
    with pytest.raises(AudioError, match=words) as refusal:
        read(bad_files()[words])
    assert str(refusal.value).startswith("The audio given")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 200


def test_a_video_without_sound_is_refused(tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w", format="matroska") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        file.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        file.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no sound in it"):
        read(path)


def test_paths_that_hold_no_file_are_refused(tmp_path):
    with pytest.raises(AudioError, match="There is no file"):
        read(tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(AudioError, match="cannot be opened"):
        read("a\0b.wav")
    with pytest.raises(AudioError, match="cannot be opened"):
        read("x" * 5_000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(file_bytes(tone()))
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        read(path)


def test_a_large_file_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "big.wav"
    path.write_bytes(file_bytes(tone()))
    monkeypatch.delattr(soundfile, "SoundFile")
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(AudioError, match=r"at most 0\.0 MB are read"):
            read(source, max_bytes=1_000)


def test_a_long_file_is_refused_by_its_header_with_both_lengths(monkeypatch):
    content = file_bytes(np.zeros(700 * 8_000, "f4"), 8_000, "FLAC")
    monkeypatch.setattr(soundfile.SoundFile, "read", None)  # decoding would fail
    with pytest.raises(AudioError, match=r"700\.0 s long; at most 600 s"):
        read(content)


def test_a_length_that_ffmpeg_reads_from_a_header_counts_too(tmp_path):
    path = tmp_path / "clip.m4a"
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(3.0)[None], "fltp", "mono")
        frame.sample_rate = RATE
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(AudioError, match=r"3\.\d s long; at most 2 s"):
        read(path, max_seconds=2)


@pytest.mark.parametrize("format", ["wav", "flac", "aac"])
def test_a_header_that_tells_no_length_does_not_get_around_the_limit(format):
    encoder = encoder_for(format)
    content = b"".join([encoder.encode(tone(1.0)) for _ in range(4)] + [encoder.finish()])
    assert len(read(content, max_seconds=5)) >= 4 * RATE
    with pytest.raises(AudioError, match=r"at most 2 s|past 2 s"):
        read(content, max_seconds=2)


def test_many_channels_do_not_mean_much_memory():
    assert len(read(file_bytes(np.zeros((3_000, 256), "f4")))) == 3_000


def test_more_separate_channels_than_ffmpeg_frames_point_to_are_read(tmp_path):
    path = tmp_path / "clip.mka"
    with av.open(str(path), "w", format="matroska") as file:
        stream = file.add_stream("wavpack", rate=RATE, layout="7.1.4")
        stream.codec_context.format = "s16p"
        sound = (np.repeat(tone(0.5)[:, None], 12, axis=1) * 32_767).astype("i2")
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), "s16", "7.1.4")
        frame.sample_rate = RATE
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert np.abs(read(path) - tone(0.5)).max() < 1e-3


def test_a_playlist_opens_no_other_file(tmp_path, monkeypatch):
    secret = tmp_path / "secret.aac"
    secret.write_bytes(encode(tone(), "aac"))
    monkeypatch.chdir(tmp_path)
    concat = b"ffconcat version 1.0\nfile secret.aac\n"
    playlist = f"#EXTM3U\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    for content in (concat, playlist):
        (Path("list.txt")).write_bytes(content)
        for source in (content, "list.txt"):
            with pytest.raises(AudioError):
                read(source)


@settings(max_examples=60, deadline=None)
@given(
    where=st.integers(0, 400),
    junk=st.binary(min_size=1, max_size=40),
    format=st.sampled_from(["WAV", "FLAC", "OGG", "MP3"]),
)
def test_a_mangled_file_gives_samples_or_one_sentence(where, junk, format):
    content = bytearray(file_bytes(tone(0.2), format=format))
    content[where : where + len(junk)] = junk
    try:
        samples = read(bytes(content), max_seconds=60)
    except AudioError:
        return
    assert np.isfinite(samples).all()
