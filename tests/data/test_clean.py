"""What is done to a recording, and that a bad one harms no other."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from faster_higgs.audio import levels
from faster_higgs.audio.encode import encode
from faster_higgs.data.clean import CleanSettings, cleaned, levelled, trimmed
from faster_higgs.data.record import BadRow, Recording, Reference
from faster_higgs.errors import SettingError
from tests.data.recordings import RATE, recordings, voice


def sound_of(clip):
    return soundfile.read(io.BytesIO(clip.audio), dtype="float32")[0]


def only(recording, **settings):
    (clip,) = cleaned(recording, CleanSettings(**settings))
    return clip


def as_file(samples, rate, format="WAV", **other):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, **other)
    return file.getvalue()


def test_any_sound_becomes_mono_at_24_khz():
    stereo = np.stack([np.zeros(44_100), 0.5 * np.sin(np.arange(44_100) / 20)], axis=1)
    clip = only(Recording(as_file(stereo, 44_100), "hello", "ann", "x"))
    assert clip.samples == RATE == len(sound_of(clip)) and clip.seconds == 1.0


def test_16_bit_sound_at_that_rate_stays_as_it_is():
    samples = (voice("angus")[:RATE] * 32_768).round() / 32_768
    clip = only(Recording(as_file(samples, RATE, subtype="PCM_16"), "hello", "ann", "x"))
    assert np.array_equal(sound_of(clip), samples)


def test_the_text_is_as_it_is_spoken():
    assert only(recordings(1)[0]).text == "this is one of one."
    told = Recording(recordings(1)[0].audio, "He paid $5 in cafe\u0301s", "ann", "x")
    assert only(told).text == "He paid five dollars in cafés."
    assert only(told).language == "en"


@pytest.mark.parametrize("wrong", [Path("nowhere.wav"), b"", b"RIFF nonsense", b"fLaC"])
def test_a_bad_clip_is_told_and_not_raised(wrong):
    clip = only(Recording(wrong, "hello", "ann", "x"))
    assert clip.fault == "unreadable" and clip.why.endswith(".") and not clip.audio


def test_a_row_without_a_recording_is_told():
    assert only(BadRow("row 3", "It has no text.", "text")).fault == "bad_row"
    for kind in ("marked", "lone_sound", "lone_text"):
        assert only(BadRow("row 4", "Not valid.", kind)).fault == kind


def test_references_come_first_and_are_known_by_their_sound():
    one, other = recordings(2)
    beside = Reference(other.audio, other.text, other.speaker)
    named = Recording(one.audio, one.text, one.speaker, "x", "en", {}, (beside,))
    reference, clip = cleaned(named, CleanSettings())
    assert reference.is_reference and not clip.is_reference
    assert clip.references == (reference.sound,) == (only(other).sound,)


def test_trimming_cuts_silence_and_nothing_else():
    quiet = np.zeros(RATE, np.float32)
    speech = voice("clara")[: 2 * RATE]
    cut = trimmed(np.concatenate([quiet, speech, quiet]))
    assert 1.8 * RATE < len(cut) <= 2.25 * RATE
    assert levels.rms(cut) ** 2 * len(cut) == pytest.approx(
        levels.rms(speech) ** 2 * len(speech), rel=1e-3
    )
    assert len(trimmed(quiet)) == RATE


def test_loudness_is_reached_or_stops_before_it_clips():
    speech = voice("clara")[: 2 * RATE]
    assert 20 * np.log10(levels.rms(trimmed(levelled(speech, -30)))) == pytest.approx(-30, abs=1)
    assert levels.peak(levelled(speech, -10)) <= 0.981
    assert not levelled(np.zeros(RATE, np.float32), -23).any()


def test_the_same_sound_has_the_same_hash_whatever_is_done_to_it():
    one = recordings(1)[0]
    plain, changed = only(one), only(one, trim=True, loudness=-30.0)
    assert plain.sound == changed.sound and plain.audio != changed.audio
    samples = sound_of(plain)
    wav = Recording(as_file(samples, RATE, subtype="PCM_16"), one.text, one.speaker, "x")
    assert only(wav).sound == plain.sound


def test_a_loudness_that_cannot_be_is_refused():
    with pytest.raises(SettingError, match="use -50 to -10"):
        CleanSettings(loudness=23)


def test_clipping_is_found_whatever_level_is_asked_for():
    loud = encode(np.clip(20 * voice("angus")[:RATE], -1, 1), "flac", RATE)
    recording = Recording(loud, "hello there", "angus", "loud.flac", "en")
    plain, quiet = only(recording), only(recording, loudness=-30.0)
    assert plain.measures == quiet.measures and quiet.measures.clipped > 0.001
    assert levels.peak(sound_of(quiet)) < 0.5
