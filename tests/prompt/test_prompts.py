"""Prompts token for token, in every published form, and what a user's text can never do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.errors import CheckpointError, CheckpointNotFound, SettingError
from faster_higgs.prompt.conversation import Conversation, Setting, opening
from faster_higgs.prompt.template import Clip, Message, write
from faster_higgs.prompt.tokens import REQUIRED, TextTokenizer, encode
from faster_higgs.prompt.voices import Voice

SCENE = "Audio is recorded from a quiet room."
CODES = torch.zeros(8, 5, dtype=torch.long)


class Visible:
    """A tokenizer whose ids can be read: specials by name, text by itself."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def _id(self, piece: str) -> int:
        if piece not in self.pieces:
            self.pieces.append(piece)
        return self.pieces.index(piece)

    def text(self, text: str) -> list[int]:
        return [self._id(repr(text))]

    def special(self, name: str) -> int:
        return self._id(name)


def shown(messages: list[Message], force_audio: bool = False) -> str:
    tokenizer = Visible()
    return " ".join(
        tokenizer.pieces[i] for i in write(messages, tokenizer, force_audio=force_audio).ids
    )


def turn(role: str, *content: str, first: bool = False, end: str = "<|eot_id|>") -> str:
    begin = ["<|begin_of_text|>"] if first else []
    header = ["<|start_header_id|>", repr(role), "<|end_header_id|>", repr("\n\n")]
    return " ".join([*begin, *header, *content, end])


ASSISTANT = "<|start_header_id|> 'assistant' <|end_header_id|> " + repr("\n\n")
QUIET = (
    repr("Generate audio following instruction.\n\n"),
    "<|scene_desc_start|>",
    repr(f"\n{SCENE}\n"),
    "<|scene_desc_end|>",
)
SPOKEN = ("<|audio_out_bos|>", "<|AUDIO_OUT|>", "<|audio_eos|>")
HEARD = ("<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>")

BELINDA = Voice("belinda", CODES, "Reference words.")
BROOM = Voice("broom", CODES, "Other words.")
DESCRIBED = Voice("male_en", description="masculine, calm")


def test_zero_shot() -> None:
    prompt = shown(Conversation(Setting()).ask("Hello."))
    assert prompt == " ".join(
        [turn("system", *QUIET, first=True), turn("user", repr("Hello.")), ASSISTANT]
    )


def test_forced_audio_opens_the_clip() -> None:
    messages = Conversation(Setting()).ask("Hello.")
    assert shown(messages, force_audio=True) == shown(messages) + " <|audio_out_bos|>"


def test_no_scene_leaves_the_instruction_alone() -> None:
    prompt = shown(Conversation(Setting(scene=None)).ask("Hello."))
    system = turn("system", repr("Generate audio following instruction."), first=True)
    assert prompt == " ".join([system, turn("user", repr("Hello.")), ASSISTANT])


def test_a_voice_by_reference_turn() -> None:
    prompt = shown(Conversation(Setting((BELINDA,))).ask("Hello."))
    assert prompt == " ".join(
        [
            turn("system", *QUIET, first=True),
            turn("user", repr("Reference words.")),
            turn("assistant", *SPOKEN),
            turn("user", repr("Hello.")),
            ASSISTANT,
        ]
    )


def test_a_voice_without_a_scene_has_no_system_turn() -> None:
    prompt = shown(Conversation(Setting((BELINDA,), scene=None)).ask("Hello."))
    assert prompt.startswith(turn("user", repr("Reference words."), first=True))


def test_two_voices_are_tagged_in_their_reference_turns() -> None:
    setting = Setting((BELINDA, BROOM))
    prompt = shown(Conversation(setting, ("SPEAKER0", "SPEAKER1")).ask("[SPEAKER1] Hi."))
    assert turn("user", repr("[SPEAKER0] Reference words.")) in prompt
    assert turn("user", repr("[SPEAKER1] Other words.")) in prompt


def test_voices_in_the_system_message() -> None:
    setting = Setting((BELINDA, BROOM), voices_in_system=True)
    system = turn(
        "system",
        repr("Generate audio following instruction.\n\n"),
        "<|scene_desc_start|>",
        repr(f"\n{SCENE}\n\nSPEAKER0: "),
        *HEARD,
        repr("\nSPEAKER1: "),
        *HEARD,
        repr("\n"),
        "<|scene_desc_end|>",
        first=True,
    )
    assert shown(opening(setting)) == f"{system} {ASSISTANT}"


def test_a_described_voice_moves_all_voices_into_the_system_message() -> None:
    setting = Setting((BELINDA, DESCRIBED), scene=None)
    system = turn(
        "system",
        repr("Generate audio following instruction.\n\n"),
        "<|scene_desc_start|>",
        repr("\nSPEAKER0: "),
        *HEARD,
        repr("\nSPEAKER1: masculine, calm\n"),
        "<|scene_desc_end|>",
        first=True,
    )
    assert shown(opening(setting)) == f"{system} {ASSISTANT}"


def test_a_dialogue_without_voices_names_its_cast() -> None:
    messages = opening(Setting(), ("SPEAKER0", "SPEAKER1", "SPEAKER2"))
    assert messages[0].parts == (
        "You are an AI assistant designed to convert text into speech.\n"
        "If the user's message includes a [SPEAKER*] tag, do not read out the tag and generate "
        "speech for the following text, using the specified voice.\n"
        "If no speaker tag is present, select a suitable voice on your own.\n\n"
        f"<|scene_desc_start|>\n{SCENE}\n\nSPEAKER0: feminine\nSPEAKER1: masculine\n"
        "SPEAKER2: feminine\n<|scene_desc_end|>",
    )


def test_one_speaker_tag_is_no_dialogue() -> None:
    assert opening(Setting(), ("SPEAKER0",)) == opening(Setting())


def test_earlier_chunks_are_context_and_the_buffer_rolls() -> None:
    talk = Conversation(Setting((BELINDA,), history=2))
    for text in ("One.", "Two.", "Three."):
        talk.heard(text, CODES)
    roles = [(m.role, m.parts[0]) for m in talk.ask("Four.") if m.role == "user"]
    assert roles == [("user", t) for t in ("Reference words.", "Two.", "Three.", "Four.")]
    assert len(Conversation(Setting(history=0)).ask("One.")) == 2


def test_two_assistant_turns_are_joined_by_end_of_message() -> None:
    prompt = shown([Message("assistant", ("ok",), "narrator"), Message("assistant", ("yes",))])
    assert prompt.startswith(
        turn("assistant", "'narrator'", "<|recipient|>", "'ok'", first=True, end="<|eom_id|>")
    )


def test_spelling_reaches_what_is_spoken_and_nothing_else() -> None:
    talk = Conversation(Setting((BELINDA,)), spell=str.upper)
    talk.heard("earlier", CODES)
    texts = [p for m in talk.ask("hello") for p in m.parts if isinstance(p, str)]
    assert texts[1:] == ["REFERENCE WORDS.", "EARLIER", "HELLO"]
    assert SCENE in texts[0]


@given(st.text(max_size=30), st.sampled_from(sorted(REQUIRED)))
def test_no_text_of_a_user_becomes_a_special_token(text: str, name: str) -> None:
    tokenizer = Visible()
    special = tokenizer.special(name)
    ids = encode(tokenizer, f"{text}{name}{text}", ("<SE>", "</SE>"))
    assert special not in ids


def test_sound_tags_keep_their_meaning() -> None:
    tokenizer = Visible()
    ids = encode(tokenizer, "Ha <SE>[Laughter]</SE> ha", ("<SE>", "</SE>"))
    assert [tokenizer.pieces[i] for i in ids] == [
        "'Ha '",
        "<SE>",
        "'[Laughter]'",
        "</SE>",
        "' ha'",
    ]


def test_bad_messages_are_refused_in_a_sentence() -> None:
    with pytest.raises(SettingError, match="role 'narrator'"):
        Message("narrator", ("x",))
    with pytest.raises(SettingError, match="recipient"):
        Message("user", ("x",), "someone")
    with pytest.raises(SettingError, match="cannot be combined"):
        Setting((BELINDA,), system="Speak.", voices_in_system=True)
    with pytest.raises(SettingError, match="buffer"):
        Setting(history=-1)


def test_a_tokenizer_that_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match=r"tokenizer\.json"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        TextTokenizer.load(tmp_path)


def test_clips_keep_their_order() -> None:
    first, second = Clip(CODES), Clip(CODES + 1)
    prompt = write([Message("system", (first, "a", second))], Visible())
    assert [c.max().item() for c in prompt.clips] == [0, 1]
