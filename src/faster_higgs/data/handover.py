"""Prepared clips as older trainers take them: sounds, texts and one metadata.json.

Knows nothing of that layout; seed_layout.py writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from faster_higgs.audio.levels import Samples
from faster_higgs.data.encode import Wanted
from faster_higgs.data.seed_layout import SeedClip, SeedReference, export_seed
from faster_higgs.data.spool import sounds


def export(wanted: Sequence[Wanted], folder: Path, source: str) -> None:
    """Write every clip, in the order of the ids. Raises OutputError."""
    export_seed(_clips(wanted), folder, [source])


def _clips(wanted: Sequence[Wanted]) -> Iterator[SeedClip]:
    by_id = {clip.id: clip for clip in sorted(wanted, key=lambda one: one.id)}
    for clip in by_id.values():
        columns = dict(clip.columns)
        named = [by_id[id] for id in columns.pop("references", "").split() if id in by_id]
        yield SeedClip(
            _samples(clip),
            clip.text,
            clip.speaker,
            clip.language,
            clip.origin,
            columns,
            tuple(SeedReference(_samples(one), one.text, one.speaker) for one in named),
        )


def _samples(clip: Wanted) -> Samples:
    return sounds(Path(clip.part), [clip.place])[0]
