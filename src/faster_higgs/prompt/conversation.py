"""Which messages are put before an utterance: system turn, voices, earlier chunks.

The forms are those of the original project's generation script (lm.md, section d). Knows nothing
of token ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faster_higgs.errors import SettingError
from faster_higgs.prompt.template import Clip, Message
from faster_higgs.prompt.tokens import SCENE_END, SCENE_MARKS, SCENE_START
from faster_higgs.prompt.voices import Voice

if TYPE_CHECKING:
    from torch import Tensor

INSTRUCTION = "Generate audio following instruction."
QUIET_ROOM = "Audio is recorded from a quiet room."
DIALOGUE_INSTRUCTION = (
    "You are an AI assistant designed to convert text into speech.\n"
    "If the user's message includes a [SPEAKER*] tag, do not read out the tag and generate speech "
    "for the following text, using the specified voice.\n"
    "If no speaker tag is present, select a suitable voice on your own."
)


@dataclass(frozen=True)
class Setting:
    """What holds for a whole text: who speaks, where, and how much of the past is kept.

    `labels` are the tags that the `voices` speak; without any they are SPEAKER0, SPEAKER1 and so
    on. `system` replaces the system message, scene marks included. `history` counts the earlier
    chunks kept as context; None keeps all. `earlier` are turns, role and text, after the voices'.
    """

    voices: tuple[Voice, ...] = ()
    scene: str | None = QUIET_ROOM
    system: str | None = None
    voices_in_system: bool = False
    history: int | None = None
    labels: tuple[str, ...] = ()
    earlier: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.history is not None and self.history < 0:
            raise SettingError(
                f"The chunk buffer is {self.history}; use 0 for none, "
                "or leave it out to keep all chunks."
            )
        described = [self.scene or "", *(voice.description for voice in self.voices)]
        if any(mark in text for mark in SCENE_MARKS for text in described):
            raise SettingError(
                f"A scene or a voice's description holds {SCENE_START} or {SCENE_END}; "
                "these marks are put around it, so leave them out."
            )
        if self.system is not None and self.scene not in (None, QUIET_ROOM):
            raise SettingError(
                "A scene cannot be combined with a system prompt of your own; write it into that."
            )
        if self.system is not None and self.in_system:
            raise SettingError(
                "A system prompt of your own cannot be combined with voices in the system message."
            )

    @property
    def in_system(self) -> bool:
        """A described voice has no clip: it stands in the system message, all others with it."""
        return bool(self.voices) and (
            self.voices_in_system or any(v.codes is None for v in self.voices)
        )


def _same(text: str) -> str:
    return text


@dataclass
class Conversation:
    """The messages for each chunk of one text.

    `tags` are the text's speaker tags, `spell` writes speech for the model.
    """

    setting: Setting
    tags: Sequence[str] = ()
    spell: Callable[[str], str] = _same
    _past: deque[tuple[str, Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        self._past = deque(maxlen=self.setting.history)

    def ask(self, text: str) -> list[Message]:
        """The conversation that ends with `text` as the user's turn."""
        messages = opening(self.setting, self.tags, self.spell)
        for role, words in self.setting.earlier:
            messages.append(Message(role, (self.spell(words) if role == "user" else words,)))
        for said, codes in self._past:
            messages += [Message("user", (said,)), Message("assistant", (Clip(codes),))]
        return [*messages, Message("user", (self.spell(text),))]

    def heard(self, text: str, codes: Tensor) -> None:
        """Keep a finished chunk, codes [K, F], as context of the next."""
        self._past.append((self.spell(text), codes))

    def forget(self) -> bool:
        """Drop the oldest chunk; False when there is none."""
        if not self._past:
            return False
        self._past.popleft()
        return True


def opening(
    setting: Setting, tags: Sequence[str] = (), spell: Callable[[str], str] = _same
) -> list[Message]:
    """System turn and reference turns."""
    system = _system(setting, tags)
    messages = [Message("system", system)] if system else []
    if setting.in_system:
        return messages
    for label, voice in _labelled(setting):
        assert voice.codes is not None
        tag = f"[{label}] " if len(setting.voices) > 1 else ""
        messages += [
            Message("user", (tag + spell(voice.transcript),)),
            Message("assistant", (Clip(voice.codes),)),
        ]
    return messages


def _system(setting: Setting, tags: Sequence[str]) -> tuple[str | Clip, ...]:
    if setting.system is not None:
        return (setting.system,)
    if setting.in_system:
        return _voices_in_system(setting)
    if setting.voices:
        return (f"{INSTRUCTION}\n\n{_scene(setting.scene)}",) if setting.scene else ()
    if len(tags) > 1:
        return (f"{DIALOGUE_INSTRUCTION}\n\n{_scene(_cast(setting.scene, tags))}",)
    return (f"{INSTRUCTION}\n\n{_scene(setting.scene)}" if setting.scene else INSTRUCTION,)


def _scene(scene: str) -> str:
    return f"{SCENE_START}\n{scene}\n{SCENE_END}"


def _cast(scene: str | None, tags: Sequence[str]) -> str:
    kinds = [f"{tag}: {'masculine' if i % 2 else 'feminine'}" for i, tag in enumerate(tags)]
    return "\n".join(([scene, ""] if scene else []) + kinds)


def _labelled(setting: Setting) -> Iterator[tuple[str, Voice]]:
    """Each voice with the tag it answers to."""
    labels = setting.labels or [f"SPEAKER{i}" for i in range(len(setting.voices))]
    return zip(labels, setting.voices, strict=True)


def _voices_in_system(setting: Setting) -> tuple[str | Clip, ...]:
    parts: list[str | Clip] = []
    text = f"{INSTRUCTION}\n\n{SCENE_START}\n" + (f"{setting.scene}\n\n" if setting.scene else "")
    for i, (label, voice) in enumerate(_labelled(setting)):
        text += f"{chr(10) if i else ''}{label}: "
        if voice.codes is None:
            text += voice.description
        else:
            parts += [text, Clip(voice.codes)]
            text = ""
    return (*parts, f"{text}\n{SCENE_END}")
