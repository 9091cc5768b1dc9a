"""Is this corpus fit to be trained on? Every clip is decoded, measured and compared with others.

Changes nothing, and does not know how findings are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from faster_higgs.audio.files import read
from faster_higgs.data.check_prepared import check_prepared
from faster_higgs.data.checked import CheckedClip, CheckReport, Problem, Repeats
from faster_higgs.data.in_order import in_order
from faster_higgs.data.measure import Limits, Measures, measure, sound_hash, unusual
from faster_higgs.data.readers import format_of, recordings
from faster_higgs.data.readers.detect import PREPARED
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import BadRow, Recording, writable
from faster_higgs.errors import AudioError, SettingError

RATE = 24_000
_KINDS = {"row": "row", "file": "missing", "text": "no_text"}  # of faulty rows, as checks

Progress = Callable[[int], None]  # told how many rows are done


@dataclass(frozen=True)
class _Heard:
    """What one recording sounds like, or why it cannot be heard."""

    measures: Measures | None
    sound: str
    faults: tuple[str, ...]


def check(
    path: Path,
    settings: ReadSettings = ReadSettings(),
    limit: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> CheckReport:
    """Check a corpus of any format, or prepared data; the first `limit` rows or clips of it.

    Raises DataError, SettingError for a place that holds neither.
    """
    path = Path(path).expanduser()
    found = format_of(path, settings)
    if found == PREPARED:
        if settings != ReadSettings():
            raise SettingError(f"{path} is prepared; flags about reading belong to a corpus.")
        return check_prepared(path, limit, workers, progress)
    items = islice(recordings(path, settings), limit)
    report = _Report(Limits())
    for number, (item, heard) in enumerate(in_order(_hear, items, workers), 1):
        report.add(item, heard)
        if progress:
            progress(number)
    return CheckReport(str(path), found, tuple(report.clips), tuple(report.problems), report.marked)


def _hear(recording: Recording | BadRow) -> _Heard | None:
    if isinstance(recording, BadRow):
        return None
    faults = []
    for reference in recording.references:
        try:
            read(reference.audio, rate=RATE)
        except AudioError as error:
            faults.append(f"Its reference: {error}")
    try:
        samples = read(recording.audio, rate=RATE)
    except AudioError as error:
        return _Heard(None, "", (str(error), *faults))
    measures = measure(samples, RATE, recording.text)
    return _Heard(measures, sound_hash(samples), tuple(faults))


class _Report:
    """Gathers what is found, clip by clip."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ids, self._sounds, self._texts = Repeats(), Repeats(), Repeats()
        self.clips: list[CheckedClip] = []
        self.problems: list[Problem] = []
        self.marked = 0

    def add(self, item: Recording | BadRow, heard: _Heard | None) -> None:
        """Judge one more."""
        if isinstance(item, BadRow):
            if item.kind == "marked":
                self.marked += 1
            else:
                check = _KINDS.get(item.kind, item.kind)
                self._tell(check, item.origin, item.reason, is_error=not item.no_fault)
            return
        assert heard is not None
        for fault in heard.faults:
            self._tell("unreadable", item.origin, fault)
        self._compare(item, heard)
        if heard.measures and not heard.faults:
            clip = CheckedClip(
                item.origin, item.speaker, heard.measures.seconds, measures=heard.measures
            )
            self.clips.append(clip)
            for finding in unusual(heard.measures, self._limits):
                self._tell(finding.check, item.origin, finding.message, is_error=False)

    def _compare(self, item: Recording, heard: _Heard) -> None:
        """Find what was there before: ids are wrong, equal sounds and texts only unusual."""
        id = item.columns.get("id")
        if id and (first := self._ids.seen(id, item.origin)):
            self._tell("same_id", item.origin, f"It has the id '{id}', as has {first}.")
        if heard.sound and (first := self._sounds.seen(heard.sound, item.origin)):
            message = f"It sounds exactly as {first}."
            self._tell("same_sound", item.origin, message, is_error=False)
        said = (item.speaker, " ".join(item.text.casefold().split()))
        if first := self._texts.seen(said, item.origin):
            message = f"The same speaker says the same in {first}."
            self._tell("same_text", item.origin, message, is_error=False)

    def _tell(self, check: str, origin: str, message: str, is_error: bool = True) -> None:
        self.problems.append(Problem(check, origin, writable(message), is_error))
