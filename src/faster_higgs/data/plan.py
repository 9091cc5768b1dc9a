"""What is said about the clips that are kept: split, weight, scene, references.

Knows no codec, and nothing of those that are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from faster_higgs.data.choose import ChooseSettings, Verdict
from faster_higgs.data.clean import Cleaned, CleanSettings
from faster_higgs.data.encode import Wanted
from faster_higgs.data.moods import Moods, packaged
from faster_higgs.data.split import SplitSettings, Spoken, split, weights


@dataclass(frozen=True)
class PrepareSettings:
    """What an operator says about preparing."""

    clean: CleanSettings = field(default_factory=CleanSettings)
    choose: ChooseSettings = field(default_factory=ChooseSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    moods: Moods | None = None  # by which emotion and scene are guessed from the text

    def to_json(self) -> dict[str, Any]:
        """The same for machines, rules by their fingerprint."""
        plain = asdict(replace(self, moods=None))
        return {**plain, "moods": self.moods and self.moods.fingerprint}


def chosen(verdicts: Sequence[Verdict], settings: PrepareSettings) -> list[Wanted]:
    """The clips that are kept, with all that is said about them. Raises DataError."""
    kept = [verdict for verdict in verdicts if verdict.id]
    if not kept:
        return []
    clips = [verdict.clip for verdict in kept]
    splits = split([Spoken(one.speaker, one.text, one.sound) for one in clips], settings.split)
    drawn = weights([one.speaker for one in clips], splits, settings.split.temperature)
    ids = {verdict.clip.sound: verdict.id for verdict in reversed(kept)}
    rules, found = settings.moods or packaged(), []
    for verdict, name, weight in zip(kept, splits, drawn, strict=True):
        clip = verdict.clip
        columns = _felt(clip, settings.moods) if settings.moods else dict(clip.columns)
        found.append(
            Wanted(
                verdict.id,
                name,
                clip.speaker,
                clip.text,
                clip.language,
                rules.scene_line(columns.get("scene", "")),
                weight,
                {**columns, **_beside(verdict, ids)},
                samples=clip.samples,
                sound=clip.sound,
                origin=clip.origin,
                part=str(verdict.row.part),
                place=verdict.row.place,
            )
        )
    return found


def _felt(clip: Cleaned, rules: Moods) -> dict[str, str]:
    """The columns, with emotion and scene guessed where the corpus says none."""
    guessed = {
        "emotion": rules.mood(clip.text, clip.language),
        "scene": rules.scene(clip.text, clip.origin, clip.language),
    }
    return {**{name: said for name, said in guessed.items() if said}, **clip.columns}


def _beside(verdict: Verdict, ids: Mapping[str, str]) -> dict[str, str]:
    """The clips that the corpus names as references, by their ids."""
    named = [ids[sound] for sound in verdict.clip.references if sound in ids]
    return {"references": " ".join(named)} if named else {}
