"""A conversation as the model reads it: token ids with one slot per clip, and the clips.

The format is the original project's, token for token (lm.md, section d). Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faster_higgs.errors import SettingError
from faster_higgs.prompt import tokens
from faster_higgs.prompt.tokens import Tokenizer, encode

if TYPE_CHECKING:
    from torch import Tensor

ROLES = ("system", "user", "assistant")

# Specials with a meaning in each role's text. Everything else a user types is plain text.
MEANINGFUL = {
    "system": (*tokens.SCENE_MARKS, *tokens.SOUND_TAGS),
    "user": tokens.SOUND_TAGS,
    "assistant": tokens.SOUND_TAGS,
}


@dataclass(frozen=True)
class Clip:
    """A stretch of sound inside a message: aligned codes [K, F], without stream tokens."""

    codes: Tensor


@dataclass(frozen=True)
class Message:
    """One turn: text and clips in order. `instructs`: a user's instruction marks have meaning."""

    role: str
    parts: tuple[str | Clip, ...]
    recipient: str | None = None
    instructs: bool = False

    @property
    def specials(self) -> tuple[str, ...]:
        """What is more than plain text in this message."""
        marks = tokens.INSTRUCTION_MARKS if self.instructs and self.role == "user" else ()
        return (*MEANINGFUL[self.role], *marks)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise SettingError(
                f"A message has the role '{self.role}'; use one of {', '.join(ROLES)}."
            )
        if self.recipient is not None and self.role != "assistant":
            raise SettingError(
                f"Only an assistant message may name a recipient, not one of role '{self.role}'."
            )


@dataclass(frozen=True)
class Prompt:
    """What the engine is given. `ids` holds one slot per clip; slot j stands for `clips[j]`."""

    ids: tuple[int, ...]
    clips: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Positions the model reads: a clip of F frames takes F+K+1."""
        return len(self.ids) - len(self.clips) + self.heard

    @property
    def heard(self) -> int:
        """Those of them that are sound."""
        return sum(c.shape[1] + c.shape[0] + 1 for c in self.clips)


def write(messages: Sequence[Message], tokenizer: Tokenizer, *, force_audio: bool = True) -> Prompt:
    """The conversation, then the assistant's header; `force_audio` has it begin with sound."""
    said = record(messages, tokenizer)
    begin = [] if messages else [tokenizer.special(tokens.BEGIN_OF_TEXT)]
    forced = [tokenizer.special(tokens.AUDIO_OUT_BOS)] if force_audio else []
    return Prompt((*said.ids, *begin, *header("assistant", tokenizer), *forced), said.clips)


def record(messages: Sequence[Message], tokenizer: Tokenizer) -> Prompt:
    """A conversation that is over: nobody is asked to answer. Training reads it."""
    ids: list[int] = []
    clips: list[Tensor] = []
    for i, message in enumerate(messages):
        ids += [] if i else [tokenizer.special(tokens.BEGIN_OF_TEXT)]
        ids += header(message.role, tokenizer)
        if message.recipient is not None:
            ids += [*encode(tokenizer, message.recipient), tokenizer.special(tokens.RECIPIENT)]
        for part in message.parts:
            if isinstance(part, str):
                ids += encode(tokenizer, part, message.specials)
            else:
                ids += _slot(message.role, tokenizer)
                clips.append(part.codes)
        goes_on = message.role == "assistant" and [m.role for m in messages[i + 1 : i + 2]] == [
            "assistant"
        ]
        ids.append(tokenizer.special(tokens.EOM if goes_on else tokens.EOT))
    return Prompt(tuple(ids), tuple(clips))


def header(role: str, tokenizer: Tokenizer) -> list[int]:
    """What opens a turn of that role."""
    begin, end = tokenizer.special(tokens.START_HEADER), tokenizer.special(tokens.END_HEADER)
    return [begin, *encode(tokenizer, role), end, *encode(tokenizer, "\n\n")]


def _slot(role: str, tokenizer: Tokenizer) -> list[int]:
    names = (
        (tokens.AUDIO_OUT_BOS, tokens.AUDIO_OUT, tokens.AUDIO_EOS)
        if role == "assistant"
        else (tokens.AUDIO_BOS, tokens.AUDIO_IN, tokens.AUDIO_EOS)
    )
    return [tokenizer.special(name) for name in names]
