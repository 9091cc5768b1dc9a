"""Writes the folders of sounds, texts and one metadata.json that older trainers read.

docs/data.md describes them; readers/seeds.py reads them. Knows nothing of how clips are made.
"""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faster_higgs.audio.levels import Samples
from faster_higgs.audio.save import save
from faster_higgs.data.cache import PARTIAL
from faster_higgs.data.measure import sound_hash
from faster_higgs.errors import OutputPlaceError, unwritten

RATE = 24_000
METADATA, REFERENCES = "metadata.json", "references"
# What a sample says where a clip does not; the first five stand in this order in older data.
_USUAL: Mapping[str, Any] = {
    "scene": "quiet_room",
    "emotion": "neutral",
    "language": "en",
    "gender": "unknown",
    "quality_score": 1.0,
    "user_instruction": "<audio>",
    "task_type": "audio_generation",
    "topic": "",
    "dialect": "",
}


@dataclass(frozen=True)
class SeedReference:
    """Another clip that a clip is given for its voice."""

    samples: Samples  # [S] mono at 24 kHz
    text: str
    speaker: str


@dataclass(frozen=True)
class SeedClip:
    """A clip as older trainers take it."""

    samples: Samples  # [S] mono at 24 kHz
    text: str
    speaker: str
    language: str = "en"
    origin: str = ""  # where it was found
    columns: Mapping[str, str] = field(default_factory=dict)  # scene, emotion, gender ...
    references: tuple[SeedReference, ...] = ()


def export_seed(
    records: Iterable[SeedClip], folder: Path, created_from: Sequence[str] = ()
) -> dict[str, Any]:
    """Write clips, in their order, into a folder that appears when it is whole.

    Returns its `dataset_info`. Equal records make equal files.
    Raises OutputPlaceError where something lies there already, OutputError.
    """
    folder = Path(folder)
    refuse_taken(folder)
    partial = folder.with_name(f".{folder.name}{PARTIAL}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        writer = _Writer(partial)
        samples = [writer.add(clip) for clip in records]
        info = _info(samples, created_from)
        told = json.dumps({"dataset_info": info, "samples": samples}, ensure_ascii=False, indent=2)
        (partial / METADATA).write_text(f"{told}\n", encoding="utf-8")
        partial.replace(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise unwritten(f"{folder} cannot be written: {reason}.", error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return info


def refuse_taken(folder: Path) -> None:
    """Raises OutputPlaceError where something lies there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputPlaceError(f"{folder} is there already and not empty; give another folder.")


class _Writer:
    """Names and writes the files of each clip."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stems: dict[str, str] = {}  # speaker -> how files of theirs begin
        self._counts: Counter[str] = Counter()

    def add(self, clip: SeedClip) -> dict[str, Any]:
        """Write a clip; what metadata.json says of it."""
        id = self._id(clip.speaker)
        save(self._folder / f"{id}.wav", clip.samples, rate=RATE)
        (self._folder / f"{id}.txt").write_text(clip.text, encoding="utf-8", newline="\n")
        columns = {name: text for name, text in clip.columns.items() if name not in _OURS}
        sample = {
            "id": id,
            "audio_file": f"{id}.wav",
            "transcript_file": f"{id}.txt",
            "duration": round(len(clip.samples) / RATE, 4),
            "speaker_id": clip.speaker,
            "speaker_name": clip.speaker,
            **_USUAL,
            "original_audio_path": clip.origin,
            **columns,
            "language": clip.language,
            "sample_rate": RATE,
            **self._references(clip),
        }
        sample["quality_score"] = _number(sample["quality_score"])
        return sample

    def _id(self, speaker: str) -> str:
        """`<speaker>_<number>`, of signs that every disk takes, and no other speaker's."""
        if speaker not in self._stems:
            plain = unicodedata.normalize("NFC", speaker).strip()
            stem = re.sub(r"[^\w-]+", "_", plain)[:60].strip("_") or "speaker"
            taken = {name.casefold() for name in self._stems.values()}
            others = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
            free = (name for name in (stem, *others) if name.casefold() not in taken)
            self._stems[speaker] = next(free)
        number = self._counts[speaker]
        self._counts[speaker] += 1
        return f"{self._stems[speaker]}_{number:06d}"

    def _references(self, clip: SeedClip) -> dict[str, Any]:
        """One of its own speaker as such; others with the tags of a dialogue."""
        told = [self._reference(one, number) for number, one in enumerate(clip.references)]
        if [one.speaker for one in clip.references] == [clip.speaker]:
            return {name: told[0][name] for name in ("ref_audio_file", "ref_transcript")}
        return {"ref_speakers": told, "num_ref_speakers": len(told)} if told else {}

    def _reference(self, reference: SeedReference, number: int) -> dict[str, Any]:
        name = f"{REFERENCES}/{sound_hash(reference.samples)}.wav"
        if not (self._folder / name).exists():
            (self._folder / REFERENCES).mkdir(exist_ok=True)
            save(self._folder / name, reference.samples, rate=RATE)
        return {
            "speaker_tag": f"[SPEAKER{number}]",
            "speaker_id": reference.speaker,
            "ref_audio_file": name,
            "ref_transcript": reference.text,
        }


# What the files themselves say, whatever a column of that name claims.
_OURS = frozenset(
    (
        *("id", "audio_file", "transcript_file", "transcript", "duration", "speaker_id"),
        *("language", "sample_rate", "ref_audio_file", "ref_transcript", "ref_speakers"),
        "num_ref_speakers",
    )
)


def _info(samples: Sequence[Mapping[str, Any]], created_from: Sequence[str]) -> dict[str, Any]:
    counts = Counter(str(sample["speaker_id"]) for sample in samples)
    languages = sorted({str(sample["language"]) for sample in samples})
    seconds = sum(float(sample["duration"]) for sample in samples)
    return {
        "total_samples": len(samples),
        "speakers": sorted(counts),
        "languages": languages,
        "total_duration": round(seconds, 3),
        "avg_duration": round(seconds / max(len(samples), 1), 3),
        "created_from": list(created_from),
        "dataset_type": "vietnamese_tts" if languages == ["vi"] else "tts",
        "sample_rate": RATE,
        "speaker_counts": dict(sorted(counts.items())),
    }


def _number(said: Any) -> float:
    try:
        return float(said)
    except ValueError:
        return float(_USUAL["quality_score"])
