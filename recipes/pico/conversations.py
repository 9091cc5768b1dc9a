"""Step 6: what the language model is trained on: conversations as inference writes them.

They are built from the coded corpus. The mixture covers every way a prompt can be written: a voice
by reference turns, by a clip or a description in the system message, two speakers, and no voice at
all. Knows nothing of sound.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from data import Corpus
from sentences import plain
from torch import Tensor
from voices import TEACHERS

from faster_higgs.config import ModelConfig
from faster_higgs.prompt.conversation import QUIET_ROOM, Conversation, Setting
from faster_higgs.prompt.template import Clip, Message, record
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.prompt.voices import Voice
from faster_higgs.text.lexicon import PHONES
from faster_higgs.text.pronounce import Pronouncer
from faster_higgs.train.sample import Example, Marks, build

LONGEST = 250  # frames of one utterance
# A pair of utterances, a shipped reference, a description, a clip in the system message, two
# speakers, no voice.
MIXTURE = {
    "pair": 0.42,
    "shipped": 0.28,
    "described": 0.1,
    "system": 0.06,
    "dialogue": 0.08,
    "alone": 0.06,
}


class Conversations:
    """An endless variety of conversations; equal (index, epoch) give equal ones."""

    def __init__(
        self,
        corpus: Corpus,
        codes: Path,
        tokenizer: TextTokenizer,
        config: ModelConfig,
        held_out: set[str],
        *,
        validation: bool = False,
    ) -> None:
        self.corpus, self.tokenizer = corpus, tokenizer
        self.codes = np.load(codes / "codes.npy", mmap_mode="r")
        self.starts = np.load(codes / "starts.npy")
        self.pronounce = lru_cache(maxsize=None)(Pronouncer.load())
        known = range(min(len(corpus.utterances), len(self.starts) - 1))
        usable = [
            i
            for i in known
            if corpus.utterances[i].frames <= LONGEST
            and plain(corpus.utterances[i].text) not in held_out
        ]
        self.references = {voice: self.reference(voice) for voice in TEACHERS}
        self.indices = [i for i in self.distinct(usable) if (i % 50 == 0) == validation]
        self.by_voice: dict[str, list[int]] = defaultdict(list)
        for i in self.indices:
            self.by_voice[corpus.utterances[i].voice].append(i)
        self.validation = validation
        self.marks = Marks.of(tokenizer, config)
        self.phone_of = {tokenizer.text(letter)[0]: name for name, letter, _ in PHONES}

    def __len__(self) -> int:
        return len(self.indices)

    def reference(self, voice: str) -> int:
        """The utterance shipped as the voice's clip."""
        wanted = (voice, TEACHERS[voice].reference)
        for i in range(len(self.starts) - 1):
            if (self.corpus.utterances[i].voice, self.corpus.utterances[i].text) == wanted:
                return i
        raise ValueError(f"the corpus lacks the reference clip of {voice}; run corpus.py again")

    def distinct(self, usable: list[int]) -> list[int]:
        """Each sentence once a voice, and no reference clip: what is given is not learnt."""
        said = {(voice, plain(teacher.reference)) for voice, teacher in TEACHERS.items()}
        kept = []
        for i in usable:
            key = (self.corpus.utterances[i].voice, plain(self.corpus.utterances[i].text))
            if key not in said:
                said.add(key)
                kept.append(i)
        return kept

    def clip(self, i: int) -> Tensor:
        """Codes [K, F]."""
        return torch.from_numpy(self.codes[:, self.starts[i] : self.starts[i + 1]].astype(np.int64))

    def voice(self, i: int) -> Voice:
        """An utterance as a voice."""
        return Voice(self.corpus.utterances[i].voice, self.clip(i), self.corpus.utterances[i].text)

    def another(self, i: int, rng: np.random.Generator) -> int:
        """Another, shorter utterance of the same voice."""
        voice = self.by_voice[self.corpus.utterances[i].voice]
        while True:
            j = int(voice[rng.integers(len(voice))])
            if j != i and self.corpus.utterances[j].frames <= 110:
                return j

    def example(self, index: int, epoch: int) -> Example:
        """The conversation of an utterance in an epoch."""
        rng = np.random.default_rng([index, epoch, int(self.validation)])
        i = self.indices[index]
        kind = str(rng.choice(list(MIXTURE), p=list(MIXTURE.values())))
        scene = QUIET_ROOM if rng.random() < 0.85 else None
        voice = self.corpus.utterances[i].voice
        if kind == "dialogue":
            return self.dialogue(i, rng, scene)
        if kind == "shipped":
            return self.speak(Setting((self.voice(self.references[voice]),), scene), [i])
        if kind == "described":
            described = Voice(voice, description=TEACHERS[voice].description)
            return self.speak(Setting((described,), scene), [i])
        if kind == "system":
            clip = self.references[voice] if rng.random() < 0.6 else self.another(i, rng)
            return self.speak(Setting((self.voice(clip),), scene, voices_in_system=True), [i])
        if kind == "pair":
            setting = (
                Setting((), scene)
                if rng.random() < 0.85
                else Setting((self.voice(self.references[voice]),), scene)
            )
            return self.speak(setting, [self.another(i, rng), i], no_system=scene is None)
        return self.speak(Setting((), scene), [i])

    def speak(self, setting: Setting, said: list[int], *, no_system: bool = False) -> Example:
        """One voice says one or more utterances; all of them are learnt."""
        talk = Conversation(setting, spell=self.pronounce)
        messages: list[Message] = []
        for i in said:
            messages = talk.ask(self.corpus.utterances[i].text)
            talk.heard(self.corpus.utterances[i].text, self.clip(i))
        if no_system and not setting.voices:
            messages = messages[1:]
        return self.close(messages, [[i] for i in said])

    def dialogue(self, i: int, rng: np.random.Generator, scene: str | None) -> Example:
        """Two speakers with their reference clips, their turns in one answer."""
        others = [v for v in TEACHERS if v != self.corpus.utterances[i].voice]
        second = self.by_voice[others[rng.integers(len(others))]]
        pick = [
            j
            for j in (int(second[rng.integers(len(second))]) for _ in range(8))
            if self.corpus.utterances[j].frames <= 110
        ]
        turns = [i, *pick[:1]]
        voices = tuple(self.voice(self.references[self.corpus.utterances[j].voice]) for j in turns)
        order = list(rng.permutation(len(turns)))
        text = " ".join(f"[SPEAKER{k}] {self.corpus.utterances[turns[k]].text}" for k in order)
        setting = Setting(voices, scene, voices_in_system=bool(rng.random() < 0.3))
        return self.close(
            Conversation(setting, spell=self.pronounce).ask(text), [[turns[k] for k in order]]
        )

    def close(self, messages: list[Message], answers: list[list[int]]) -> Example:
        """Add the last answer, write the tokens, align the learnt clips with their text."""
        codes = torch.cat([self.clip(i) for i in answers[-1]], dim=1)
        prompt = record([*messages, Message("assistant", (Clip(codes),))], self.tokenizer)
        ids = list(prompt.ids)
        turns = sum(1 for m in messages if m.role == "assistant") + 1
        learnt = range(turns - len(answers), turns)
        alignments: list[Tensor | None] = [None] * (len(prompt.clips) - len(answers))
        texts = [m.parts[0] for m in messages if m.role == "user"][-len(answers) :]
        at = 0
        for text, answer in zip(texts, answers, strict=True):
            tokens = self.tokenizer.text(str(text))
            at = find(ids, tokens, at)
            alignments.append(self.align(ids[at : at + len(tokens)], at, answer))
            at += len(tokens)
        return build(ids, prompt.clips, self.marks, loss_on=learnt, alignments=alignments)

    def align(self, tokens: list[int], at: int, answer: list[int]) -> Tensor:
        """For each frame of the answer, the index of the token spoken there."""
        names = [self.phone_of.get(token, "") for token in tokens]
        phones, ends, offset = [], [], 0.0
        for i in answer:
            u = self.corpus.utterances[i]
            phones += [name for name, _ in u.phones]
            ends += [offset + end for _, end in u.phones]
            offset += u.frames * 0.04
        place = np.full(len(phones), -1.0)
        for a, b, size in difflib.SequenceMatcher(
            None, phones, names, autojunk=False
        ).get_matching_blocks():
            place[a : a + size] = np.arange(b, b + size)
        known = np.flatnonzero(place >= 0)
        place = (
            np.interp(np.arange(len(phones)), known, place[known])
            if len(known)
            else np.zeros(len(phones))
        )
        times = (np.arange(round(offset / 0.04)) + 0.5) * 0.04
        return torch.from_numpy(
            at + np.floor(place[np.minimum(np.searchsorted(ends, times), len(ends) - 1)])
        ).float()


def find(ids: list[int], part: list[int], start: int) -> int:
    """Where `part` stands in `ids`, from `start` on."""
    for at in range(start, len(ids) - len(part) + 1):
        if ids[at : at + len(part)] == part:
            return at
    raise ValueError("the text is not in the prompt")
