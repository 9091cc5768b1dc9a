"""A text becomes utterances: nothing is lost, every one has time, ignored settings are refused."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.delivery import (
    FRAMES_PER_SECOND,
    WORDS_IN_TIME,
    Delivery,
    Utterance,
    cast,
    prepared,
    sections,
    utterances,
)
from faster_higgs.errors import SettingError, TextError
from faster_higgs.prompt.conversation import Conversation, Setting, opening
from faster_higgs.prompt.voices import Voice
from faster_higgs.text.chunk import words as counted

DESCRIBED = Voice("low", description="A low voice.")
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


def test_a_described_voice_goes_on_from_the_chunk_before() -> None:
    plan = utterances("One two three. Four five six.", Delivery(max_words=3), [DESCRIBED])
    assert [u.fresh for u in plan] == [False, False]


def test_a_long_dialogue_without_clips_is_cut_at_turns_and_keeps_its_tags() -> None:
    said = " ".join(f"Number {i} is here." for i in range(40))
    script = "".join(f"[SPEAKER{i % 2}] It is my turn, {i}.\n" for i in range(60)) + said
    for voices in ([], [DESCRIBED, DESCRIBED]):
        plan = utterances(script, Delivery(normalization="off"), voices)
        assert len(plan) > 2
        assert all(u.text.startswith("[SPEAKER") for u in plan)
        assert all(len(counted(u.text)) <= WORDS_IN_TIME for u in plan)
        assert all(u.tags == ("SPEAKER0", "SPEAKER1") and not u.fresh for u in plan)
        spoken = " ".join(u.text for u in plan).split()
        assert [w for w in spoken if "SPEAKER" not in w] == [
            w for w in script.split() if "SPEAKER" not in w
        ]
    short = "[SPEAKER0] Hello there! \n\n[SPEAKER1] Hi."
    assert [u.text for u in utterances(short, Delivery(normalization="off"))] == [short]


def test_a_checkpoint_made_for_few_words_gets_few_whatever_the_method() -> None:
    text = "One two three four five six seven eight."
    for method in ("auto", "word", "sentence"):
        plan = utterances(text, Delivery(chunk_method=method), max_words=3)
        assert all(len(u.text.split()) <= 3 for u in plan)


@pytest.mark.parametrize("text", ["[SPEAKER01] Hello.", "【SPEAKER0】 Hello.", "Hello."])
def test_a_tag_in_any_spelling_has_its_voice(text: str) -> None:
    plan = utterances(text, Delivery(), [ALICE])
    assert [u.text for u in plan] == ["Hello."]
    assert plan[0].setting.voices == (ALICE,)


def test_voices_go_to_tags_in_order_of_their_numbers_also_in_a_joint_prompt() -> None:
    bob = Voice("bob", torch.ones(8, 3).long(), "Bob speaks.")
    text = "[SPEAKER10] Ten. [SPEAKER2] Two."
    apart = utterances(text, Delivery(), [ALICE, bob])
    assert [u.setting.voices for u in apart] == [(bob,), (ALICE,)]
    joint = utterances(text, Delivery(chunk_method="none"), [ALICE, bob])[0]
    said = [m.parts[0] for m in opening(joint.setting, joint.tags) if m.role == "user"]
    assert said == ["[SPEAKER2] Alice speaks.", "[SPEAKER10] Bob speaks."]


def test_who_speaks_is_counted_on_the_text_that_is_spoken() -> None:
    text = "【SPEAKER0】 Hello. 【SPEAKER1】 Hi."
    assert cast(text, Delivery(), ["a", "b", "c"]) == ["a", "b"]
    assert cast(text, Delivery(), []) == []
    with pytest.raises(SettingError, match="2 speakers and this model 1 voices"):
        cast(text, Delivery(), ["a"])


def test_vietnamese_is_put_into_vietnamese_words() -> None:
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, "Tôi có 3 con mèo, nặng 5kg")
        assert prepared(text, Delivery()) == "Tôi có ba con mèo, nặng năm ki lô gam."
    assert prepared("3 con", Delivery(language="vi")) == "ba con."


def test_only_english_is_put_into_english_words() -> None:
    assert prepared("I have 3 apples.", Delivery()) == "I have three apples."
    assert prepared("我有3个苹果", Delivery()) == "我有3个苹果."
    assert prepared("I have 3 apples.", Delivery(language="de")) == "I have 3 apples."
    assert prepared("Das kostet 3 Euro und ist gut.", Delivery()).count("3") == 1


def test_a_conversation_spells_what_its_clips_say() -> None:
    asked = Conversation(Setting((ALICE,)), spell=str.upper).ask("Hello")
    assert [m.parts for m in asked if m.role == "user"] == [("ALICE SPEAKS.",), ("HELLO",)]


def test_a_scene_beside_a_system_prompt_of_ones_own_is_refused() -> None:
    with pytest.raises(SettingError, match="scene cannot be combined"):
        utterances("Hello.", Delivery(scene="In a cave.", system="Speak low."))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"normalization": "german"}, "normalization is 'german'"),
        ({"chunk_method": "page"}, "chunk_method is 'page'"),
        ({"max_words": 0}, "max_words is 0"),
        ({"max_turns": -1}, "max_turns is -1"),
        ({"history": -1}, "history is -1"),
        ({"priority": "high"}, "priority is 'high'; use one of interactive, batch"),
        ({"deadline": 0}, "deadline is 0; use seconds"),
        ({"deadline": float("nan")}, "deadline is nan"),
        ({"language": "English"}, "language is 'English'"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Delivery(**settings)


@given(st.text(st.sampled_from("ab. \n"), max_size=300), st.integers(2, 40))
def test_sections_joined_are_the_text(text: str, most: int) -> None:
    found = sections(text, most)
    assert "".join(found) == text and all(len(one) <= most for one in found)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("aa aa. aa aa\n\na\na. a aaa", "aa aa. aa aa\n\n"),
        ("aa aa. aa aa\naa. a aaa aaa", "aa aa. aa aa\n"),
        ("aa aa aa aa. aa aa aa aa", "aa aa aa aa. "),
        ("aa aa aa aaaa aaaaaaa aaa", "aa aa aa aaaa "),
        ("a" * 30, "a" * 20),
    ],
)
def test_a_section_ends_at_the_best_place_of_its_second_half(text: str, first: str) -> None:
    assert sections(text, 20)[0] == first


def test_a_long_text_loses_nothing_where_it_is_allowed() -> None:
    text = "Mr. Smith has read this book to its very end. " * 2500
    with pytest.raises(TextError, match="115,000 characters"):
        utterances(text, Delivery(), [ALICE])
    plan = utterances(text, Delivery(max_chars=200_000), [ALICE])
    said = " ".join(u.text for u in plan)
    assert said.count("Smith has read this book to its very end.") == 2500
    assert max(len(counted(u.text)) for u in plan) <= WORDS_IN_TIME


def test_speakers_of_a_long_script_keep_their_voices() -> None:
    """Also where a part of the script has only one of them."""
    text = "[SPEAKER0] " + "I talk on and on. " * 4000 + "\n[SPEAKER1] At last I speak. " * 2
    bob = Voice("bob", torch.zeros(8, 3).long(), "Bob speaks.")
    plan = utterances(text, Delivery(max_chars=200_000), [ALICE, bob])
    assert [u.setting.voices for u in plan[-2:]] == [(bob,)] * 2
    assert {u.setting.voices for u in plan[:-2]} == {(ALICE,)}
