"""How good is pico? Speaks sentences, has a recogniser listen, compares with its teachers.

    python evals/pico.py --sentences evals/sentences_en.txt --json evals/results/pico.json

evals/README.md tells what is measured and how to read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from evals import machine
from evals.hearing import Ears, plain
from evals.journal import Journal
from evals.settings import RunSettings, check_tools, read_flags
from evals.summary import judge, measure, share_of_turns, table
from faster_higgs.errors import HiggsError, OutputError, SettingError, TextError
from faster_higgs.sampling import Sampling
from faster_higgs.text.normalize import speakable

if TYPE_CHECKING:
    from evals.likeness import Likeness
    from evals.summary import Turn
    from evals.takes import Task
    from faster_higgs.speech import Higgs

GROUP = 8  # sentences made before they are heard, and between two lines of progress
SHARE = 40  # of the sentences, the first, also spoken by clones and in dialogues


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the evaluation is through, whatever its verdict."""
    try:
        settings = read_flags(__doc__ or "", arguments)
        check_tools(settings.skip)
        result = evaluate(settings)
    except HiggsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    print(*table(result), f"\n{settings.json}", sep="\n")
    return 0


def evaluate(settings: RunSettings) -> dict[str, Any]:
    """Speak, listen, compare, write; goes on where an interrupted run of the same kind stopped."""
    texts = read_sentences(settings.sentences, settings.limit)
    folder = settings.folder
    facts: dict[str, Any] = {}
    if folder and "cold-start" not in settings.skip:
        say("three cold starts")
        facts["cold_start_s"] = machine.cold_start(folder)
    with ExitStack() as stack:
        higgs = stack.enter_context(load(folder)) if folder else None
        shipped, voices = cast(higgs, settings)
        facts |= run_of(settings, texts, voices)
        journal = Journal(partial(settings.json), run_of(settings, texts, voices))
        alike = known_by(shipped, texts, settings)
        go_through(plan(texts, voices, settings), higgs, alike, settings, journal)
        if higgs and alike and "dialogue" not in settings.skip:
            facts |= talk(texts[:SHARE], voices, higgs, alike, settings.seed)
    result = figures(journal, facts | about(settings))
    write(settings.json, result)
    journal.close()
    return result


def load(folder: Path) -> Higgs:
    """The model, as a user loads it."""
    from faster_higgs.speech import Higgs

    say("loading the model")
    return Higgs.load(folder)


def cast(higgs: Higgs | None, settings: RunSettings) -> tuple[list[str], list[str]]:
    """The voices that are shipped, and those that speak. Raises VoiceNotFound, SettingError."""
    from recipes.pico.voices import TEACHERS

    shipped = [voice.name for voice in higgs.voices.list()] if higgs else list(TEACHERS)
    if "teacher" not in settings.skip:
        shipped = [name for name in shipped if name in TEACHERS]
    voices = list(settings.voices) or shipped
    if higgs:
        for name in voices:
            higgs.voices.load(name)
    if "teacher" not in settings.skip and (others := sorted(set(voices) - set(TEACHERS))):
        known = ", ".join(TEACHERS)
        raise SettingError(f"No teacher for {', '.join(others)}; use --voices with {known}.")
    if not voices:
        raise SettingError("The model has no voice that can be compared; name some with --voices.")
    return shipped, voices


def plan(texts: Sequence[str], voices: Sequence[str], settings: RunSettings) -> list[Task]:
    """Sentences and voices, in rotation."""
    from evals.takes import Task

    cloned = 0 if "clone" in settings.skip else SHARE
    turns = (voices[i % len(voices)] for i in range(len(texts)))
    return [
        Task(text, speakable(text), voice, settings.seed + i, cloned=i < cloned)
        for i, (text, voice) in enumerate(zip(texts, turns, strict=True))
    ]


def known_by(
    shipped: Sequence[str], texts: Sequence[str], settings: RunSettings
) -> Likeness | None:
    """What voices are told apart by, from clips of their teachers; none where that is left out."""
    from evals.takes import likeness

    if "similarity" in settings.skip:
        return None
    say("the teachers' clips, to know the voices by")
    return likeness(shipped, set(texts))


def go_through(
    tasks: Sequence[Task],
    higgs: Higgs | None,
    alike: Likeness | None,
    settings: RunSettings,
    journal: Journal,
) -> None:
    """What the journal does not hold yet, a group at a time."""
    from evals.takes import Judges, clones, rows, teacher, warm_up

    todo = tasks[len(journal.rows) :]
    if not todo:
        return
    copies = {}
    if higgs:
        warm_up(higgs, sorted({task.voice for task in todo}))
        copies = clones(higgs, sorted({task.voice for task in todo if task.cloned}))
    teach = None if "teacher" in settings.skip else teacher
    with Ears(settings.workers) as ears:
        judges = Judges(ears, teach, alike, "codec" not in settings.skip, copies)
        for begin in range(0, len(todo), GROUP):
            journal.add(rows(todo[begin : begin + GROUP], higgs, judges))
            say(progress(journal, len(tasks)))


def talk(
    texts: Sequence[str], voices: Sequence[str], higgs: Higgs, alike: Likeness, seed: int
) -> dict[str, Any]:
    """What two voices in one script reach; nothing where one voice speaks alone."""
    from evals.dialogue import dialogues, turns

    found: list[Turn] = []
    for dialogue in dialogues(texts, voices, seed):
        found += turns(dialogue, higgs, alike)
        say(f"{len(found)} turns of dialogues")
    return share_of_turns(found) if found else {}


def progress(journal: Journal, total: int) -> str:
    """How far it is, and the errors so far."""
    now = measure(journal.rows)
    words = {
        "wer": "WER",
        "teacher_wer": "teacher",
        "codec_wer": "codec",
        "clone_wer": "clone",
        "rtf": "RTF",
    }
    so_far = (f"  {word} {now[key]}" for key, word in words.items() if key in now)
    return f"{len(journal.rows)}/{total}" + "".join(so_far)


def figures(journal: Journal, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole result."""
    found = measure(journal.rows) | facts
    voices = {row.voice: [r for r in journal.rows if r.voice == row.voice] for row in journal.rows}
    return {
        **found,
        "gates": judge(found),
        "by_voice": {voice: measure(rows) for voice, rows in sorted(voices.items())},
        "takes": [asdict(row) for row in journal.rows],
    }


def run_of(settings: RunSettings, texts: Sequence[str], voices: Sequence[str]) -> dict[str, Any]:
    """What makes two runs the same."""
    return {
        "sentences_hash": hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16],
        "voices": list(voices),
        "seed": settings.seed,
        "skip": sorted(settings.skip - {"cold-start"}),
        "model_hash": machine.fingerprint(settings.folder) if settings.folder else None,
    }


def about(settings: RunSettings) -> dict[str, Any]:
    """What the figures were made with."""
    import torch

    return {
        "sampling": asdict(Sampling(seed=settings.seed)),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "threads": torch.get_num_threads(),  # that compute a take; `rtf` holds for so many
        "machine": machine.machine(),
        "versions": machine.versions(),
        "sentences_file": settings.sentences.name,
    }


def read_sentences(path: Path, limit: int | None) -> list[str]:
    """One a line, empty lines left out. Raises TextError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise TextError(f"{path} cannot be read; give a text with one sentence a line.") from None
    texts = [line for line in lines if line][:limit]
    if not texts:
        raise TextError(f"{path} holds no sentence.")
    for text in texts:
        if not plain(speakable(text)):
            raise TextError(f"'{text}' holds no English word that can be heard; take it out.")
    return texts


def partial(path: Path) -> Path:
    """Where a run is kept until it is through."""
    return path.with_name(f"{path.name}.partial.jsonl")


def write(path: Path, result: dict[str, Any]) -> None:
    """Whole or not at all. Raises OutputError."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None


def say(line: str) -> None:
    """Progress, kept apart from the result."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
