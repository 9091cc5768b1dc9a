"""A text becomes utterances: nothing is lost, every one has time, ignored settings are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.delivery import FRAMES_PER_SECOND, Delivery, Utterance, utterances
from faster_higgs.errors import SettingError
from faster_higgs.prompt.conversation import Setting
from faster_higgs.prompt.voices import Voice

ALICE = Voice("alice", torch.zeros(8, 3).long(), "Alice speaks.")


@given(st.integers(1, 60))
def test_a_number_not_put_into_words_has_time_for_every_digit(digits: int) -> None:
    assert Utterance("7" * digits, Setting()).steps >= 0.5 * digits * FRAMES_PER_SECOND


@given(st.lists(st.sampled_from("One two three. Four! Five six? Seven".split()), min_size=1))
def test_cutting_a_text_loses_no_word(words: list[str]) -> None:
    plan = utterances(" ".join(words), Delivery(normalization="off", max_words=3), [ALICE])
    assert " ".join(u.text for u in plan).split() == words
    assert all(u.fresh and u.setting.voices == (ALICE,) for u in plan)


def test_a_chunk_without_a_voice_follows_the_one_before() -> None:
    plan = utterances("One two three. Four five six.", Delivery(max_words=3))
    assert [u.fresh for u in plan] == [False, False]
    assert plan[0].setting == plan[1].setting


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"normalization": "german"}, "normalization is 'german'"),
        ({"chunk_method": "page"}, "chunk_method is 'page'"),
        ({"max_words": 0}, "max_words is 0"),
        ({"max_turns": -1}, "max_turns is -1"),
        ({"history": -1}, "history is -1"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Delivery(**settings)
