"""Two voices in one script: is each turn spoken by its own? Does not listen to words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from evals.likeness import Likeness
from evals.summary import Turn
from faster_higgs.errors import GenerationError
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs

TURNS = 4  # of a dialogue


@dataclass(frozen=True)
class Dialogue:
    """What two voices say in turn, with which random numbers."""

    texts: tuple[str, ...]
    voices: tuple[str, str]
    seed: int

    @property
    def script(self) -> str:
        """As a user writes it."""
        return "\n".join(f"[SPEAKER{i % 2}] {text}" for i, text in enumerate(self.texts))


def dialogues(texts: Sequence[str], voices: Sequence[str], seed: int) -> list[Dialogue]:
    """The texts in fours, the pairs of voices in rotation; one text alone is no dialogue."""
    pairs = list(combinations(voices, 2))
    fours = [tuple(texts[i : i + TURNS]) for i in range(0, len(texts) - 1, TURNS)] if pairs else []
    return [Dialogue(four, pairs[i % len(pairs)], seed + i) for i, four in enumerate(fours)]


def turns(dialogue: Dialogue, higgs: Higgs, likeness: Likeness) -> Iterator[Turn]:
    """Every utterance of a dialogue, judged by itself; one without sound is like nobody."""
    plan = higgs.plan(dialogue.script, dialogue.voices)
    asked = [(part.text, part.setting.voices[0].name) for part in plan]
    try:
        speech = higgs.speak(dialogue.script, dialogue.voices, Sampling(seed=dialogue.seed))
    except GenerationError:
        yield from (Turn(text, voice) for text, voice in asked)
        return
    for (text, voice), part in zip(asked, speech.parts, strict=True):
        begin, end = (round(second * speech.rate) for second in (part.begin, part.end))
        yield Turn(text, voice, likeness(speech.samples[begin:end], speech.rate))
