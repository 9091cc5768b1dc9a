"""Which clips are kept, and that neither order nor neighbours change it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from faster_higgs.data.choose import REASONS, ChooseSettings, judged
from faster_higgs.data.clean import Cleaned
from faster_higgs.data.measure import Limits, Measures
from faster_higgs.data.spool import Row
from faster_higgs.errors import SettingError

GOOD = Measures(2.0, 0.5, -20.0, 0.0, 0.1, 15.0, 40.0)


def row(number: int, speaker: str = "ann", **other: object) -> Row:
    clip = Cleaned(
        f"wavs/{number}.wav",
        speaker,
        f"text {number}.",
        "en",
        samples=48_000,
        sound=f"sound {number}",
        measures=GOOD,
    )
    return Row(replace(clip, **other), Path("part"), number)


def reasons(rows: list[Row], settings: ChooseSettings | None = None) -> dict[str, str]:
    found = judged(rows, settings or ChooseSettings())
    assert all(bool(one.id) != bool(one.reason) for one in found)
    return {one.clip.origin: one.reason for one in found if one.reason}


def test_ids_do_not_depend_on_the_order_they_come_in():
    rows = [row(i, "ann" if i % 3 else "bob") for i in range(30)]
    found = judged(rows, ChooseSettings(max_samples_per_speaker=8))
    random.Random(1).shuffle(rows)
    assert judged(rows, ChooseSettings(max_samples_per_speaker=8)) == found
    ids = [one.id for one in found if one.clip.speaker == "bob" and one.id]
    assert ids == [f"bob_{i:06d}" for i in range(8)]


def test_files_are_counted_as_people_count():
    found = judged([row(10), row(9), row(100)], ChooseSettings())
    assert [one.clip.origin for one in found] == [f"wavs/{n}.wav" for n in (9, 10, 100)]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"fault": "unreadable", "measures": None}, "unreadable"),
        ({"fault": "marked", "measures": None}, "marked"),
        ({"text": ""}, "no_text"),
        ({"measures": replace(GOOD, silence=1.0)}, "silent"),
        ({"samples": 2_400}, "too_short"),
        ({"samples": 24_000 * 31}, "too_long"),
    ],
)
def test_what_cannot_be_used_has_a_reason(other, reason):
    assert reasons([row(0), row(1, **other)]) == {"wavs/1.wav": reason}
    assert reason in REASONS


def test_the_unusual_is_flagged_and_dropped_on_request():
    loud = row(1, measures=replace(GOOD, clipped=0.2, signal_to_noise=3.0))
    (flagged,) = [one for one in judged([row(0), loud], ChooseSettings()) if one.flags]
    assert flagged.id and flagged.flags == ("clipped", "signal_to_noise")
    assert reasons([row(0), loud], ChooseSettings(drop_outliers=True)) == {"wavs/1.wav": "outlier"}


def test_a_sound_and_a_text_of_a_speaker_are_kept_once():
    same_sound, same_text = row(1, sound="sound 0"), row(2, text="Text 0.")
    other = row(3, "bob", text="text 0.")
    rows = [row(0), same_sound, same_text, other]
    assert reasons(rows) == {"wavs/1.wav": "same_sound", "wavs/2.wav": "same_text"}
    assert not reasons(rows, ChooseSettings(keep_duplicates=True))


def test_a_duplicate_of_what_is_left_out_is_no_duplicate():
    assert reasons([row(0, samples=100), row(1, sound="sound 0")]) == {"wavs/0.wav": "too_short"}


def test_a_reference_that_is_a_clip_too_is_that_clip():
    named = row(0, sound="sound 5", text="text 5.", is_reference=True)
    alone = row(1, is_reference=True)
    found = judged([named, alone, row(5)], ChooseSettings())
    assert [one.clip.origin for one in found if one.id] == ["wavs/5.wav", "wavs/1.wav"]


def test_the_cap_is_drawn_and_not_the_first_ones():
    rows = [row(i) for i in range(40)]
    kept = []
    for seed in (0, 0, 1):
        left = reasons(rows, ChooseSettings(max_samples_per_speaker=10, seed=seed))
        assert set(left.values()) == {"over_cap"} and len(left) == 30
        kept.append({one.clip.origin for one in rows} - left.keys())
    assert kept[0] == kept[1] != kept[2]
    assert kept[0] != {f"wavs/{i}.wav" for i in range(10)}


def test_speakers_of_like_names_have_files_of_their_own():
    rows = [row(0, "Ann B"), row(1, "ann_b"), row(2, "../x"), row(3, "!"), row(4, "Thảo")]
    ids = [one.id for one in judged(rows, ChooseSettings())]
    assert sorted(ids) == [
        *("Ann_B_000000", "Thảo_000000", "ann_b-2_000000", "speaker_000000", "x_000000"),
    ]


def test_wrong_settings_are_told():
    with pytest.raises(SettingError, match="5 to 2 s"):
        ChooseSettings(Limits(least_seconds=5, most_seconds=2))
    with pytest.raises(SettingError, match="use 1 or more"):
        ChooseSettings(max_samples_per_speaker=0)
