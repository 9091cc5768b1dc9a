"""Is this model the published one? Its first greedy columns beside the published ones.

Knows no files.
"""

from __future__ import annotations

from dataclasses import dataclass

from faster_higgs.config import ModelConfig
from faster_higgs.prompt.conversation import Conversation, Setting
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs

B = 1024  # begin of stream: what a codebook holds before its turn has come
SURE = 3  # columns that decide: numerics of a precision show later, wrong weights at once


@dataclass(frozen=True)
class Smoke:
    """What a right model of this shape answers to `text`, column by column."""

    text: str
    columns: tuple[tuple[int, ...], ...]
    bos: int
    shape: tuple[int, int, int, int]  # vocabulary, width, layers, codebooks

    def fits(self, config: ModelConfig) -> bool:
        """Whether the values were made with a model of this shape."""
        found = (
            config.vocab_size,
            config.hidden_size,
            config.num_hidden_layers,
            config.num_codebooks,
        )
        return found == self.shape


# From the slow test of the transformers library, which runs the published weights.
PUBLISHED = Smoke(
    "The sun rises in the east and sets in the west.",
    (
        (B, B, B, B, B, B, B, B),
        (267, B, B, B, B, B, B, B),
        (796, 765, B, B, B, B, B, B),
        (239, 960, 878, B, B, B, B, B),
        (307, 446, 313, 154, B, B, B, B),
        (811, 953, 116, 402, 806, B, B, B),
        (811, 446, 335, 756, 265, 623, B, B),
    ),
    B,
    (128_256, 3072, 28, 8),
)


@dataclass(frozen=True)
class Comparison:
    """How far a model's columns are from the expected ones."""

    compared: int
    differing: int
    first_difference: int | None  # column

    @property
    def right(self) -> bool:
        """Whether it is the published model, give or take the numerics of a precision."""
        return self.first_difference is None or self.first_difference > SURE

    def sentence(self) -> str:
        """The verdict in words."""
        found = f"{self.differing} of {self.compared} codes differ"
        if not self.differing:
            return f"This is the published model: all {self.compared} codes are equal."
        if self.right:
            return (
                f"This is the published model in another precision: {found}, "
                f"the first of them in column {self.first_difference}."
            )
        return (
            f"This is not the published model: {found}, "
            f"the first of them in column {self.first_difference}."
        )


def columns(higgs: Higgs, text: str, count: int) -> list[list[int]]:
    """The first greedy columns of a model's answer, the begin-of-stream column first."""
    sampling = Sampling(temperature=0, ras_window=0, max_new_tokens=count, rules="transformers")
    prompt = higgs.prompt(Conversation(Setting()).ask(text))
    results = [event.result for event in higgs.frames(prompt, sampling) if event.result is not None]
    found: list[list[int]] = results[0].segments[-1][:, :count].T.tolist()
    return found


def compare(higgs: Higgs, smoke: Smoke) -> Comparison:
    """Speak the smoke text and compare, code by code."""
    found = columns(higgs, smoke.text, len(smoke.columns))
    pairs = [
        (i, right, code)
        for i, (wanted, column) in enumerate(zip(smoke.columns, found, strict=True))
        for right, code in zip(wanted, column, strict=True)
        if right != smoke.bos or code != smoke.bos
    ]
    wrong = [i for i, right, code in pairs if right != code]
    return Comparison(len(pairs), len(wrong), min(wrong, default=None))
