"""How a text is spoken: the settings of a delivery, and the utterances it is cut into.

Knows nothing of tokens, models or sound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal, get_args

from faster_higgs.errors import SettingError, TextError
from faster_higgs.prompt.conversation import QUIET_ROOM, Setting
from faster_higgs.prompt.voices import Voice
from faster_higgs.text import normalize
from faster_higgs.text.chunk import chunks, words
from faster_higgs.text.dialogue import by_number, carried, speakers, tagged, turns
from faster_higgs.text.language import guess
from faster_higgs.text.pauses import stretches, written

Normalization = Literal["english", "original", "off"]
ChunkMethod = Literal["auto", "none", "word", "speaker", "sentence"]
Priority = Literal["interactive", "batch"]
LONGEST_TEXT = 50_000  # characters that are put into words at once
WORDS = 200  # of a chunk, as in the original
WORDS_IN_TIME = 120  # where "auto" cuts: a minute, well inside the steps a request has by default
FRAMES_PER_SECOND = 25

Split = Callable[..., list[str]]


@dataclass(frozen=True)
class Delivery:
    """Everything about a speech but the voice and the sampling. Defaults are written here only.

    `normalization` "english" puts numbers, dates and the like of a text into words, where its
    language has rules (English and Vietnamese); others get the original's treatment.
    `chunk_method` "auto" cuts at sentence ends, and dialogues at turns; the others are the
    original's, and keep all voices and tags in every prompt. `history` is for chunks that have no
    clip of a voice: with one, "auto" begins each chunk afresh. `earlier` are turns of a
    conversation, role and text, that come before the text and are not spoken. A "batch" speech
    waits while there are "interactive" ones.
    """

    scene: str | None = QUIET_ROOM
    system: str | None = None
    voices_in_system: bool = False
    normalization: Normalization = "english"
    language: str | None = None  # "en", "zh" ...; None: guessed from the text
    chunk_method: ChunkMethod = "auto"
    max_words: int | None = None  # of a chunk; None: 200, and 120 where "auto" cuts
    max_turns: int = 1  # of a chunk, with chunk_method "speaker"
    max_chars: int = LONGEST_TEXT  # of a text; longer ones are refused
    history: int | None = None  # earlier chunks kept as context; None keeps all there is room for
    earlier: tuple[tuple[str, str], ...] = ()
    priority: Priority = "interactive"
    deadline: float | None = None  # seconds from now; what is not ready by then is left out

    def __post_init__(self) -> None:
        turns = tuple((role, text) for role, text in self.earlier)  # JSON has lists, without a hash
        object.__setattr__(self, "earlier", turns)
        _known("normalization", self.normalization, get_args(Normalization))
        _known("chunk_method", self.chunk_method, get_args(ChunkMethod))
        _known("priority", self.priority, get_args(Priority))
        for name in ("max_words", "max_turns", "max_chars"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"{name} is {value}; use 1 or more.")
        if self.language is not None and not re.fullmatch("[a-z]{2,3}", self.language):
            raise SettingError(f"language is '{self.language}'; use a code such as en or zh.")
        if self.history is not None and self.history < 0:
            raise SettingError(
                f"history is {self.history}; use 0 for none, or leave it out to keep all chunks."
            )
        if self.deadline is not None and not self.deadline > 0:  # also refuses NaN
            raise SettingError(f"deadline is {self.deadline}; use seconds, more than 0.")


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
    speaker: str | None = None  # its tag, where there is one alone
    before: float = 0.0  # seconds of silence
    after: float = 0.0

    @property
    def steps(self) -> int:
        """More model steps than any reader needs for this text; a model that goes on is lost."""
        return round((4.0 + sum(map(_seconds, self.text))) * FRAMES_PER_SECOND)


def _seconds(character: str) -> float:
    """The longest that one character takes, as far as text not yet put into words can tell."""
    if character.isspace():
        return 0.0
    return 0.6 if character.isdigit() else 0.4 if ord(character) >= 0x2E80 else 0.14


@dataclass(frozen=True)
class Cut:
    """An utterance before the voices are there: which of them, by number, are in its prompt."""

    text: str
    voices: tuple[int, ...]
    tags: tuple[str, ...] = ()
    fresh: bool = False
    speaker: str | None = None
    before: float = 0.0
    after: float = 0.0


def utterances(
    text: str, delivery: Delivery, voices: Sequence[Voice] = (), max_words: int | None = None
) -> list[Utterance]:
    """The generations that speak `text`; the checkpoint was made for at most `max_words` in one.

    Raises TextError when there is nothing to say, SettingError when speakers and voices do not
    match.
    """
    clips = [voice.codes is not None for voice in voices]
    plan = []
    for cut in cuts(text, delivery, clips, max_words):
        setting = _setting(delivery, [voices[i] for i in cut.voices], cut.tags)
        told = (cut.tags, cut.fresh, cut.speaker, cut.before, cut.after)
        plan.append(Utterance(cut.text, setting, *told))
    return plan


def cuts(
    text: str, delivery: Delivery, clips: Sequence[bool] = (), max_words: int | None = None
) -> list[Cut]:
    """As `utterances`, for voices of which only is known whether they have a clip."""
    spoken = prepared(text, delivery)
    tags = tuple(speakers(spoken))
    _check_count(tags, len(clips))
    cut = partial(_cut, delivery=delivery, clips=clips, tags=tags, made_for=max_words)
    split = partial(chunks, language=language_of(text, delivery))
    between = stretches(spoken)
    plan, silence = list[Cut](), 0.0
    for said, (_, before) in zip(carried(s.text for s in between), between, strict=True):
        silence += before
        for part in cut(said.strip(), split=split) if _speakable(said) else ():
            plan.append(replace(part, before=silence))
            silence = 0.0
    return [*plan[:-1], replace(plan[-1], after=silence)] if silence else plan


def _cut(
    spoken: str,
    *,
    delivery: Delivery,
    clips: Sequence[bool],
    tags: tuple[str, ...],
    made_for: int | None,
    split: Split,
) -> list[Cut]:
    """The generations of a text without pauses."""
    everyone = tuple(range(len(clips)))
    if delivery.chunk_method != "auto":
        most = _most(delivery.max_words or WORDS, made_for)
        method = None if delivery.chunk_method == "none" else delivery.chunk_method
        parts = split(spoken, method, max_words=most, max_turns=delivery.max_turns)
        return [_joint(part, everyone, tags) for part in parts]
    most = _most(delivery.max_words or WORDS_IN_TIME, made_for)
    if len(tags) > 1 and not (clips and all(clips)):
        return [_joint(part, everyone, tags) for part in _scenes(spoken, most, split)]
    return _one_by_one(spoken, by_number(tags), clips, most, split)


def _joint(text: str, voices: tuple[int, ...], tags: tuple[str, ...]) -> Cut:
    """One that has everybody in its prompt."""
    heard = speakers(text)
    return Cut(text, voices, tags, speaker=heard[0] if len(heard) == 1 else None)


def _most(wanted: int, made_for: int | None) -> int:
    return wanted if made_for is None else min(wanted, made_for)


def _check_count(tags: Sequence[str], count: int) -> None:
    if count and count < len(tags):
        raise SettingError(
            f"The text has {len(tags)} speakers ({', '.join(tags)}) but {count} voices were given; "
            "give one for each."
        )
    if count > max(1, len(tags)):
        raise SettingError(
            f"{count} voices were given for {max(1, len(tags))} speaker; "
            "mark turns with [SPEAKER0] and so on."
        )


def cast(text: str, delivery: Delivery, names: Sequence[str]) -> list[str]:
    """Who of a checkpoint's own voices speaks a text that names none. Raises as `prepared` does."""
    count = max(1, len(speakers(prepared(text, delivery))))
    if names and count > len(names):
        raise SettingError(
            f"The text has {count} speakers and this model {len(names)} voices of its own; "
            "name a voice for each speaker."
        )
    return list(names[:count])


@lru_cache(maxsize=8)
def prepared(text: str, delivery: Delivery) -> str:
    """The text as it will be spoken. Raises TextError when it is empty, too long or unspeakable."""
    if len(text) > delivery.max_chars:
        raise TextError(
            f"The text has {len(text):,} characters; at most {delivery.max_chars:,} are spoken at "
            "once. Split it."
        )
    if not text.strip():
        raise TextError("The text is empty; give some words to speak.")
    rules: dict[str, Callable[[str], str]] = {
        "english": partial(normalize.speakable, language=language_of(text, delivery)),
        "original": normalize.original,
        "off": str.strip,
    }
    rule, spoken = rules[delivery.normalization], ""
    for i, (said, before) in enumerate(stretches(tagged(text))):
        mark = f"\n{written(before)}\n" if i else ""
        spoken += mark + "\n".join(rule(part) for part in sections(said) if part.strip())
    if not any(_speakable(one.text) for one in stretches(spoken)):
        raise TextError("The text has no word that can be spoken.")
    return spoken


def _speakable(text: str) -> bool:
    return any(c.isalnum() for turn in turns(text) for c in turn.text)


def sections(text: str, most: int = LONGEST_TEXT) -> list[str]:
    """A text in stretches of at most `most` characters, which joined are the text.

    Each ends in its second half where a paragraph ends, else a line, a sentence, a word.
    """
    found: list[str] = []
    while len(text) > most:
        half = most // 2
        ends = ([end.end() for end in mark.finditer(text[half:most])] for mark in _ENDS)
        cut = next((half + places[-1] for places in ends if places), most)
        found.append(text[:cut])
        text = text[cut:]
    return [*found, text]


_ENDS = tuple(map(re.compile, (r"\n\s*\n", r"\n", r"[.!?…]['\"”’)]*\s|[。！？｡]", r"\s")))


@lru_cache(maxsize=8)
def language_of(text: str, delivery: Delivery) -> str:
    """The language of a text, as given or guessed."""
    return delivery.language or guess(text)


def _setting(delivery: Delivery, voices: Sequence[Voice], tags: Sequence[str]) -> Setting:
    return Setting(
        tuple(voices),
        delivery.scene,
        delivery.system,
        delivery.voices_in_system,
        delivery.history,
        tuple(by_number(tags)) if voices else (),
        delivery.earlier,
    )


def _one_by_one(
    spoken: str, order: Sequence[str], clips: Sequence[bool], most: int, split: Split
) -> list[Cut]:
    """Every chunk has one speaker, whose voice alone stands in its prompt."""
    plan = list[Cut]()
    for turn in turns(spoken):
        at = order.index(turn.tag) if turn.tag else 0
        own, fresh = ((at,), clips[at]) if clips else ((), False)
        parts = split(turn.text, "sentence", max_words=most)
        said = [part for part in parts if any(c.isalnum() for c in part)]
        plan += [Cut(part, own, fresh=fresh, speaker=turn.tag) for part in said]
    return plan


def _scenes(spoken: str, most: int, split: Split) -> list[str]:
    """A dialogue that is spoken together: whole turns, as many as fit; a long one keeps its tag."""
    if len(words(spoken)) <= most:
        return [spoken]
    scenes: list[str] = []
    for turn in turns(spoken):
        for part in split(turn.text, "sentence", max_words=most):
            line = f"[{turn.tag}] {part}" if turn.tag else part
            if scenes and len(words(scenes[-1])) + len(words(line)) <= most:
                scenes[-1] += "\n" + line
            else:
                scenes.append(line)
    return scenes
