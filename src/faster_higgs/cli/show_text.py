"""`higgs say --show-text`: what becomes of a text before the model reads it. Loads no weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faster_higgs.checkpoint.load import read_config
from faster_higgs.cli.request import Request, planned
from faster_higgs.config import ModelConfig
from faster_higgs.delivery import language_of, prepared
from faster_higgs.text import normalize

MARGIN = 14  # characters before the text


def show_text(asked: Request, model: Path | None) -> None:
    """Print every stage, then the utterances, then their phonemes for a model that reads those."""
    for name, text in stages(asked, model):
        first, *more = text.split("\n")
        print(f"{name:>{MARGIN - 2}}  {first}")
        for line in more:
            print(" " * MARGIN + line)


def stages(asked: Request, model: Path | None) -> Iterator[tuple[str, str]]:
    """Name and text of each stage."""
    if asked.delivery.normalization == "english":
        yield from normalize.show(asked.text, language_of(asked.text, asked.delivery))
    else:
        yield "text", asked.text
        yield asked.delivery.normalization, prepared(asked.text, asked.delivery)
    plan = planned(asked, model)
    for i, utterance in enumerate(plan, 1):
        yield from _pause(utterance.before)
        yield f"utterance {i}", utterance.text
        yield from _pause(utterance.after)
    if model and ModelConfig.from_json(read_config(model)).text_input == "phonemes":
        from faster_higgs.text.pronounce import Pronouncer

        spell = Pronouncer.load()
        for i, utterance in enumerate(plan, 1):
            yield f"phonemes {i}", spell(utterance.text)


def _pause(seconds: float) -> Iterator[tuple[str, str]]:
    if seconds:
        yield "pause", f"{seconds:g} s"
