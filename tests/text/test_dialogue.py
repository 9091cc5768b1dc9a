"""Laws and examples of speaker scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.text.dialogue import Turn, carried, speakers, tagged, turns
from faster_higgs.text.tags import SPEAKER

SCRIPT = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(["[SPEAKER0]", "[SPEAKER1]", "[SPEAKER12]", "\n", "[SPEAKER", "]"]),
    ),
    max_size=12,
).map("".join)


def test_several_tags_on_one_line() -> None:
    assert turns("[SPEAKER0] Hello there! [SPEAKER1] Hi, how are you?") == [
        Turn("SPEAKER0", "Hello there!"),
        Turn("SPEAKER1", "Hi, how are you?"),
    ]


def test_a_turn_may_span_lines_and_a_tag_may_follow_a_word() -> None:
    assert turns("[SPEAKER0] One.\nTwo.[SPEAKER3]Three.") == [
        Turn("SPEAKER0", "One.\nTwo."),
        Turn("SPEAKER3", "Three."),
    ]


def test_text_before_the_first_tag_has_no_speaker() -> None:
    assert turns("Once. [SPEAKER1] Hi.") == [Turn(None, "Once."), Turn("SPEAKER1", "Hi.")]
    assert turns("No tags.") == [Turn(None, "No tags.")]


def test_turns_without_text_are_left_out() -> None:
    assert turns("[SPEAKER0] [SPEAKER1] \n [SPEAKER0] Yes.") == [Turn("SPEAKER0", "Yes.")]
    assert turns("  ") == []


def test_what_is_no_tag_is_text() -> None:
    assert turns("[speaker0] [SPEAKER] [SPEAKERx] hi") == [
        Turn(None, "[speaker0] [SPEAKER] [SPEAKERx] hi")
    ]


def test_speakers_are_sorted_as_strings() -> None:
    assert speakers("[SPEAKER2] a [SPEAKER10] b [SPEAKER2] c [SPEAKER0]") == [
        "SPEAKER0",
        "SPEAKER10",
        "SPEAKER2",
    ]
    assert speakers("none") == []


@given(SCRIPT)
def test_all_that_is_no_tag_is_said_by_someone_in_order(script: str) -> None:
    said = "".join(turn.text for turn in turns(script))
    assert "".join(said.split()) == "".join(SPEAKER.sub(" ", script).split())


@given(SCRIPT)
def test_every_turn_belongs_to_a_speaker_of_the_script(script: str) -> None:
    assert {turn.tag for turn in turns(script) if turn.tag} <= set(speakers(script))


@pytest.mark.parametrize(
    "script",
    [
        "[SPEAKER0] Hello. [SPEAKER1] Hi. [SPEAKER0] Bye.",
        "<|speaker_id_start|>SPEAKER0<|speaker_id_end|> Hello. "
        "<|speaker_id_start|>SPEAKER1<|speaker_id_end|> Hi.\n"
        "<|speaker_id_start|>SPEAKER0<|speaker_id_end|> Bye.",
        "<|speaker_id_start|>SPEAKER0 Hello. <|speaker_id_start|>[SPEAKER1] Hi. [SPEAKER0] Bye.",
    ],
)
def test_speakers_in_either_spelling_and_several_on_a_line(script: str) -> None:
    said = [("SPEAKER0", "Hello."), ("SPEAKER1", "Hi."), ("SPEAKER0", "Bye.")]
    assert [(turn.tag, turn.text) for turn in turns(tagged(script))] == said


def test_a_piece_of_a_script_begins_with_who_speaks() -> None:
    pieces = ["One. [SPEAKER2] Two.", " Three.", "[SPEAKER0] Four.", "Five. [SPEAKER1]", "Six."]
    assert carried(pieces) == [
        "One. [SPEAKER2] Two.",
        "[SPEAKER2] Three.",
        "[SPEAKER0] Four.",
        "[SPEAKER0] Five. [SPEAKER1]",
        "[SPEAKER1] Six.",
    ]
