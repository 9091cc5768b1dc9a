"""How a text is spoken: the settings of a delivery, and the utterances it is cut into.

Knows nothing of tokens, models or sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from faster_higgs.errors import SettingError, TextError
from faster_higgs.prompt.conversation import QUIET_ROOM, Setting
from faster_higgs.prompt.voices import Voice
from faster_higgs.text import normalize
from faster_higgs.text.chunk import chunks
from faster_higgs.text.dialogue import speakers, turns

Normalization = Literal["english", "original", "off"]
ChunkMethod = Literal["auto", "none", "word", "speaker", "sentence"]
LONGEST_TEXT = 50_000  # characters
FRAMES_PER_SECOND = 25


@dataclass(frozen=True)
class Delivery:
    """Everything about a speech but the voice and the sampling. Defaults are written here only.

    `chunk_method` "auto" cuts at sentence ends, and dialogues at turns where each speaker has a
    voice; the others are the original's, and keep all voices and tags in every prompt. `history`
    is for chunks that have no voice of their own: with one, "auto" begins each chunk afresh.
    """

    scene: str | None = QUIET_ROOM
    system: str | None = None
    voices_in_system: bool = False
    normalization: Normalization = "english"
    chunk_method: ChunkMethod = "auto"
    max_words: int = 200  # of a chunk
    max_turns: int = 1  # of a chunk, with chunk_method "speaker"
    history: int | None = None  # earlier chunks kept as context; None keeps all there is room for

    def __post_init__(self) -> None:
        _known("normalization", self.normalization, get_args(Normalization))
        _known("chunk_method", self.chunk_method, get_args(ChunkMethod))
        for name in ("max_words", "max_turns"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; use 1 or more.")
        if self.history is not None and self.history < 0:
            raise SettingError(
                f"history is {self.history}; use 0 for none, or leave it out to keep all chunks."
            )


def _known(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingError(f"{name} is '{value}'; use one of {', '.join(choices)}.")


@dataclass(frozen=True)
class Utterance:
    """One generation: what is said, and who is in its prompt."""

    text: str
    setting: Setting
    tags: tuple[str, ...] = ()
    fresh: bool = False  # begins without the earlier chunks

    @property
    def steps(self) -> int:
        """More model steps than any reader needs for this text; a model that goes on is lost."""
        return round((4.0 + sum(map(_seconds, self.text))) * FRAMES_PER_SECOND)


def _seconds(character: str) -> float:
    """The longest that one character takes, as far as text not yet put into words can tell."""
    if character.isspace():
        return 0.0
    return 0.6 if character.isdigit() else 0.4 if ord(character) >= 0x2E80 else 0.14


def utterances(
    text: str, delivery: Delivery, voices: Sequence[Voice] = (), max_words: int | None = None
) -> list[Utterance]:
    """The generations that speak `text`; the checkpoint was made for at most `max_words` in one.

    Raises TextError when there is nothing to say, SettingError when speakers and voices do not
    match.
    """
    spoken = prepared(text, delivery)
    tags = tuple(speakers(spoken))
    if voices and len(voices) < len(tags):
        raise SettingError(
            f"The text has {len(tags)} speakers ({', '.join(tags)}) but {len(voices)} voices were "
            "given; give one for each."
        )
    if len(voices) > max(1, len(tags)):
        raise SettingError(
            f"{len(voices)} voices were given for {max(1, len(tags))} speaker; "
            "mark turns with [SPEAKER0] and so on."
        )
    if delivery.chunk_method == "auto" and not (len(tags) > 1 and not voices):
        return _one_by_one(spoken, delivery, voices, tags, max_words)
    return _together(spoken, delivery, voices, tags)


def prepared(text: str, delivery: Delivery) -> str:
    """The text as it will be spoken. Raises TextError when it is empty, too long or unspeakable."""
    if len(text) > LONGEST_TEXT:
        raise TextError(
            f"The text has {len(text):,} characters; at most {LONGEST_TEXT:,} are spoken at once. "
            "Split it."
        )
    if not text.strip():
        raise TextError("The text is empty; give some words to speak.")
    rules: dict[str, Callable[[str], str]] = {
        "english": normalize.speakable,
        "original": normalize.original,
        "off": str.strip,
    }
    spoken = rules[delivery.normalization](text)
    if not any(c.isalnum() for turn in turns(spoken) for c in turn.text):
        raise TextError("The text has no word that can be spoken.")
    return spoken


def _setting(delivery: Delivery, voices: Sequence[Voice]) -> Setting:
    return Setting(
        tuple(voices), delivery.scene, delivery.system, delivery.voices_in_system, delivery.history
    )


def _one_by_one(
    spoken: str,
    delivery: Delivery,
    voices: Sequence[Voice],
    tags: Sequence[str],
    max_words: int | None,
) -> list[Utterance]:
    """Every chunk has one speaker, whose voice alone stands in its prompt."""
    words = min(delivery.max_words, max_words or delivery.max_words)
    plan: list[Utterance] = []
    for turn in turns(spoken):
        tag = "" if turn.speaker is None else f"SPEAKER{turn.speaker}"
        own = voices[tags.index(tag) if tag else 0 :][:1]
        setting = _setting(delivery, own)
        parts = [
            p for p in chunks(turn.text, "sentence", max_words=words) if any(c.isalnum() for c in p)
        ]
        plan += [Utterance(part.strip(), setting, fresh=bool(own)) for part in parts]
    return plan


def _together(
    spoken: str, delivery: Delivery, voices: Sequence[Voice], tags: tuple[str, ...]
) -> list[Utterance]:
    """As the original: all voices in every prompt, tags in the text, earlier chunks as context."""
    wanted = delivery.chunk_method
    method = None if wanted == "none" or wanted == "auto" else wanted
    parts = chunks(spoken, method, max_words=delivery.max_words, max_turns=delivery.max_turns)
    return [Utterance(part, _setting(delivery, voices), tags) for part in parts if part.strip()]
