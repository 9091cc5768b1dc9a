"""Silence is held back until sound follows it, however the pieces are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.audio.levels import Samples
from faster_higgs.audio.quiet import AUDIBLE, KEPT, PATIENCE, Quiet, Untouched

RATE = 100
SOUND, SILENCE = 0.5, AUDIBLE / 2


def heard(pieces: list[Samples]) -> tuple[Samples, Quiet]:
    quiet = Quiet(RATE)
    out = [quiet.feed(piece) for piece in pieces]
    return np.concatenate([*out, quiet.finish()]), quiet


def stretches(*seconds: float) -> Samples:
    """Sound and silence in turn, sound first."""
    return np.concatenate(
        [
            np.full(round(length * RATE), SILENCE if i % 2 else SOUND, np.float32)
            for i, length in enumerate(seconds)
        ]
    )


def until_too_late(whole: Samples) -> int:
    """Where the last sound ends that is not too late."""
    end = 0
    for place in np.flatnonzero(whole > AUDIBLE):
        if place - end > PATIENCE * RATE:
            break
        end = int(place) + 1
    return end


@given(
    st.lists(st.floats(0.0, 4.0), max_size=5),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_pieces_make_the_same_speech_as_the_whole(seconds: list[float], cuts: list[int]) -> None:
    whole = stretches(0.5, *seconds)
    pieces = np.split(whole, sorted(cut for cut in cuts if cut <= len(whole)))
    together, _ = heard([whole])
    np.testing.assert_array_equal(heard(pieces)[0], together)
    last = until_too_late(whole)
    np.testing.assert_array_equal(together, whole[: last + round(KEPT * RATE)])


def test_silence_between_sounds_is_kept() -> None:
    whole = stretches(0.2, 1.5, 0.2)
    np.testing.assert_array_equal(heard([whole])[0], whole)


def test_only_silence_after_speech_is_too_long() -> None:
    quiet = Quiet(RATE)
    quiet.feed(stretches(0.0, PATIENCE + 1))
    assert not quiet.too_long
    quiet.feed(stretches(0.1, PATIENCE))
    assert not quiet.too_long
    quiet.feed(stretches(0.0, 0.1))
    assert quiet.too_long


def test_nothing_said_leaves_a_short_silence() -> None:
    assert len(heard([stretches(0.0, 2.0)])[0]) == round(KEPT * RATE)
    assert len(heard([])[0]) == 0


def test_what_is_untouched_keeps_its_silence() -> None:
    quiet, silent = Untouched(RATE), stretches(0.5, 2 * PATIENCE)
    assert quiet.feed(silent) is silent
    assert not quiet.too_long and not quiet.dropped and not len(quiet.finish())
