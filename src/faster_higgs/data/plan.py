"""What is said about the clips that are kept: split, weight, scene, references.

Knows no codec, and nothing of those that are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from faster_higgs.data.choose import ChooseSettings, Verdict
from faster_higgs.data.clean import CleanSettings
from faster_higgs.data.encode import Wanted
from faster_higgs.data.split import SplitSettings, Spoken, split, weights


@dataclass(frozen=True)
class PrepareSettings:
    """What an operator says about preparing."""

    clean: CleanSettings = field(default_factory=CleanSettings)
    choose: ChooseSettings = field(default_factory=ChooseSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    moods: bool = False  # guess emotion and scene from the text


def chosen(verdicts: Sequence[Verdict], settings: PrepareSettings) -> list[Wanted]:
    """The clips that are kept, with all that is said about them. Raises DataError."""
    kept = [verdict for verdict in verdicts if verdict.id]
    if not kept:
        return []
    clips = [verdict.clip for verdict in kept]
    splits = split([Spoken(one.speaker, one.text, one.sound) for one in clips], settings.split)
    drawn = weights([one.speaker for one in clips], splits, settings.split.temperature)
    ids = {verdict.clip.sound: verdict.id for verdict in reversed(kept)}
    return [
        Wanted(
            verdict.id,
            name,
            verdict.clip.speaker,
            verdict.clip.text,
            verdict.clip.language,
            "",
            weight,
            {**verdict.clip.columns, **_beside(verdict, ids)},
            samples=verdict.clip.samples,
            sound=verdict.clip.sound,
            origin=verdict.clip.origin,
            part=str(verdict.row.part),
            place=verdict.row.place,
        )
        for verdict, name, weight in zip(kept, splits, drawn, strict=True)
    ]


def _beside(verdict: Verdict, ids: Mapping[str, str]) -> dict[str, str]:
    """The clips that the corpus names as references, by their ids."""
    named = [ids[sound] for sound in verdict.clip.references if sound in ids]
    return {"references": " ".join(named)} if named else {}
