"""Speed and rate: the length is right, the pitch stays, and pieces are the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.audio.shape import Shape
from faster_higgs.errors import SettingError

RATE = 24_000
SPEEDS = [0.25, 0.4, 0.5, 0.8, 1.0, 1.3, 2.0, 3.0, 4.0]


def sweep(seconds: float = 3.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 40 * time) * time)).astype(np.float32)


def shaped(samples: np.ndarray, cuts: list[int] | None = None, **wanted) -> np.ndarray:
    shape = Shape(RATE, **wanted)
    pieces = [shape.feed(piece) for piece in np.split(samples, cuts or [])]
    return np.concatenate([*pieces, shape.finish()])


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_length_is_that_of_the_speed(speed):
    for samples in (1, 100, 2_000, 3 * RATE):
        assert len(shaped(sweep()[:samples], speed=speed)) == round(samples / speed)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_end_is_heard(speed):
    last = RATE // 10
    silence = np.zeros(RATE, np.float32)
    found = shaped(np.concatenate([silence, sweep()[-last:]]), speed=speed)
    tail = found[-round(last / speed) :]
    assert np.sqrt(np.mean(tail**2)) > 0.1 and np.abs(found[: len(found) // 2]).max() < 1e-3


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_pitch_stays(speed):
    tone = np.sin(2 * np.pi * 300 * np.arange(3 * RATE) / RATE).astype(np.float32)
    found = shaped(tone, speed=speed)
    middle = found[len(found) // 4 : len(found) * 3 // 4]
    strength = np.abs(np.fft.rfft(middle))
    assert strength.argmax() * RATE / len(middle) == pytest.approx(300, abs=4)


@given(
    st.lists(st.integers(0, RATE), max_size=6).map(sorted),
    st.sampled_from(SPEEDS),
    st.sampled_from([None, 8_000, 16_000, 24_000, 44_100, 48_000]),
)
@settings(max_examples=30, deadline=None)
def test_pieces_are_the_whole(cuts, speed, to):
    whole = shaped(sweep(1.0), speed=speed, to=to)
    pieces = shaped(sweep(1.0), cuts, speed=speed, to=to)
    assert len(pieces) == len(whole)
    assert np.abs(pieces - whole).max(initial=0) < 1e-4


@pytest.mark.parametrize("to", [8_000, 16_000, 44_100, 48_000])
def test_another_rate_is_as_long(to):
    assert len(shaped(sweep(), to=to)) == pytest.approx(3 * to, abs=2)


def test_nothing_wanted_changes_nothing():
    assert np.array_equal(shaped(sweep(), [100, 5000]), sweep())


def test_of_no_sound_there_is_none():
    assert not shaped(np.zeros(0, np.float32), speed=2.0, to=16_000).size


@pytest.mark.parametrize("wanted", [{"speed": 0.2}, {"speed": 4.1}, {"speed": float("nan")}])
def test_a_speed_that_cannot_be_is_refused(wanted):
    with pytest.raises(SettingError, match=r"0.25 to 4"):
        Shape(RATE, **wanted)


def test_a_rate_that_cannot_be_is_refused():
    with pytest.raises(SettingError, match="8000 to 48000"):
        Shape(RATE, to=96_000)
