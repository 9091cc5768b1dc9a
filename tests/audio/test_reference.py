"""The linter of reference clips: silent about good ones, one sentence for each fault."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from faster_higgs.audio.reference import lint_reference
from tests.audio.sounds import RATE, speechlike


def found(samples: np.ndarray, rate: int = RATE) -> dict[str, str]:
    return {finding.check: finding.severity for finding in lint_reference(samples, rate)}


def at_level(sound: np.ndarray, rms: float) -> np.ndarray:
    return sound * np.float32(rms / np.sqrt(np.mean(sound**2)))


def test_a_good_clip_has_no_findings():
    for seconds in (2, 5, 20):
        assert found(speechlike(seconds)) == {}


@pytest.mark.parametrize(
    ("seconds", "severity"), [(0.1, "error"), (0.9, "error"), (31, "warning"), (600, "error")]
)
def test_a_clip_of_the_wrong_length_is_told(seconds, severity):
    check = "too_short" if seconds < 1 else "too_long"
    assert found(np.resize(speechlike(), round(seconds * RATE)))[check] == severity


@pytest.mark.parametrize("sound", [np.zeros(3 * RATE, "f4"), speechlike() * 1e-4])
def test_a_silent_clip_is_an_error_and_nothing_else_is_said(sound):
    assert found(sound) == {"silent": "error"}


def test_a_quiet_clip_is_told():
    assert found(at_level(speechlike(), 0.005)) == {"very_quiet": "warning"}


def test_a_clip_of_pauses_is_told():
    sound = speechlike(10)
    sound[RATE : -RATE // 2] *= 1e-3
    assert "mostly_silence" in found(sound)


def test_a_clipped_clip_is_told():
    assert "clipping" in found(np.clip(at_level(speechlike(), 0.6), -1, 1))


def test_an_offset_is_told():
    assert "dc_offset" in found(speechlike() + np.float32(0.05))


@pytest.mark.parametrize("rate", [8_000, 11_025])
def test_a_telephone_band_is_told_before_and_after_resampling(rate):
    narrow = soxr.resample(speechlike(), RATE, rate)
    assert found(narrow, rate) == {"narrow_band": "warning"}
    assert found(soxr.resample(narrow, rate, RATE)) == {"narrow_band": "warning"}
    wide = soxr.resample(speechlike(), RATE, 16_000)
    assert found(soxr.resample(wide, 16_000, RATE)) == {}


def test_strong_background_noise_is_told():
    sound = speechlike()
    noise = np.random.default_rng(1).standard_normal(len(sound)).astype("f4")
    assert found(sound + at_level(noise, 0.03)) == {"noise": "warning"}
    assert found(sound + at_level(noise, 0.001)) == {}


def test_what_is_not_a_number_is_an_error():
    sound = speechlike()
    sound[5] = np.nan
    assert found(sound) == {"not_finite": "error"}


@settings(max_examples=30)
@given(arrays.arrays("f4", st.integers(0, 4_000), elements=st.floats(-1, 1, width=32)))
def test_every_finding_is_one_sentence(samples):
    findings = lint_reference(samples, RATE)
    assert findings[0].check == "too_short"
    for finding in findings:
        assert finding.message.startswith("The clip ") and "\n" not in finding.message
