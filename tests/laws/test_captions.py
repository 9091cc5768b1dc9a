"""Captions: what each form of file looks like, and that no text can break it."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from faster_higgs.captions import FORMATS, as_json, plain, srt, vtt, written
from faster_higgs.engine.request import Finish
from faster_higgs.spoken import Part

PARTS = (
    Part("Hello\nthere.", 0.0, 1.5, Finish.STOP),
    Part("Salt & <pepper>.", 3661.0004, 3662.9996, Finish.STOP, speaker="SPEAKER1"),
)


def test_srt():
    assert srt(PARTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
        "2\n01:01:01,000 --> 01:01:03,000\nSPEAKER1: Salt & <pepper>.\n\n"
    )


def test_vtt():
    assert vtt(PARTS) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\nHello there.\n\n"
        "01:01:01.000 --> 01:01:03.000\n<v SPEAKER1>Salt &amp; &lt;pepper&gt;.\n\n"
    )


def test_json():
    first, second = as_json(PARTS)
    assert first == {"index": 0, "text": "Hello there.", "start": 0.0, "end": 1.5}
    assert second["speaker"] == "SPEAKER1" and second["start"] == 3661.0004
    assert json.loads(written(PARTS, "json")) == {"segments": [first, second]}


def test_marks_are_shown_as_people_write_them():
    text = "[SPEAKER0] <SE>[Laughter]</SE> So.\n[SPEAKER1] <SE_s>[Music]</SE_s>Well."
    together = Part(text, 0.0, 1.0, Finish.STOP)
    assert plain(together) == "SPEAKER0: [Laughter] So. SPEAKER1: [Music] Well."
    alone = Part("[SPEAKER0] So.", 0.0, 1.0, Finish.STOP, speaker="Anna")
    assert srt([alone]).splitlines()[2] == "Anna: So."


def test_a_file_without_utterances():
    assert srt([]) == "" and vtt([]) == "WEBVTT\n\n" and as_json([]) == []
    assert written([], "srt") == "" and FORMATS.keys() == {"srt", "vtt", "json"}


@given(st.text(), st.text() | st.none())
@example("", "--")
def test_no_text_makes_a_row_of_its_own(text, speaker):
    part = Part(f"a{text}", 0.0, 1.0, Finish.STOP, speaker=speaker)
    assert vtt([part]).count("-->") == 1
    assert len(vtt([part]).split("\n")) == 6 and len(srt([part]).split("\n")) == 5
