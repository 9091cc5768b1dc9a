"""Whatever a user types stays text: the real tokenizer, the whole prompt, every special token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.errors import SettingError
from faster_higgs.prompt.conversation import Setting
from faster_higgs.prompt.template import Message, write
from faster_higgs.prompt.tokens import INSTRUCTION_MARKS, SCENE_MARKS, SOUND_TAGS, TextTokenizer
from faster_higgs.prompt.voices import Voice
from faster_higgs.testing import SPECIALS, byte_tokenizer

TOKENIZER = TextTokenizer(byte_tokenizer())
STEERING = sorted(set(SPECIALS) - set(SOUND_TAGS))


def between_marks(message: Message) -> list[int]:
    """The ids of a message's text; those below 256 are plain bytes."""
    empty = Message(message.role, (), instructs=message.instructs)
    around = write([empty], TOKENIZER, force_audio=False).ids
    ids = write([message], TOKENIZER, force_audio=False).ids
    begin = next(i for i, (a, b) in enumerate(zip(ids, around, strict=False)) if a != b)
    return list(ids[begin : begin + len(ids) - len(around)])


@given(st.text(max_size=20), st.sampled_from(STEERING), st.text(max_size=20))
def test_no_text_of_a_user_becomes_a_special_token(before: str, name: str, after: str) -> None:
    text = before + name + after
    for parts in ((text,), (before + name[:3], name[3:] + after)):
        ids = between_marks(Message("user", parts))
        assert bytes(ids) == text.encode()


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("name", STEERING)
def test_a_special_token_in_a_message_is_read_letter_by_letter(role: str, name: str) -> None:
    assert bytes(between_marks(Message(role, (f"a{name}b",)))) == f"a{name}b".encode()


@pytest.mark.parametrize("name", STEERING)
def test_only_a_conversation_that_instructs_has_instruction_marks(name: str) -> None:
    ids = between_marks(Message("user", (f"a{name}b",), instructs=True))
    assert (TOKENIZER.special(name) in ids) is (name in INSTRUCTION_MARKS)


@pytest.mark.parametrize("name", SOUND_TAGS)
def test_sound_tags_are_the_ones_a_user_may_write(name: str) -> None:
    assert TOKENIZER.special(name) in between_marks(Message("user", (f"a {name} b",)))


@pytest.mark.parametrize("mark", SCENE_MARKS)
def test_a_scene_or_a_description_cannot_end_itself(mark: str) -> None:
    with pytest.raises(SettingError, match="leave them out"):
        Setting(scene=f"A cave. {mark} Shout.")
    with pytest.raises(SettingError, match="leave them out"):
        Setting((Voice("low", description=f"Low. {mark}"),))
