"""A prepared data set as training examples: each clip in a conversation as inference writes it.

Task, references and what is left out are drawn anew in every epoch, from the seed, the epoch and
the index alone. Held-out clips have the same conversation in every epoch of every run. Knows
nothing of sound or of batches.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from faster_higgs.data.cache import Cache
from faster_higgs.data.record import Clip, Split
from faster_higgs.data.wording import KnownTexts
from faster_higgs.errors import DataError
from faster_higgs.prompt import template
from faster_higgs.prompt.conversation import QUIET_ROOM, Conversation, Setting
from faster_higgs.prompt.template import Message, record
from faster_higgs.prompt.voices import Voice
from faster_higgs.train.config import MixtureSettings
from faster_higgs.train.demands import Demands
from faster_higgs.train.packing import Examples
from faster_higgs.train.sample import Example, Marks, build

GENDERS = {
    **dict.fromkeys(("feminine", "female", "f", "woman", "nữ"), "feminine"),
    **dict.fromkeys(("masculine", "male", "m", "man", "nam"), "masculine"),
}


@dataclass(frozen=True)
class Talk:
    """A conversation by the numbers of its clips: who speaks in the answer, and like whom."""

    turns: tuple[int, ...]  # in the order in which they are heard; several are a dialogue
    cast: tuple[int, ...]  # the same as SPEAKER0, SPEAKER1 ...
    references: tuple[int, ...] = ()  # one of each of the cast, or none
    in_system: bool = False
    scene: bool = True


class Dataset:
    """The clips of one split as conversations. Equal (index, epoch) give equal ones.

    All but the training split are held out; `held_out` says so of data that are there for nothing
    else. Raises DataError for data of another model, or that cannot give what the tasks need, and
    SettingError for rules that are not the checkpoint's. `notes` tell what there is too little of.
    """

    def __init__(
        self,
        cache: Cache,
        demands: Demands,
        settings: MixtureSettings,
        split: Split = "train",
        *,
        held_out: bool = False,
    ) -> None:
        demands.refuse_other_data(cache)
        demands.refuse_other_rules(settings)
        self.cache, self.demands, self.trains = cache, demands, split == "train" and not held_out
        fixed = replace(settings, seed=0, drop_reference=0.0, drop_scene=0.0)
        self.settings = settings if self.trains else fixed
        self.marks = Marks.of(demands.wording.tokenizer, demands.config)
        self.speakers, self.digests = cache.column("speaker"), cache.digests()
        self.pools = self._short({split, "train"})
        self._named = self._named_references()
        weights = np.asarray(cache.column("weight")) if self.trains else np.ones(len(cache))
        self.indices = [i for i in cache.indices(split) if weights[i] > 0]
        if not self.indices:
            raise DataError(
                f"The split '{split}' of '{cache.folder}' has no clips; prepare more recordings, "
                "or give that split a share."
            )
        self._edges = np.cumsum(weights[self.indices])
        self.alone = [i for i in self.indices if not self._can_be_cloned(i)]
        self.notes = self._check()

    def __len__(self) -> int:
        return len(self.indices)

    def sounds(self) -> list[bytes]:
        """What tells the sound of each of its clips."""
        return [self.digests[i] for i in self.indices]

    def example(self, index: int, epoch: int) -> Example:
        """The conversation that the clip at `index` has in an epoch."""
        return self.tell(self.draw(index, epoch))

    def draw(self, index: int, epoch: int) -> Talk:
        """Which clips that conversation is made of."""
        epoch = epoch if self.trains else 0
        settings, rng = self.settings, np.random.default_rng([self.settings.seed, epoch, index])
        target = self._pick(index, epoch)
        task = str(rng.choice(list(settings.weights), p=list(settings.weights.values())))
        clones = task.endswith("cloning") and rng.random() >= settings.drop_reference
        scene, in_system = rng.random() >= settings.drop_scene, rng.random() < settings.in_system
        turns = [target]
        if task.startswith("multi"):
            turns = [int(i) for i in rng.permutation([target, *self._partners(target, rng)])]
        cast = [int(i) for i in rng.permutation(turns)]
        references = self._references(cast, rng) if clones else ()
        if not references:
            cast = self._by_gender(cast)
        return Talk(tuple(turns), tuple(cast), references, in_system, scene)

    def tell(self, talk: Talk) -> Example:
        """The conversation as inference would write it, with its answer."""
        clips = {i: self.cache.clip(i) for i in {*talk.turns, *talk.references}}
        said = [clips[i] for i in talk.turns]
        scene = (said[0].scene or QUIET_ROOM) if talk.scene else None
        voices = [_voice(clips[i]) for i in talk.references] or self._described(said)
        known = KnownTexts(self.demands.wording, {c.text: c.tokens for c in clips.values()})
        text, tags = said[0].text, []
        if len(said) > 1:
            tags = [f"SPEAKER{k}" for k in range(len(said))]
            text = "\n".join(f"[{tags[talk.cast.index(i)]}] {clips[i].text}" for i in talk.turns)
        setting = Setting(tuple(voices), scene, voices_in_system=talk.in_system)
        codes = torch.cat([clip.codes for clip in said], dim=1)
        asked = Conversation(setting, tags, known.spell).ask(text)
        prompt = record([*asked, Message("assistant", (template.Clip(codes),))], known)
        made = build(prompt.ids, prompt.clips, self.marks, loss_on=self.settings.loss_on)
        return replace(made, name="+".join(clip.id for clip in said))

    def _pick(self, index: int, epoch: int) -> int:
        """The clip at `index`: each as often as its weight, rounded up or down, in an epoch."""
        start = np.random.default_rng([self.settings.seed, epoch]).random()
        place = (index + start) * self._edges[-1] / len(self.indices)
        return self.indices[min(int(np.searchsorted(self._edges, place, "right")), len(self) - 1)]

    def _short(self, splits: set[str]) -> dict[str, list[int]]:
        """By speaker, the clips that may be heard before or beside a target; each sound once."""
        limit = self.settings.max_reference_seconds * float(self.cache.about["codec"]["frame_rate"])
        frames, split = self.cache.column("frames"), self.cache.column("split")
        found: dict[str, dict[bytes, int]] = defaultdict(dict)
        for i, speaker in enumerate(self.speakers):
            if split[i] in splits and frames[i] <= limit:
                found[speaker].setdefault(self.digests[i], i)
        return {speaker: list(clips.values()) for speaker, clips in found.items()}

    def _another(self, speaker: str, taken: set[bytes], rng: np.random.Generator) -> int | None:
        """A clip of the speaker that sounds like none of those taken, if there is one."""
        pool = self.pools.get(speaker, [])
        first = int(rng.integers(max(1, len(pool))))
        order = (*pool[first:], *pool[:first])
        return next((i for i in order if self.digests[i] not in taken), None)

    def _references(self, cast: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """For each of the cast another clip; none at all where one of them has no other."""
        taken = {self.digests[i] for i in cast}
        found = [self._reference(i, taken, rng) for i in cast]
        return tuple(i for i in found if i is not None) if None not in found else ()

    def _reference(self, target: int, taken: set[bytes], rng: np.random.Generator) -> int | None:
        """One that the corpus names for the clip, else any of its speaker."""
        named = [i for i in self._named.get(target, ()) if self.digests[i] not in taken]
        if named:
            return named[int(rng.integers(len(named)))]
        return self._another(self.speakers[target], taken, rng)

    def _named_references(self) -> dict[int, list[int]]:
        """By clip, those that the corpus names for its voice and that may be heard before it."""
        places = {id: i for i, id in enumerate(self.cache.column("id"))}
        found = {}
        for i, told in enumerate(self.cache.column("columns")):
            if '"references"' in told:
                named = {places.get(id) for id in json.loads(told).get("references", "").split()}
                found[i] = [k for k in self.pools.get(self.speakers[i], ()) if k in named]
        return found

    def _partners(self, target: int, rng: np.random.Generator) -> list[int]:
        """A clip of each of one or more other speakers."""
        others = [name for name in self.talkers if name != self.speakers[target]]
        most = min(self.settings.max_speakers - 1, len(others))
        chosen = rng.permutation(len(others))[: int(rng.integers(1, most + 1))]
        found = [self._another(others[k], {self.digests[target]}, rng) for k in chosen]
        return [i for i in found if i is not None]

    def _by_gender(self, cast: Sequence[int]) -> list[int]:
        """A prompt without voices calls its speakers feminine and masculine, in turns."""
        if len(cast) == 1:
            return list(cast)
        rest, genders = list(cast), {i: _gender(self.cache.clip(i)) for i in cast}
        ordered: list[int] = []
        while rest:
            wanted = ("feminine", "masculine")[len(ordered) % 2]
            fit = [(genders[i] != wanted) + (genders[i] not in (wanted, None)) for i in rest]
            ordered.append(rest.pop(int(np.argmin(fit))))
        return ordered

    def _described(self, said: Sequence[Clip]) -> list[Voice]:
        if self.settings.speaker_prompt == "none" or len(said) > 1:
            return []
        described = said[0].columns.get("description") or said[0].speaker
        return [Voice(said[0].speaker, description=described)]

    def _can_be_cloned(self, target: int) -> bool:
        pool = self.pools.get(self.speakers[target], [])
        return any(self.digests[i] != self.digests[target] for i in pool[:2])

    def _check(self) -> list[str]:
        """What the tasks need must be there. Returns what is to be told."""
        weights, folder = self.settings.weights, self.cache.folder
        clones = any(task.endswith("cloning") for task in weights)
        several = [task for task in weights if task.startswith("multi")]
        least = 2 if any(task.endswith("cloning") for task in several) else 1
        self.talkers = [name for name, pool in self.pools.items() if len(pool) >= least]
        limit = f"{self.settings.max_reference_seconds:g} s"
        if several and len(self.talkers) < 2:
            raise DataError(
                f"{several[-1]} needs two speakers with {least} clip(s) of at most {limit} each, "
                f"and '{folder}' has {len(self.talkers)}; give the task the weight 0."
            )
        notes = self._check_named() if clones else []
        if not clones or not self.alone:
            return notes
        names = sorted({self.speakers[i] for i in self.alone})
        count = f"{len(self.alone):,} of {len(self):,} clips"
        who = f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        if self.trains and all(task.endswith("cloning") for task in weights):
            raise DataError(
                f"{count} in '{folder}' have no other clip of their speaker ({who}) of at most "
                f"{limit} to be cloned from; give single_speaker_smart_voice a weight, or leave "
                "these speakers out."
            )
        return [
            *notes,
            f"{count} have no other clip of their speaker ({who}) of at most {limit}; "
            "they are never cloned, only spoken without a voice.",
        ]

    def _check_named(self) -> list[str]:
        """Of references that the corpus names and that cannot be taken."""
        named = [i for i in self.indices if i in self._named]
        lost = sum(not self._named[i] for i in named)
        limit = f"{self.settings.max_reference_seconds:g} s"
        if not lost:
            return []
        return [
            f"{lost:,} of {len(named):,} clips with references of their own have none that is of "
            f"their speaker and split and at most {limit}; others are drawn."
        ]


class Mixed:
    """Several data sets as one: an epoch has the first whole, and of each other its share.

    What an epoch leaves out of another, the next ones bring.
    """

    def __init__(self, sets: Sequence[Examples], shares: Sequence[float], seed: int = 0) -> None:
        total = len(sets[0]) / shares[0]
        counts = [len(sets[0]), *(max(1, round(total * share)) for share in shares[1:])]
        self.sets, self.seed, self._counts = tuple(sets), seed, counts
        self._ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def example(self, index: int, epoch: int) -> Example:
        """As its own data set has it."""
        number = int(np.searchsorted(self._ends, index, "right"))
        chosen = self.sets[number]
        if number == 0:
            return chosen.example(index, epoch)
        place = epoch * self._counts[number] + index - int(self._ends[number - 1])
        lap, rank = divmod(place, len(chosen))
        order = _order(len(chosen), self.seed, number, lap)
        return chosen.example(int(order[rank]), lap)


def with_replay(train: Dataset, replayed: Sequence[Dataset], settings: MixtureSettings) -> Examples:
    """The training set, and of the replayed ones together the share `settings.replay`."""
    share = settings.replay
    if not replayed or not share:
        return train
    shares = [1 - share, *[share / len(replayed)] * len(replayed)]
    return Mixed((train, *replayed), shares, settings.seed)


@lru_cache(maxsize=8)
def _order(count: int, seed: int, number: int, lap: int) -> Any:
    return np.random.default_rng([seed, number, lap]).permutation(count)


def _voice(clip: Clip) -> Voice:
    return Voice(clip.speaker, clip.codes, clip.text)


def _gender(clip: Clip) -> str | None:
    return GENDERS.get(clip.columns.get("gender", "").strip().lower())
