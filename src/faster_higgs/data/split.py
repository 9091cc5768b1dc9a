"""Which clips are trained on, which only measured, and how often each is drawn. Knows no sound.

No two splits share a sound, or a text of one speaker; by speaker, they share no speaker either.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from faster_higgs.data.amounts import counted
from faster_higgs.data.record import SPLITS, Split
from faster_higgs.errors import DataError, SettingError

By = Literal["utterance", "speaker"]
TRAIN, VALIDATION, TEST = SPLITS


class Spoken(NamedTuple):
    """What of a clip must not stand on both sides."""

    speaker: str
    text: str
    sound: str

    def ties(self, by: By) -> tuple[tuple[str, ...], ...]:
        """Clips that share one of these stay together."""
        own = (self.speaker,) if by == "speaker" else (self.speaker, self.text.casefold())
        return own, (self.speaker, self.text.casefold()), ("", "", self.sound)


@dataclass(frozen=True)
class SplitSettings:
    """Shares of the clips, or of the speakers; a temperature of 1 draws every clip alike."""

    by: By = "utterance"
    validation: float = 0.05
    test: float = 0.0
    seed: int = 0
    temperature: float = 1.0  # 0: every speaker is drawn as often as every other

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise SettingError(
                f"Data are split by {' or '.join(get_args(By))}, not by '{self.by}'."
            )
        shares = (self.validation, self.test)
        if not all(0 <= share < 1 for share in shares) or sum(shares) >= 1:
            raise SettingError(
                f"Shares of {self.validation:g} for validation and {self.test:g} for testing leave "
                "nothing to train on; use numbers from 0 to 1 whose sum is below 1."
            )
        if not 0 <= self.temperature <= 1:
            raise SettingError(
                f"The temperature is {self.temperature:g}; use 0 (all speakers alike) to 1 (all "
                "clips alike)."
            )


def split(clips: Sequence[Spoken], settings: SplitSettings) -> list[Split]:
    """The split of each clip: the same for the same clips, seed and shares.

    By utterance every speaker has the shares, to one clip. Raises DataError for too few.
    """
    tied = list(_spread(_tied(clips, settings.by), clips, settings))
    wanted = [(TEST, settings.test), (VALIDATION, settings.validation)]
    _refuse_too_few(len(tied), [name for name, share in wanted if share], settings.by)
    found: list[Split] = [TRAIN] * len(clips)
    left, chance = 1.0, random.Random(settings.seed)
    for rest, (name, share) in zip((VALIDATION, TRAIN), wanted, strict=True):
        needed = 1 + (rest == VALIDATION and settings.validation > 0)
        chosen = _every(len(tied), share / left, chance.random(), len(tied) - needed)
        for place in chosen:
            for clip in tied[place]:
                found[clip] = name
        tied = [group for place, group in enumerate(tied) if place not in chosen]
        left -= share
    assert not overlaps(clips, found, settings.by)
    return found


def overlaps(clips: Sequence[Spoken], splits: Sequence[Split], by: By) -> list[str]:
    """What stands in two splits and must not; empty where all is well."""
    seen: dict[tuple[str, ...], set[Split]] = defaultdict(set)
    for clip, name in zip(clips, splits, strict=True):
        for tie in clip.ties(by):
            seen[tie].add(name)
    return [" ".join(filter(None, tie)) for tie, names in seen.items() if len(names) > 1]


def weights(speakers: Sequence[str], splits: Sequence[Split], temperature: float) -> list[float]:
    """How often each clip is drawn beside the others: a speaker of n clips n^temperature times.

    Their mean over what is trained on is 1.
    """
    counts = Counter(s for s, name in zip(speakers, splits, strict=True) if name == TRAIN)
    drawn = {speaker: float(n) ** temperature for speaker, n in counts.items()}
    scale = sum(counts.values()) / sum(drawn.values()) if drawn else 1.0
    return [
        drawn[speaker] / counts[speaker] * scale if name == TRAIN else 1.0
        for speaker, name in zip(speakers, splits, strict=True)
    ]


def _tied(clips: Sequence[Spoken], by: By) -> list[list[int]]:
    """Clips that must stay together, each group in order."""
    leader = list(range(len(clips)))

    def lead(place: int) -> int:
        while leader[place] != place:
            leader[place] = place = leader[leader[place]]
        return place

    first: dict[tuple[str, ...], int] = {}
    for place, clip in enumerate(clips):
        for tie in clip.ties(by):
            one, other = sorted((lead(place), lead(first.setdefault(tie, place))))
            leader[other] = one
    groups: dict[int, list[int]] = defaultdict(list)
    for place in range(len(clips)):
        groups[lead(place)].append(place)
    return list(groups.values())


def _spread(
    groups: Iterable[list[int]], clips: Sequence[Spoken], settings: SplitSettings
) -> Iterator[list[int]]:
    """Shuffled, by utterance one speaker after the other: whoever takes every n-th is fair."""
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        strata["" if settings.by == "speaker" else clips[group[0]].speaker].append(group)
    for name in sorted(strata):
        random.Random(f"{settings.seed} {name}").shuffle(strata[name])
        yield from strata[name]


def _every(count: int, share: float, offset: float, most: int) -> set[int]:
    """Evenly spread places: that share of them, at least one, at most so many."""
    if not share:
        return set()
    chosen = [i for i in range(count) if int((i + 1) * share + offset) > int(i * share + offset)]
    return set((chosen or [int(offset * count)])[:most])


def _refuse_too_few(groups: int, held_out: Sequence[Split], by: By) -> None:
    if groups > len(held_out):
        return
    names = " and ".join(("train", *reversed(held_out)))
    raise DataError(
        f"There {'is' if groups == 1 else 'are'} {counted(groups, by)} to "
        f"split into {names}; "
        + ("use --split-by utterance, or " if by == "speaker" else "give more, or ")
        + "--validation 0 --test 0."
    )
