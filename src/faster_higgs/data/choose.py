"""Which cleaned clips become training data, and what they are called. Knows no file and no model.

Every clip that is left out has one reason, from `REASONS`; unusual ones keep their flags.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from faster_higgs.data.clean import Cleaned
from faster_higgs.data.measure import Limits, unusual
from faster_higgs.data.spool import Row
from faster_higgs.errors import SettingError

REASONS = {
    "marked": "the corpus says not to use it",
    "bad_row": "its row gives no recording",
    "lone_sound": "a sound without its text",
    "lone_text": "a text without its sound",
    "unreadable": "its sound cannot be read",
    "no_text": "nothing in its text can be spoken",
    "silent": "nothing is heard",
    "too_short": "shorter than --min-seconds",
    "too_long": "longer than --max-seconds",
    "outlier": "unusual, with --drop-outliers",
    "same_sound": "the same sound as another",
    "same_text": "the same speaker says the same text in another",
    "over_cap": "beyond --max-samples-per-speaker",
}


@dataclass(frozen=True)
class ChooseSettings:
    """Which clips are wanted."""

    limits: Limits = field(default_factory=Limits)
    drop_outliers: bool = False
    keep_duplicates: bool = False
    max_samples_per_speaker: int | None = None  # drawn by `seed`, not the first ones
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.limits.least_seconds, self.limits.most_seconds
        if not 0 <= low < high:
            raise SettingError(f"No clip lasts {low:g} to {high:g} s; give a range that is one.")
        cap = self.max_samples_per_speaker
        if cap is not None and cap < 1:
            raise SettingError(f"At most {cap} clips of a speaker leave none; use 1 or more.")


@dataclass(frozen=True)
class Verdict:
    """On one clip: kept, with an id, or left out for a reason."""

    row: Row
    flags: tuple[str, ...] = ()
    reason: str = ""
    why: str = ""
    id: str = ""

    @property
    def clip(self) -> Cleaned:
        """Without its sound."""
        return self.row.clip


def judged(rows: Iterable[Row], settings: ChooseSettings) -> list[Verdict]:
    """By speaker and origin, whatever the order they come in."""
    verdicts = [_alone(row, settings) for row in sorted(rows, key=_order)]
    verdicts = list(_once(verdicts, settings.keep_duplicates))
    return list(_named(_capped(verdicts, settings)))


def _order(row: Row) -> tuple[object, ...]:
    """Clips of a corpus come before those that are only named as somebody's reference."""
    clip = row.clip
    numbers = [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", clip.origin)]
    return clip.speaker, clip.is_reference, numbers, clip.text, clip.sound


def _alone(row: Row, settings: ChooseSettings) -> Verdict:
    """What a clip says against itself."""
    clip, limits = row.clip, settings.limits
    if clip.fault or clip.measures is None:
        return Verdict(row, reason=clip.fault, why=clip.why)
    if not clip.text:
        return Verdict(row, reason="no_text")
    if clip.measures.silence >= 1:
        return Verdict(row, reason="silent")
    if not limits.least_seconds <= clip.seconds <= limits.most_seconds:
        reason = "too_short" if clip.seconds < limits.least_seconds else "too_long"
        return Verdict(row, reason=reason, why=f"{clip.seconds:.2f} s")
    found = [one for one in unusual(clip.measures, limits) if one.check != "seconds"]
    verdict = Verdict(row, flags=tuple(one.check for one in found))
    if found and settings.drop_outliers:
        return replace(verdict, reason="outlier", why=" ".join(one.message for one in found))
    return verdict


def _once(verdicts: Sequence[Verdict], keep: bool) -> Iterator[Verdict]:
    """Each sound once, and each text of a speaker; a reference that is a clip too is that clip."""
    sounds: dict[str, str] = {}
    texts: dict[tuple[str, str], str] = {}
    for verdict in sorted(verdicts, key=lambda one: one.clip.is_reference):
        clip, said = verdict.clip, (verdict.clip.speaker, verdict.clip.text.casefold())
        if clip.is_reference and clip.sound in sounds:
            continue
        if not verdict.reason and not keep and clip.sound in sounds:
            verdict = replace(verdict, reason="same_sound", why=f"as {sounds[clip.sound]}")
        elif not verdict.reason and not keep and said in texts:
            verdict = replace(verdict, reason="same_text", why=f"as {texts[said]}")
        elif not verdict.reason:
            sounds.setdefault(clip.sound, clip.origin)
            texts.setdefault(said, clip.origin)
        yield verdict


def _capped(verdicts: Sequence[Verdict], settings: ChooseSettings) -> list[Verdict]:
    """At most so many of each speaker, drawn with the seed."""
    cap = settings.max_samples_per_speaker
    if cap is None:
        return list(verdicts)
    kept = defaultdict(list)
    for place, verdict in enumerate(verdicts):
        if not verdict.reason:
            kept[verdict.clip.speaker].append(place)
    over = set[int]()
    for speaker, places in kept.items():
        chosen = random.Random(f"{settings.seed} {speaker}").sample(places, min(cap, len(places)))
        over |= set(places) - set(chosen)
    return [replace(v, reason="over_cap") if i in over else v for i, v in enumerate(verdicts)]


def _named(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    """Ids for those that are kept: <speaker>_<000000>, without gaps."""
    names: dict[str, str] = {}
    counts: dict[str, int] = defaultdict(int)
    for verdict in verdicts:
        speaker = verdict.clip.speaker
        if verdict.reason:
            yield verdict
            continue
        if speaker not in names:
            names[speaker] = _distinct(speaker, set(names.values()))
        yield replace(verdict, id=f"{names[speaker]}_{counts[speaker]:06d}")
        counts[speaker] += 1


def _distinct(speaker: str, taken: set[str]) -> str:
    """A speaker's name as the beginning of a file's, on every disk, and no other speaker's."""
    plain = unicodedata.normalize("NFC", speaker).strip()
    plain = re.sub(r"[^\w-]+", "_", plain)[:60].strip("_") or "speaker"
    others = {name.casefold() for name in taken}
    name, number = plain, 2
    while name.casefold() in others:
        name, number = f"{plain}-{number}", number + 1
    return name
