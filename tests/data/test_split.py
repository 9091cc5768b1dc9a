"""Laws of splits and weights, for any corpus."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.data.split import SplitSettings, Spoken, overlaps, split, weights
from faster_higgs.errors import DataError, SettingError

few = settings(max_examples=60, deadline=None)
clips = st.lists(
    st.builds(
        Spoken,
        st.sampled_from("abcd"),
        st.sampled_from("one two three four five six".split()),
        st.integers(0, 20).map(str),
    ),
    min_size=1,
    max_size=60,
)


def distinct(count: int, speakers: int = 3) -> list[Spoken]:
    return [Spoken(f"s{i % speakers}", f"text {i}", f"sound {i}") for i in range(count)]


@few
@given(clips, st.sampled_from(["utterance", "speaker"]), st.integers(0, 5))
def test_splits_share_nothing_whatever_the_duplicates(found, by, seed):
    wish = SplitSettings(by=by, validation=0.3, test=0.2, seed=seed)
    try:
        splits = split(found, wish)
    except DataError:
        return
    assert not overlaps(found, splits, by)
    assert set(splits) == {"train", "validation", "test"}
    assert splits == split(found, wish)


@few
@given(st.integers(20, 200), st.integers(1, 6), st.floats(0.02, 0.4), st.integers(0, 9))
def test_every_speaker_has_the_share_to_one_clip(count, speakers, share, seed):
    found = distinct(count, speakers)
    splits = split(found, SplitSettings(validation=share, seed=seed))
    for name in {clip.speaker for clip in found}:
        own = [s for clip, s in zip(found, splits, strict=True) if clip.speaker == name]
        assert abs(own.count("validation") - share * len(own)) <= 1
    assert abs(splits.count("validation") - share * count) <= 1


def test_by_speaker_nobody_is_heard_twice():
    found = distinct(60, 6)
    splits = split(found, SplitSettings(by="speaker", validation=0.2, test=0.2))
    sides = {(clip.speaker, name) for clip, name in zip(found, splits, strict=True)}
    assert len(sides) == 6 and {name for _, name in sides} == {"train", "validation", "test"}


def test_another_seed_draws_others():
    found = distinct(100)
    assert split(found, SplitSettings(seed=1)) != split(found, SplitSettings(seed=2))


def test_what_overlaps_is_found():
    found = [Spoken("a", "one", "x"), Spoken("a", "One", "y"), Spoken("b", "two", "y")]
    assert overlaps(found, ["train", "test", "test"], "utterance") == ["a one"]
    assert overlaps(found, ["train", "train", "test"], "utterance") == ["y"]
    assert overlaps(found[:2], ["train", "test"], "speaker") == ["a", "a one"]


def test_too_few_speakers_are_told():
    with pytest.raises(DataError, match=r"1 speaker to split into train and validation; use --spl"):
        split(distinct(9, 1), SplitSettings(by="speaker"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"validation": 0.6, "test": 0.4}, "nothing to train on"),
        ({"validation": -0.1}, "nothing to train on"),
        ({"by": "moon"}, "not by 'moon'"),
        ({"temperature": 2.0}, "0 .all speakers alike. to 1"),
    ],
)
def test_what_cannot_be_is_refused(wrong, told):
    with pytest.raises(SettingError, match=told):
        SplitSettings(**wrong)


@few
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=50), st.floats(0, 1))
def test_weights_keep_the_mean_and_follow_the_temperature(speakers, temperature):
    splits = ["train"] * len(speakers)
    found = weights(speakers, splits, temperature)
    assert sum(found) == pytest.approx(len(speakers))
    counts = Counter(speakers)
    drawn = {
        s: sum(w for w, name in zip(found, speakers, strict=True) if name == s) for s in counts
    }
    first = speakers[0]
    for name in counts:
        wanted = (counts[name] / counts[first]) ** temperature
        assert drawn[name] / drawn[first] == pytest.approx(wanted)


def test_only_what_is_trained_on_is_weighed():
    assert weights(["a", "a", "b"], ["train", "validation", "train"], 0.0) == [1.0, 1.0, 1.0]
    assert weights(["a", "a", "b"], ["train"] * 3, 0.0) == [0.75, 0.75, 1.5]
