"""Measures are those of the sound that was made; what is odd is named."""

import numpy as np
import pytest

from faster_higgs.data.measure import Limits, measure, sound_hash, unusual

RATE = 24_000
TEXT = "a sentence of the usual length, said in two seconds."

NOISE = (np.random.default_rng(1).standard_normal(2 * RATE) * 0.15).astype(np.float32)


def speech(seconds: float = 2.0, amplitude: float = 0.3) -> np.ndarray:
    """Bursts of a tone over a faint noise, with pauses between them."""
    t = np.arange(int(seconds * RATE)) / RATE
    bursts = np.sin(2 * np.pi * 200 * t) * ((t * 4 % 1) < 0.7)
    noise = np.random.default_rng(0).standard_normal(t.size) * 0.001
    return (amplitude * bursts + noise).astype(np.float32)


def test_a_tone_measures_what_it_is():
    tone = (0.5 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)).astype(np.float32)
    found = measure(tone, RATE, "abcdefghij")
    assert found.seconds == 1 and found.peak == pytest.approx(0.5, abs=1e-3)
    assert found.level == pytest.approx(-9.03, abs=0.02)  # 20 log10(0.5 / sqrt 2)
    assert (found.clipped, found.silence) == (0, 0) and found.pace == pytest.approx(10, rel=0.05)


def test_silence_around_speech_does_not_slow_it_down():
    padded = np.concatenate([np.zeros(RATE), speech(), np.zeros(2 * RATE)]).astype(np.float32)
    bare, around = measure(speech(), RATE, TEXT), measure(padded, RATE, TEXT)
    assert around.pace == pytest.approx(bare.pace, rel=0.1)
    assert around.silence > bare.silence + 0.4


@pytest.mark.parametrize("samples", [[], [0.0] * 500, [np.nan, np.inf, 1.0]])
def test_nothing_measures_as_finite_figures(samples):
    found = measure(np.array(samples, np.float32), RATE, "")
    assert np.isfinite(list(vars(found).values())).all()


def test_good_speech_is_not_unusual():
    assert unusual(measure(speech(), RATE, TEXT)) == []


@pytest.mark.parametrize(
    ("name", "samples", "text"),
    [
        ("seconds", speech(0.3), "ja"),
        ("seconds", speech(31), TEXT * 12),
        ("level", speech(amplitude=0.004), TEXT),
        ("clipped", np.clip(speech(amplitude=3), -1, 1), TEXT),
        ("silence", np.concatenate([speech(), np.zeros(8 * RATE, np.float32)]), TEXT),
        ("pace", speech(), TEXT * 5),
        ("pace", speech(), "oh"),
        ("signal_to_noise", speech() + NOISE, TEXT),
    ],
)
def test_what_is_odd_is_named(name, samples, text):
    assert name in [one.check for one in unusual(measure(samples, RATE, text), Limits())]


def test_equal_sounds_have_equal_hashes():
    stored = np.rint(speech() * 32_768) / 32_768
    assert sound_hash(speech()) == sound_hash(stored.astype(np.float32))
    assert sound_hash(speech()) != sound_hash(speech()[1:])
