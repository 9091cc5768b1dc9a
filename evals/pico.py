"""How good is pico? Speaks sentences, listens to them with a recogniser, and compares with the voices it learned from.

    python evals/pico.py --sentences evals/sentences_en.txt --json evals/results/pico.json

evals/README.md tells what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

from evals import machine
from evals.hearing import Ears, plain
from evals.journal import Journal
from evals.summary import judge, measure, table
from faster_higgs.checkpoint.files import PACKAGED, resolve
from faster_higgs.errors import HiggsError, MissingExtra, OutputError, SettingError, TextError
from faster_higgs.sampling import Sampling
from faster_higgs.text.normalize import speakable

if TYPE_CHECKING:
    from evals.takes import Task
    from faster_higgs.speech import Higgs

SKIPPABLE = ("model", "teacher", "codec", "similarity", "cold-start")
GROUP = 8  # sentences made before they are heard, and between two lines of progress
PACKAGES = {"pocketsphinx": "pocketsphinx", "jiwer": "jiwer", "resemblyzer": "resemblyzer", "pkg_resources": "setuptools<81"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the evaluation is through, whatever its verdict."""
    try:
        args = parse(arguments)
        check_tools(args.skip)
        result = evaluate(args)
        write(args.json, result)
    except HiggsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    print(*table(result), f"\n{args.json}", sep="\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags. Raises SettingError when they contradict each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=Path, required=True, help="a text file, one sentence a line")
    parser.add_argument("--json", type=Path, required=True, help="where the result is written")
    parser.add_argument("--voices", help="names with commas between; default: all that are shipped, in rotation")
    parser.add_argument("--limit", type=int, help="only the first N sentences")
    parser.add_argument("--seed", type=int, default=0, help="of the first sentence; the next has the next number")
    parser.add_argument("--workers", type=int, default=2, help="processes that listen; 0 listens in this one")
    parser.add_argument("--model", help="a checkpoint folder; default: the pico inside the package")
    parser.add_argument("--skip", default="", help=f"leave parts out, with commas between: {', '.join(SKIPPABLE)}")
    args = parser.parse_args(arguments)
    args.skip = {part.strip() for part in args.skip.split(",") if part.strip()}
    if unknown := args.skip.difference(SKIPPABLE):
        raise SettingError(f"--skip does not know {', '.join(sorted(unknown))}; use {', '.join(SKIPPABLE)}.")
    if "teacher" in args.skip and not args.skip >= {"codec", "similarity"}:
        raise SettingError("codec and similarity are measured with the teacher; use --skip teacher,codec,similarity.")
    if args.skip >= {"model", "teacher"}:
        raise SettingError("Without model and teacher there is nothing to listen to; skip one of them.")
    if args.workers < 0 or (args.limit is not None and args.limit < 1):
        raise SettingError("--workers is 0 or more, --limit 1 or more.")
    return args


def check_tools(skip: set[str]) -> None:
    """Everything the run needs is there before it begins. Raises MissingExtra with one line for each that is not."""
    missing = []
    if "teacher" not in skip and shutil.which("flite") is None:
        missing.append("flite is not installed: `apt-get install flite`, or --skip teacher,codec,similarity.")
    wanted = {"pocketsphinx", "jiwer"} if "similarity" in skip else set(PACKAGES)
    missing += [
        f"{package} is not installed: `pip install 'faster-higgs[eval]'`."
        for module, package in PACKAGES.items()
        if module in wanted and importlib.util.find_spec(module) is None
    ]
    if missing:
        raise MissingExtra("\n".join(missing))


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Speak, listen, compare; goes on where an interrupted run of the same kind stopped."""
    texts = read_sentences(args.sentences, args.limit)
    folder = None if "model" in args.skip else resolve(args.model) if args.model else PACKAGED
    facts: dict[str, Any] = {}
    if folder and "cold-start" not in args.skip:
        say("three cold starts")
        facts["cold_start_s"] = machine.cold_start(folder)
    with ExitStack() as stack:
        higgs = stack.enter_context(load(folder)) if folder else None
        shipped, voices = cast(higgs, args)
        tasks = plan(texts, voices, args.seed)
        run = {
            "sentences": hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16],
            "voices": voices,
            "seed": args.seed,
            "skip": sorted(args.skip - {"cold-start"}),
            "model": machine.fingerprint(folder) if folder else None,
        }
        journal = Journal(args.json.with_name(args.json.name + ".partial.jsonl"), run)
        go_through(tasks, higgs, shipped, args, journal)
        facts |= run | about(args, folder)
        result = figures(journal, facts)
    write(args.json, result)
    journal.close()
    return result


def load(folder: Path) -> Higgs:
    """The model, as a user loads it."""
    from faster_higgs.speech import Higgs

    say("loading the model")
    return Higgs.load(folder)


def cast(higgs: Higgs | None, args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The voices that are shipped, and those that speak. Raises VoiceNotFound, SettingError."""
    from recipes.pico.voices import TEACHERS

    shipped = [voice.name for voice in higgs.voices.list()] if higgs else list(TEACHERS)
    voices = [name.strip() for name in args.voices.split(",")] if args.voices else shipped
    if "teacher" not in args.skip:
        if strangers := [name for name in voices if name not in TEACHERS]:
            raise SettingError(f"There is no teacher for {', '.join(strangers)}; use --voices with {', '.join(TEACHERS)}.")
        shipped = [name for name in shipped if name in TEACHERS]
    for name in voices:
        if higgs:
            higgs.voices.find(name)
    return shipped, voices


def plan(texts: Sequence[str], voices: Sequence[str], seed: int) -> list[Task]:
    """Sentences and voices, in rotation."""
    from evals.takes import Task

    return [Task(text, speakable(text), voices[i % len(voices)], seed + i) for i, text in enumerate(texts)]


def go_through(
    tasks: Sequence[Task], higgs: Higgs | None, shipped: Sequence[str], args: argparse.Namespace, journal: Journal
) -> None:
    """What the journal does not hold yet, a group at a time."""
    from evals.takes import Judges, likeness, rows, teacher, warm_up

    todo = tasks[len(journal.rows) :]
    if not todo:
        return
    alike = None
    if "similarity" not in args.skip:
        say("the voices' own clips")
        alike = likeness(shipped, {task.text for task in tasks})
    if higgs:
        warm_up(higgs, sorted({task.voice for task in todo}))
    with Ears(args.workers) as ears:
        judges = Judges(ears, None if "teacher" in args.skip else teacher, alike, "codec" not in args.skip)
        for begin in range(0, len(todo), GROUP):
            journal.add(rows(todo[begin : begin + GROUP], higgs, judges))
            say(progress(journal, len(tasks)))


def progress(journal: Journal, total: int) -> str:
    """How far it is, and the errors so far."""
    now = measure(journal.rows)
    wanted = {"wer": "WER", "teacher_wer": "teacher", "codec_wer": "codec", "rtf": "RTF"}
    return f"{len(journal.rows)}/{total}  " + "  ".join(f"{word} {now[key]}" for key, word in wanted.items() if key in now)


def figures(journal: Journal, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole result."""
    found = measure(journal.rows) | facts
    by_voice = {voice: [row for row in journal.rows if row.voice == voice] for voice in facts["voices"]}
    return {
        **found,
        "gates": judge(found),
        "voices": {voice: measure(rows) for voice, rows in by_voice.items() if rows},
        "takes": [asdict(row) for row in journal.rows],
    }


def about(args: argparse.Namespace, folder: Path | None) -> dict[str, Any]:
    """What the figures were made with."""
    import torch

    return {
        "sampling": asdict(Sampling(seed=args.seed)),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.machine() | {"threads": torch.get_num_threads()},
        "versions": machine.versions(),
        "model_bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder else None,
        "sentences_file": args.sentences.name,
    }


def read_sentences(path: Path, limit: int | None) -> list[str]:
    """One a line, empty lines left out. Raises TextError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise TextError(f"{path} cannot be read; give a text file with one sentence a line.") from None
    texts = [line for line in lines if line][:limit]
    if not texts:
        raise TextError(f"{path} holds no sentence.")
    for text in texts:
        if not plain(speakable(text)):
            raise TextError(f"'{text}' holds no word that a recogniser can hear; take it out.")
    return texts


def write(path: Path, result: dict[str, Any]) -> None:
    """Whole or not at all. Raises OutputError."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None


def say(line: str) -> None:
    """Progress, kept apart from the result."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
