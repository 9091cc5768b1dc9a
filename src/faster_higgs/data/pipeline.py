"""Recordings to a prepared folder, in steps that a run which was broken off goes on from.

    prepare.json      what was asked for
    sound/            every recording that was tried, cleaned (spool.py)
    clips/            the clips that were chosen, coded (cache.py)
    listen/           a few clips for validation, as sound files
    recordings.jsonl  what became of each recording
    report.json       the same in figures
    dataset.json      what clips/ holds; the last thing that is written

Knows no format of recordings, and not who does the work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from faster_higgs.data.cache import (
    ABOUT,
    PARTIAL,
    SHARDS,
    key_of,
    read_about,
    write_about,
    write_file,
)
from faster_higgs.data.choose import Verdict, judged
from faster_higgs.data.clean import CleanSettings
from faster_higgs.data.crews import Crew
from faster_higgs.data.encode import Coder, ShardTask, Wanted, make_shard, planned, shard_key
from faster_higgs.data.handover import export
from faster_higgs.data.place import Place
from faster_higgs.data.plan import PrepareSettings, chosen
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.data.report import ROWS, Report, lines_of
from faster_higgs.data.spool import SOUND, PartTask, Row, flac, make_part, part_key, read_part
from faster_higgs.digest import sha256
from faster_higgs.errors import DataError, SettingError, unwritten
from faster_higgs.locks import LOCK, alone_in

ASKED, LISTEN = "prepare.json", "listen"
PART = 64  # recordings in a file of cleaned ones
HEARD = 8  # clips kept for the ear
Progress = Callable[[str, int, int | None], None]  # stage, done, of how many
Found = Recording | BadRow


@dataclass(frozen=True)
class Desk:
    """Where it is done, by whom, and who is told."""

    out: Path
    cleaners: Crew
    coders: Crew
    tell: Callable[[str], None]
    progress: Progress
    older: Path | None = None  # where it is handed to older trainers as well


def prepare(
    recordings: Iterable[Found], source: str, place: Place, settings: PrepareSettings, desk: Desk
) -> Report:
    """Make all that is not there yet; the figures.

    Without a usable clip there is a report, and no data set.
    Raises SettingError, DataError, CheckpointError, OutputError, EngineError.
    """
    about = Coder(place).about()
    _refuse_others(desk.out)
    with alone_in(desk.out):
        _begin(desk, {"source": source, **about, "settings": settings.to_json()})
        report, clips = _prepare(recordings, about, place, settings, desk)
        if clips and desk.older is not None:
            export(clips, desk.older, source)
    return report


def _prepare(
    recordings: Iterable[Found],
    about: Mapping[str, Any],
    place: Place,
    settings: PrepareSettings,
    desk: Desk,
) -> tuple[Report, list[Wanted]]:
    rows = _clean(recordings, settings.clean, desk)
    verdicts = judged(rows, settings.choose)
    wanted = _chosen(verdicts, settings, desk.out)
    report = Report.of(verdicts, wanted)
    _write_report(desk.out, report, verdicts, wanted)
    if not wanted:
        (desk.out / ABOUT).unlink(missing_ok=True)
    else:
        shards = _code(wanted, about, place, settings.clean, desk)
        most = max(report.languages, key=lambda language: report.languages[language])
        told = {
            "text": {**about["text"], "language": most},
            "settings": settings.to_json(),
            "splits": report.splits,
            "speakers": report.speakers,
            "shards": shards,
            "listen": _keep_for_the_ear(desk.out, wanted),
        }
        write_about(desk.out, {**about, **told})
    return report, wanted


def _refuse_others(out: Path) -> None:
    """Raises SettingError for a folder that holds something else."""
    try:
        found = list(out.iterdir()) if out.is_dir() else []
    except OSError as error:
        raise unwritten(f"'{out}' cannot be used: {error.strerror}.", error) from None
    others = [one for one in found if one.name != LOCK and not one.match(f".*{PARTIAL}")]
    if others and not (out / ASKED).is_file():
        raise SettingError(
            f"'{out}' holds other files; give --out a new folder, or one of `higgs prepare`."
        )


def _begin(desk: Desk, asked: Mapping[str, Any]) -> None:
    """Tell what is asked for otherwise than the last time, and remove what it left unfinished."""
    out = desk.out
    try:
        left = list(out.rglob(f".*{PARTIAL}"))
        for path in left:
            path.unlink(missing_ok=True)
        before = _asked_before(out)
        for name, (old, new) in _differences(before, asked) if before else ():
            desk.tell(f"Changed since the last run: {name} was {old}, is {new}.")
        write_file(out / ASKED, json.dumps(asked, indent=1, ensure_ascii=False).encode())
        for name in (SOUND, SHARDS, LISTEN):
            (out / name).mkdir(exist_ok=True)
    except OSError as error:
        raise unwritten(f"'{out}' cannot be used: {error.strerror}.", error) from None


def _clean(recordings: Iterable[Found], settings: CleanSettings, desk: Desk) -> list[Row]:
    """Every recording cleaned, parts that are there already as they are."""
    parts: list[Path] = []
    done = 0

    def tasks() -> Iterator[PartTask]:
        nonlocal done
        rest = iter(recordings)
        while some := tuple(islice(rest, PART)):
            path = desk.out / SOUND / f"part-{len(parts):05d}.arrow"
            parts.append(path)
            key = part_key(some, settings)
            if key_of(path) != key:
                yield PartTask(path, key, some, settings)
            else:
                done += len(some)

    with closing(desk.cleaners.map(make_part, tasks())) as results:
        for count in results:
            done += count
            desk.progress("Cleaning", done, None)
    if not parts:
        raise DataError("There is not one recording; check the path and the format.")
    _remove_others(desk.out / SOUND, {path.name for path in parts})
    return [row for path in parts for row in read_part(path)]


def _chosen(verdicts: Sequence[Verdict], settings: PrepareSettings, out: Path) -> list[Wanted]:
    """Raises DataError for too few, when it is written what became of each."""
    try:
        return chosen(verdicts, settings)
    except DataError as error:
        _write_report(out, Report.of(verdicts, ()), verdicts, ())
        told = f"{out / ROWS} says what became of every recording."
        raise DataError(f"{error} {told}") from None


def _code(
    wanted: Sequence[Wanted],
    about: Mapping[str, Any],
    place: Place,
    cleaning: CleanSettings,
    desk: Desk,
) -> list[dict[str, Any]]:
    """Every clip coded, shards that are there already as they are; their rows of dataset.json."""
    folder, tasks = desk.out / SHARDS, []
    hop = round(about["codec"]["sample_rate"] / about["codec"]["frame_rate"])
    for number, clips in enumerate(planned(wanted, hop)):
        key = shard_key(clips, about, json.dumps(asdict(cleaning)))
        tasks.append(ShardTask(folder / f"part-{number:05d}.arrow", key, tuple(clips), place))
    known = _digests(desk.out)
    missing = [task for task in tasks if not _is_whole(task, known)]
    if missing:
        for task in missing:  # before the hashes that tell damaged ones are gone
            task.path.unlink(missing_ok=True)
        (desk.out / ABOUT).unlink(missing_ok=True)
    digests, total = dict[Path, str](), sum(len(task.clips) for task in tasks)
    done = total - sum(len(task.clips) for task in missing)
    with closing(desk.coders.map(make_shard, missing)) as results:
        for task, digest in zip(missing, results, strict=True):
            digests[task.path] = digest
            done += len(task.clips)
            desk.progress("Coding", done, total)
    _remove_others(folder, {task.path.name for task in tasks})
    return [
        {
            "name": task.path.name,
            "clips": len(task.clips),
            "sha256": digests.get(task.path) or sha256(task.path),
        }
        for task in tasks
    ]


def _is_whole(task: ShardTask, known: Mapping[str, str]) -> bool:
    """Made of the same, and not damaged since."""
    if key_of(task.path) != task.key:
        return False
    name = task.path.name
    return name not in known or known[name] == sha256(task.path)


def _digests(out: Path) -> dict[str, str]:
    """Of the shards, as the last finished run left them."""
    if not (out / ABOUT).is_file():
        return {}
    try:
        return {shard["name"]: shard["sha256"] for shard in read_about(out)["shards"]}
    except DataError:
        return {}


def _keep_for_the_ear(out: Path, wanted: Sequence[Wanted]) -> list[dict[str, str]]:
    """A few clips for validation, of as many speakers as there are."""
    turns: dict[str, int] = {}
    ranked = []
    for clip in sorted(wanted, key=lambda one: one.id):
        if clip.split == "validation":
            turns[clip.speaker] = turns.get(clip.speaker, 0) + 1
            ranked.append((turns[clip.speaker], clip.id, clip))
    kept = [clip for _, _, clip in sorted(ranked, key=lambda one: one[:2])[:HEARD]]
    for clip in kept:
        write_file(out / LISTEN / f"{clip.id}.flac", flac(Path(clip.part), clip.place))
    _remove_others(out / LISTEN, {f"{clip.id}.flac" for clip in kept})
    return [{"id": clip.id, "audio": f"{LISTEN}/{clip.id}.flac"} for clip in kept]


def _write_report(
    out: Path, report: Report, verdicts: Sequence[Verdict], wanted: Sequence[Wanted]
) -> None:
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines_of(verdicts, wanted))
    write_file(out / ROWS, rows.encode())
    told = json.dumps(report.to_json(), indent=1, ensure_ascii=False)
    write_file(out / "report.json", told.encode())


def _asked_before(out: Path) -> dict[str, Any]:
    try:
        found = json.loads((out / ASKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in sorted({*old, *new}):
        one, other, path = old.get(name), new.get(name), f"{above}{name}"
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{path}.")
        elif one != other:
            yield path, (one, other)


def _remove_others(folder: Path, names: set[str]) -> None:
    """Files of ours that an earlier run needed."""
    for path in folder.iterdir():
        if path.name not in names and path.suffix in (".arrow", ".flac"):
            path.unlink()
