"""What became of the recordings: in figures, in a table for people, and one by one.

Knows nothing of how it was decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from faster_higgs.data.amounts import lasting
from faster_higgs.data.choose import REASONS, Verdict
from faster_higgs.data.clean import RATE
from faster_higgs.data.record import SPLITS

if TYPE_CHECKING:
    from faster_higgs.data.encode import Wanted

ROWS = "recordings.jsonl"  # where it stands, one by one
_SHOWN = 10  # speakers in the table


@dataclass(frozen=True)
class Report:
    """A prepared data set in figures."""

    recordings: int
    clips: int
    seconds: float
    left_out: Mapping[str, int]  # by reason
    flags: Mapping[str, int]  # of clips that are kept, by what is unusual
    splits: Mapping[str, Mapping[str, float]]
    speakers: Mapping[str, int]
    languages: Mapping[str, int]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], wanted: Sequence[Wanted]) -> Report:
        """The figures of what was tried and of what is kept."""
        reasons = Counter(one.reason for one in verdicts if one.reason)
        flags = Counter(flag for one in verdicts if one.id for flag in one.flags)
        lengths = {name: [c.samples / RATE for c in wanted if c.split == name] for name in SPLITS}
        return cls(
            recordings=len(verdicts),
            clips=len(wanted),
            seconds=round(sum(sum(each) for each in lengths.values()), 2),
            left_out={reason: reasons[reason] for reason in REASONS if reasons[reason]},
            flags=dict(sorted(flags.items())),
            splits={
                name: {"clips": len(each), "seconds": round(sum(each), 2)}
                for name, each in lengths.items()
                if each
            },
            speakers=dict(sorted(Counter(clip.speaker for clip in wanted).items())),
            languages=dict(sorted(Counter(clip.language for clip in wanted).items())),
        )

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield f"{self.recordings} recordings, {self.clips} clips, {lasting(self.seconds)}."
        for reason, count in self.left_out.items():
            yield f"  {count:>8}  left out: {REASONS[reason]} ({reason})"
        for flag, count in self.flags.items():
            yield f"  {count:>8}  kept, though unusual: {flag}"
        for name, each in self.splits.items():
            yield f"  {each['clips']:>8}  {name}, {lasting(each['seconds'])}"
        largest = sorted(self.speakers.items(), key=lambda one: (-one[1], one[0]))
        for speaker, count in largest[:_SHOWN]:
            yield f"  {count:>8}  of {speaker}"
        if len(largest) > _SHOWN:
            rest = sum(count for _, count in largest[_SHOWN:])
            yield f"  {rest:>8}  of {len(largest) - _SHOWN} more speakers"


def lines_of(verdicts: Sequence[Verdict], wanted: Sequence[Wanted]) -> Iterator[dict[str, Any]]:
    """A row for every recording: where it was, what it measures, what became of it."""
    splits = {clip.id: clip.split for clip in wanted}
    for verdict in verdicts:
        clip = verdict.clip
        yield {
            "origin": clip.origin,
            "id": verdict.id or None,
            "split": splits.get(verdict.id),
            "reason": verdict.reason or None,
            "why": verdict.why or None,
            "flags": list(verdict.flags),
            "speaker": clip.speaker,
            "language": clip.language,
            "text": clip.text,
            "measures": clip.measures and asdict(clip.measures),
        }
