"""Is this prepared folder whole? Shards and hashes, codes in range, splits apart.

Where it keeps the clips' sound, that is measured; the codes are not decoded.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faster_higgs.audio.files import read
from faster_higgs.data.cache import ABOUT, SHARDS, read_about, read_shard
from faster_higgs.data.checked import CheckedClip, CheckReport, Problem, Repeats
from faster_higgs.data.clean import RATE
from faster_higgs.data.in_order import in_order
from faster_higgs.data.kept import KeptSound
from faster_higgs.data.measure import Measures, measure, unusual
from faster_higgs.data.record import SPLITS, Clip
from faster_higgs.digest import sha256
from faster_higgs.errors import AudioError, DataError

FORMAT = "prepared"


def check_prepared(
    folder: Path,
    limit: int | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> CheckReport:
    """Check every clip, or the first `limit`. Raises DataError for no prepared folder."""
    about = read_about(folder)
    codec = _codec(about, folder)
    clips: list[CheckedClip] = []
    problems: list[Problem] = []
    judge = _Judge(codec["num_codebooks"], codec["codebook_size"])
    kept, rate = KeptSound(folder), codec["frame_rate"]

    def measured(found: Clip | Problem) -> Measures | None:
        return _measured(found, kept, rate) if isinstance(found, Clip) else None

    items = _shards(folder, about, codec["num_codebooks"])
    for found, measures in in_order(measured, items, workers):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        if limit is not None and len(clips) >= limit:
            break
        problems += judge.faults(found)
        for odd in unusual(measures) if measures else ():
            problems.append(Problem(odd.check, found.id, odd.message, is_error=False))
        seconds = found.frames / rate
        clips.append(CheckedClip(found.id, found.speaker, seconds, found.split, measures))
        if progress:
            progress(len(clips))
    lost = any(problem.check == "shard" for problem in problems)
    if not lost and (limit is None or len(clips) < limit):
        problems += _counted(about, clips)
    problems += _listened(folder, about)
    return CheckReport(str(folder), FORMAT, tuple(clips), tuple(problems))


def _measured(clip: Clip, kept: KeptSound, frame_rate: int) -> Measures | None:
    """Of its sound; None where that is not kept, or is another than was coded."""
    samples = kept.samples(clip.id)
    if samples is None or math.ceil(samples.size * frame_rate / RATE) != clip.frames:
        return None
    return measure(samples, RATE, clip.text)


def _codec(about: Mapping[str, Any], folder: Path) -> dict[str, int]:
    codec = about.get("codec")
    names = ("num_codebooks", "codebook_size", "frame_rate")
    try:
        found = {name: int(codec[name]) for name in names}  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        found = {}
    if not found or min(found.values()) < 1 or not isinstance(about.get("shards"), list):
        raise DataError(
            f"{folder / ABOUT} does not say how the codes are made or which shards there are; "
            "prepare the data again."
        )
    return found


def _shards(folder: Path, about: Mapping[str, Any], books: int) -> Iterator[Clip | Problem]:
    """The clips of every shard, or what is wrong with it."""
    for shard in about["shards"]:
        name = str(shard.get("name"))
        path = folder / SHARDS / name
        if not path.is_file():
            yield Problem("shard", name, f"The shard is missing from {SHARDS}/.")
            continue
        if sha256(path) != shard.get("sha256"):
            yield Problem("shard", name, f"The shard is damaged: it is not what {ABOUT} says.")
            continue
        try:
            clips = read_shard(path, books)
        except (DataError, ValueError, KeyError, TypeError) as error:
            yield Problem("shard", name, f"The shard cannot be read: {error}")
            continue
        if len(clips) != shard.get("clips", len(clips)):
            yield Problem("count", name, f"{ABOUT} tells of {shard['clips']}, found {len(clips)}.")
        yield from clips


class _Judge:
    """What is wrong with each clip, and between clips."""

    def __init__(self, books: int, size: int) -> None:
        self._books, self._size = books, size
        self._ids, self._codes, self._texts = Repeats(), Repeats(), Repeats()

    def faults(self, clip: Clip) -> Iterator[Problem]:
        """Of one more."""
        for check, message in self._own(clip):
            yield Problem(check, clip.id, message)
        yield from self._between(clip)

    def _own(self, clip: Clip) -> Iterator[tuple[str, str]]:
        if not clip.text.strip():
            yield "no_text", "It has no text."
        if not clip.tokens:
            yield "tokens", "It has no token ids."
        if clip.split not in SPLITS:
            yield "split", f"Its split is '{clip.split}', which is none of {', '.join(SPLITS)}."
        if not clip.frames:
            yield "codes", "It has no codes."
        elif clip.codes.min() < 0 or clip.codes.max() >= self._size:
            worst = int(clip.codes.max())
            yield "codes", f"It has a code {worst}; the codec has 0 to {self._size - 1}."

    def _between(self, clip: Clip) -> Iterator[Problem]:
        where = (clip.id, clip.split)
        if first := self._ids.seen(clip.id, where):
            yield Problem("same_id", clip.id, f"Its id was there before, in {first[1]}.")
        codes = hashlib.sha256(clip.codes.numpy().tobytes()).digest()
        if first := self._codes.seen(codes, where):
            apart = first[1] == clip.split
            check, also = ("same_sound", "") if apart else ("overlap", f", which is in {first[1]}")
            message = f"It sounds exactly as {first[0]}{also}."
            yield Problem(check, clip.id, message, is_error=not apart)
        said = (clip.speaker, " ".join(clip.text.casefold().split()))
        if (first := self._texts.seen(said, where)) and first[1] != clip.split:
            message = f"The same speaker says the same in {first[0]}, which is in {first[1]}."
            yield Problem("same_text", clip.id, message, is_error=False)


def _counted(about: Mapping[str, Any], clips: list[CheckedClip]) -> Iterator[Problem]:
    """Where the totals of dataset.json are not those of the shards."""
    found = {
        "splits": Counter(clip.split for clip in clips),
        "speakers": Counter(clip.speaker for clip in clips),
    }
    for name, counts in found.items():
        told = about.get(name)
        for one, wanted in told.items() if isinstance(told, dict) else ():
            number = wanted.get("clips") if isinstance(wanted, dict) else wanted
            if number != counts[one]:
                message = f"{ABOUT} tells of {number} clips, found {counts[one]}."
                yield Problem("count", f"{name[:-1]} {one}", message)


def _listened(folder: Path, about: Mapping[str, Any]) -> Iterator[Problem]:
    """Clips that are kept as sound for the ear, and cannot be heard."""
    for one in about.get("listen") or ():
        try:
            read(folder / str(one["audio"]))
        except (AudioError, KeyError, TypeError) as error:
            yield Problem("unreadable", "listen", str(error))
