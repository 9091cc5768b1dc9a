"""The report: the lines users know, and a finding for everything that is not speech."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from faster_higgs.audio.checks import examine
from faster_higgs.engine.request import Finish
from tests.audio.sounds import RATE, speechlike, tone

SENTENCE = "Hello world, this is a sentence of ordinary length for four seconds."


def found(samples: np.ndarray, **more: str) -> set[str]:
    return {finding.check for finding in examine(samples, RATE, **more).findings}


def spoiled(kind: str) -> np.ndarray:
    sound = speechlike()
    if kind == "empty":
        return sound[:0]
    if kind == "not_finite":
        sound[100:103] = np.nan
    if kind == "very_quiet":
        return sound * 0.005
    if kind == "mostly_silence":
        sound[RATE // 4 : -RATE // 8] = 0
    if kind == "clipping":
        return np.clip(sound * 5, -1, 1)
    if kind == "dc_offset":
        return sound + np.float32(0.1)
    if kind == "trailing_silence":
        return np.concatenate([sound, np.zeros(round(1.2 * RATE), "f4")])
    return sound


def test_the_report_has_the_known_lines():
    sound = np.zeros(77_760, "f4")
    sound[:71_645] = np.sqrt(77_760 / 71_645) * 0.127
    sound[1:71_645:2] *= -1
    assert examine(sound, RATE).lines("speech.wav") == [
        "Audio successfully generated and saved to: speech.wav",
        "Sample rate: 24000 Hz",
        "Duration: 3.24 seconds",
        "Audio validation: RMS=0.127, Non-silent samples: 71645/77760 (92.1%)",
        "Audio validation passed - real speech content detected",
    ]


def test_good_speech_passes():
    report = examine(speechlike(), RATE, finish_reason="stop", text=SENTENCE)
    assert report.passed and report.findings == ()


@pytest.mark.parametrize(
    "kind",
    "not_finite very_quiet mostly_silence clipping dc_offset trailing_silence".split(),
)
def test_each_fault_is_found_and_told_in_the_last_line(kind):
    report = examine(spoiled(kind), RATE)
    assert kind in {finding.check for finding in report.findings}
    assert not report.passed
    lines = report.lines("x.wav")
    assert len(lines) == 5 and lines[4].startswith("Audio validation warning: ")
    assert all(finding.message in lines[4] for finding in report.findings)


def test_an_empty_sound_is_a_finding_and_not_a_division_by_zero():
    report = examine(np.zeros(0, "f4"), RATE)
    assert [finding.check for finding in report.findings] == ["empty"]
    assert report.lines("x")[3] == "Audio validation: RMS=0.000, Non-silent samples: 0/0 (0.0%)"


def test_the_thresholds_of_the_first_edition_are_kept():
    quiet = speechlike()
    quiet *= 0.00099 / np.sqrt(np.mean(quiet**2))
    assert "very_quiet" in found(quiet)
    assert "very_quiet" not in found(quiet * 1.03)
    sparse = np.zeros(10_000, "f4")
    sparse[:1_000] = 0.5
    assert "mostly_silence" not in found(sparse)
    sparse[0] = 0.001  # exactly at the level counts as silence
    assert "mostly_silence" in found(sparse)


@pytest.mark.parametrize(
    ("finish_reason", "checks"),
    [
        ("length", {"cut"}),
        ("loop", {"loop"}),
        ("aborted", {"aborted"}),
        ("deadline", {"deadline"}),
        ("stop", set()),
        ("silence", set()),  # the text may be over: the pace tells
        ("no_audio", set()),  # the empty sound tells
    ],
)
def test_an_end_before_the_text_is_over_is_found(finish_reason, checks):
    assert found(speechlike(), finish_reason=finish_reason) == checks


def test_every_way_to_finish_has_its_verdict():
    judged = {"length", "loop", "aborted", "deadline", "stop", "silence", "no_audio"}
    assert {finish.value for finish in Finish} == judged


@pytest.mark.parametrize(
    ("text", "seconds", "verdict"),
    [
        (SENTENCE, 4, None),
        (SENTENCE, 40, "slow"),
        (SENTENCE, 1, "fast"),
        ("Hi!", 5, None),  # too little to judge
        ("...", 5, None),
        ("你好，世界，这是一个普通的句子。", 4, None),
        ("你好，世界，这是一个普通的句子。", 30, "slow"),
        ("In 2024, 1999, 1876 and 1492.", 6, None),
    ],
)
def test_an_implausible_pace_is_found(text, seconds, verdict):
    messages = [f.message for f in examine(speechlike(seconds), RATE, text=text).findings]
    assert [verdict] == [None] if not messages else verdict is not None and verdict in messages[0]


def test_the_report_for_machines_is_json_and_says_the_same():
    report = examine(spoiled("clipping"), RATE, finish_reason="length")
    data = json.loads(json.dumps(report.to_json()))
    assert data["sample_rate"] == RATE and data["duration"] == 4.0 and data["passed"] is False
    assert {f["check"] for f in data["findings"]} == {"clipping", "cut"}
    assert all(f["severity"] in ("warning", "error") for f in data["findings"])
    assert data["non_silent"] == report.non_silent


@settings(max_examples=50)
@given(
    arrays.arrays("f4", st.integers(0, 3_000), elements=st.floats(width=32)),
    st.one_of(st.none(), st.text()),
)
def test_no_sound_and_no_text_can_break_the_report(samples, text):
    report = examine(samples, RATE, text=text)
    assert len(report.lines("x")) == 5
    json.dumps(report.to_json())
    assert report.passed == (not report.findings)


def test_examining_changes_nothing():
    sound = spoiled("not_finite")
    before = sound.copy()
    examine(sound, RATE)
    np.testing.assert_array_equal(sound, before)


def test_a_plain_tone_counts_as_sound():
    assert not found(tone(3.0))
