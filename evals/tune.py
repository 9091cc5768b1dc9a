"""A voice that pico has never heard: prepare, train, merge, speak, judge.

    python evals/tune.py --work DIR --json evals/results/tune.json

Each step is the command a user gives; a step whose result is there is not done again. Then held-out
sentences are spoken by pico with a clip of the new voice as reference, by the adapter, by the
merged model and by the fully trained one, and the voices pico had are spoken by all of them, too.
evals/README.md tells how to read the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from evals import machine, tune_corpus
from evals.hearing import Ears
from evals.journal import Journal
from evals.settings import check_tools
from evals.summary import measure
from evals.takes import Judges, Task, rows
from evals.tune_corpus import NEW, VOICES
from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.errors import EngineError, HiggsError
from faster_higgs.text.normalize import speakable
from recipes.pico.voices import RATE, TEACHERS, speak

GROUP = 8
PICO = (  # as pico itself was trained
    *("--set", "training.checkpointing=false", "--set", "training.code_noise=0.04"),
    *("--set", "mixture.zero_shot_voice_cloning=0.9"),
    *("--set", "mixture.single_speaker_smart_voice=0.1"),
    *("--set", "training.loss.codebook_weights=[4.0,2.0,1.5,1.2,1.0,0.8,0.7,0.6]"),
)
WERS = 5.0  # points of word errors above the corpus's own that the new voice may have
LOSS = 2.0  # points of word errors that the old voices may lose


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the story is told, whatever its verdict."""
    args = read_flags(arguments)
    try:
        check_tools(frozenset())
        result = tell(args)
    except HiggsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(*table(result), f"\n{args.json}", sep="\n")
    if args.plot:
        draw({"adapter": args.work / "lora", "all weights": args.work / "full"}, args.plot)
    return 0


def read_flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = parser.add_argument
    flag("--work", type=Path, required=True, help="where recordings, data and models are kept")
    flag("--json", type=Path, required=True, help="where the result is written")
    flag("--sentences", type=Path, default=machine.ROOT / "evals" / "sentences_en.txt")
    flag("--limit", type=int, default=80, help="sentences to be judged")
    flag("--steps", type=int, default=260, help="of training, for the adapter")
    flag("--full-steps", type=int, default=200, help="of training, for all weights")
    flag("--plot", type=Path, help="where the curves of both trainings are drawn")
    return parser.parse_args(arguments)


def tell(args: argparse.Namespace) -> dict[str, Any]:
    """The whole story."""
    texts = args.sentences.read_text(encoding="utf-8").splitlines()
    said, rehearsed = tune_corpus.texts(texts)
    for done in tune_corpus.record(args.work / "recordings" / NEW, said):
        if done % 50 == 0:
            say(f"{done} recordings")
    (args.work / "rehearsed.txt").write_text("\n".join(rehearsed) + "\n", encoding="utf-8")
    commands = steps(args)
    for name, command in commands.items():
        done = args.work / f"{name.replace(' ', '-')}.done"
        say(f"{name}: " + ("done before" if done.exists() else f"higgs {' '.join(command)}"))
        if not done.exists():
            run(name, command)
            done.touch()
    speak_for_itself(args.work)
    systems: dict[str, Any] = {}
    for system, model, adapter in spoken_by(args.work):
        systems[system] = judged(system, model, adapter, texts[: args.limit], args.work)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "sentences": args.limit,
        "commands": [told(command, args.work) for command in commands.values()],
        "systems": systems,
        "gates": gates(systems),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "commit": machine.commit(),
    }


def steps(args: argparse.Namespace) -> dict[str, list[str]]:
    """The commands by what they do, in order."""
    work = args.work
    by = ["--model", str(PACKAGED)]
    heard = [*by, "--data", str(work / "data"), "--set", f"replay_data=[{work / 'known'}]"]
    learn = ["train", *"--seed 0 --accumulate 1 --eval-every 40".split(), *heard, *PICO]
    small = ["--steps", str(args.steps), *"--preset voice --rank 64 --lr 6e-4".split()]
    small += ["--set", "adapter.whole=[embed_audio,audio_head]"]
    small += ["--set", "mixture.replay=0.6", "--out", str(work / "lora")]
    full = ["--steps", str(args.full_steps), *"--preset full --lr 4e-4".split()]
    full += ["--set", "mixture.replay=0.55", "--out", str(work / "full")]
    adapter = ["--base", str(PACKAGED), "--adapter", str(work / "lora" / "best")]
    said = str(work / "rehearsed.txt")
    return {
        "prepare": ["prepare", str(work / "recordings"), *by, "--out", str(work / "data")],
        "rehearse": ["data", "rehearse", said, *by, "--out", str(work / "known")],
        "train an adapter": [*learn, *small],
        "train all weights": [*learn, *full],
        "merge": ["merge", *adapter, "--out", str(work / "merged")],
    }


def run(name: str, command: Sequence[str]) -> None:
    """A command of ours in a process of its own. Raises EngineError."""
    done = subprocess.run([sys.executable, "-m", "faster_higgs", *command])
    if done.returncode:
        raise EngineError(f"The step '{name}' ended with {done.returncode}; its words stand above.")


def told(command: Sequence[str], work: Path) -> str:
    """A command without the places of this machine."""
    line = f"higgs {' '.join(command)}"
    return line.replace(str(work), "WORK").replace(str(PACKAGED), "PICO")


def speak_for_itself(work: Path) -> None:
    """The longest recording becomes a voice by name."""
    voices = work / "voices"
    if (voices / f"{NEW}.txt").is_file():
        return
    clip = max((work / "recordings" / NEW).glob("*.wav"), key=lambda path: path.stat().st_size)
    command = ["voices", "add", NEW, str(clip), "--voices-dir", str(voices)]
    run("a voice", [*command, "--model", str(PACKAGED)])


def spoken_by(work: Path) -> list[tuple[str, Path, list[Path]]]:
    """Name, model and adapters of what is judged."""
    return [
        ("pico, one clip as reference", PACKAGED, []),
        ("adapter", PACKAGED, [work / "lora" / "best"]),
        ("merged", work / "merged", []),
        ("all weights", work / "full" / "best", []),
    ]


def judged(
    system: str, model: Path, adapters: list[Path], texts: Sequence[str], work: Path
) -> dict[str, Any]:
    """The new voice says all sentences, the old ones take turns."""
    from evals.likeness import OTHER_SENTENCES, Likeness
    from faster_higgs.speech import Higgs

    old = sorted(TEACHERS)
    tasks = [Task(t, speakable(t), NEW, i) for i, t in enumerate(texts)]
    tasks += [Task(t, speakable(t), old[i % len(old)], i) for i, t in enumerate(texts)]
    run_of = {"system": system, "model": machine.fingerprint(model), "sentences": list(texts)}
    journal = Journal(work / f"{system.split(',')[0].replace(' ', '-')}.takes.jsonl", run_of)
    todo = tasks[len(journal.rows) :]
    if todo:
        known = {name: [teach(t, name) for t in OTHER_SENTENCES] for name in VOICES}
        alike = Likeness(known, RATE)
        with (
            Higgs.load(model, adapters=adapters, voices=[work / "voices"]) as higgs,
            Ears(2) as ears,
        ):
            judges = Judges(ears, teach, alike)
            for begin in range(0, len(todo), GROUP):
                journal.add(rows(todo[begin : begin + GROUP], higgs, judges))
                say(f"{system}: {len(journal.rows)} of {len(tasks)}")
    heard = [row.clips["take"].likeness for row in journal.rows if row.voice == NEW]
    return {
        "alike": {name: mean([one[name] for one in heard if one]) for name in VOICES},
        "new": measure([row for row in journal.rows if row.voice == NEW]),
        "old": measure([row for row in journal.rows if row.voice != NEW]),
    }


def teach(text: str, voice: str) -> Any:
    """The synthesiser of a voice: samples [S]."""
    return speak(text, VOICES[voice]).samples


def gates(systems: dict[str, Any]) -> list[dict[str, Any]]:
    """What the story has to reach, and whether it did."""
    before = systems["pico, one clip as reference"]
    found = []
    for name in ("adapter", "all weights"):
        new, old = systems[name]["new"], systems[name]["old"]
        found += [
            gate(f"{name}: likeness to the new voice", *likeness(systems[name]["alike"]), True),
            gate(f"{name}: word errors", new["wer"], new["teacher_wer"] + WERS),
            gate(f"{name}: word errors, beside its recordings by the codec", new["wer"],
                 new["codec_wer"] + WERS),
            gate(f"{name}: word errors of the old voices", old["wer"], before["old"]["wer"] + LOSS),
        ]  # fmt: skip
    return found


def likeness(alike: dict[str, float]) -> tuple[float, float]:
    """To the new voice, and to that of pico's own that the takes are most like."""
    return round(alike[NEW], 4), round(max(alike[name] for name in TEACHERS), 4)


def gate(name: str, value: float, must: float, least: bool = False) -> dict[str, Any]:
    """A figure and its limit."""
    passed = value >= must if least else value <= must
    return {"name": name, "value": value, "must": round(must, 4), "passed": passed}


def table(result: dict[str, Any]) -> list[str]:
    """For people."""
    head = ("", "WER new", "recordings", "by codec", "like it", "similarity", "WER old")
    lines = [head]
    for name, found in result["systems"].items():
        new, old = found["new"], found["old"]
        figures = [new["wer"], new["teacher_wer"], new["codec_wer"], new["voice_accuracy"]]
        lines.append((name, *map(str, [*figures, new["similarity_within"], old["wer"]])))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    verdicts = {True: "pass", False: "FAIL"}
    return [
        *told,
        "",
        *(f"{g['name']}: {g['value']} (must {g['must']}): {verdicts[g['passed']]}"
          for g in result["gates"]),
    ]  # fmt: skip


def draw(runs: dict[str, Path], picture: Path) -> None:
    """The loss of both trainings, on what is learnt and on what is held out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    plots = figure.subplots(1, 2, sharex=True)
    for name, folder in runs.items():
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        for plot, key in zip(plots, ("loss_audio", "eval_loss_audio"), strict=True):
            found = [(one["step"], one[key]) for one in map(json.loads, lines) if key in one]
            plot.plot(*zip(*found, strict=True), marker=".", label=name)
    for plot, title in zip(plots, ("learnt", "held out"), strict=True):
        plot.set(title=f"cross entropy of codes, {title}", xlabel="step", ylabel="nats")
        plot.legend()
    figure.savefig(picture, dpi=110)


def say(line: str) -> None:
    """Progress, for people."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
