"""What a check of training data says. Knows neither corpora nor prepared folders."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

from faster_higgs.data.measure import Measures


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a clip, or with the data as a whole."""

    check: str  # a stable name
    origin: str  # where, for people
    message: str  # one sentence
    is_error: bool = True  # else it is only unusual


@dataclass(frozen=True)
class CheckedClip:
    """One clip that could be used."""

    origin: str
    speaker: str
    seconds: float
    split: str = ""  # of prepared data
    measures: Measures | None = None  # of clips with sound


@dataclass(frozen=True)
class CheckReport:
    """What was found in a place."""

    path: str
    format: str
    clips: tuple[CheckedClip, ...]
    problems: tuple[Problem, ...]
    marked: int = 0  # rows that the corpus itself leaves out

    @property
    def passed(self) -> bool:
        """Whether nothing is invalid; what is only unusual may pass."""
        return not any(problem.is_error for problem in self.problems)

    @property
    def seconds(self) -> float:
        """Of all clips together."""
        return sum(clip.seconds for clip in self.clips)

    @property
    def unmeasured(self) -> int:
        """Clips whose sound is not there, only their codes."""
        return sum(clip.measures is None for clip in self.clips)

    def counts(self, errors: bool) -> dict[str, list[Problem]]:
        """Problems by their names, errors or the others, the most frequent first."""
        found: dict[str, list[Problem]] = {}
        for problem in self.problems:
            if problem.is_error == errors:
                found.setdefault(problem.check, []).append(problem)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    def speakers(self) -> dict[str, dict[str, float]]:
        """Clips and seconds of each, the one with most clips first."""
        clips = Counter(clip.speaker for clip in self.clips)
        seconds: Counter[str] = Counter()
        for clip in self.clips:
            seconds[clip.speaker] += clip.seconds  # type: ignore[assignment]
        order = sorted(clips, key=lambda name: (-clips[name], name))
        return {name: {"clips": clips[name], "seconds": round(seconds[name], 3)} for name in order}

    def splits(self) -> dict[str, int]:
        """Clips of each; empty for a corpus."""
        return dict(Counter(clip.split for clip in self.clips if clip.split))

    def figures(self) -> dict[str, tuple[float, float, float]]:
        """The least, median and largest of every measure; nothing where there are no clips."""
        measured = [clip.measures for clip in self.clips if clip.measures]
        columns = {
            field.name: [getattr(one, field.name) for one in measured] for field in fields(Measures)
        }
        columns["seconds"] = [clip.seconds for clip in self.clips]
        return {name: _spread(values) for name, values in columns.items() if values}

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        spreads = {
            name: dict(zip(("least", "median", "most"), map(_short, values), strict=True))
            for name, values in self.figures().items()
        }
        return {
            "path": self.path,
            "format": self.format,
            "passed": self.passed,
            "clips": len(self.clips),
            "seconds": round(self.seconds, 3),
            "marked_as_not_valid": self.marked,
            "not_measured": self.unmeasured,
            "speakers": self.speakers(),
            "splits": self.splits(),
            "figures": spreads,
            "errors": {name: len(found) for name, found in self.counts(True).items()},
            "warnings": {name: len(found) for name, found in self.counts(False).items()},
            "problems": [asdict(problem) for problem in self.problems],
        }


class Repeats:
    """Remembers values of one kind, and where each was first seen."""

    def __init__(self) -> None:
        self._first: dict[Any, Any] = {}

    def seen(self, value: Any, where: Any) -> Any | None:
        """Where the value was seen before; None the first time."""
        if value in self._first:
            return self._first[value]
        self._first[value] = where
        return None


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _short(value: float) -> float:
    return round(value, 4)
