"""From rows to figures, verdicts and a table. Knows nothing of how rows are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from evals.hearing import plain, score

PREFIXES = {"take": "", "teacher": "teacher_", "codec": "codec_", "clone": "clone_"}
LONGEST_TAIL = 1.0  # seconds of silence at the end that still count as stopping

Figures = dict[str, Any]


@dataclass(frozen=True)
class Clip:
    """What was heard in one sound, and how alike it is to each voice."""

    seconds: float
    heard: str
    likeness: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One turn of a dialogue: what was said by whom, and how alike it is to each voice."""

    text: str
    voice: str
    likeness: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One sentence: as it was asked for, how its take ended, and its clips by kind."""

    text: str
    spoken: str
    voice: str
    seed: int
    clips: dict[str, Clip]
    finish: str | None = None
    compute: float = 0.0  # seconds the take took to make
    tail: float = 0.0  # seconds of silence at its end

    @classmethod
    def from_json(cls, found: Figures) -> Row:
        """As written by dataclasses.asdict."""
        clips = {kind: Clip(**clip) for kind, clip in found["clips"].items()}
        return cls(**{**found, "clips": clips})

    @property
    def stopped(self) -> bool:
        """Whether the take ended by itself and in time."""
        return self.finish == "stop" and self.tail <= LONGEST_TAIL


@dataclass(frozen=True)
class Gate:
    """What a figure has to reach. `beside` is a figure that both limits are added to."""

    name: str
    key: str
    must: float
    aim: float
    unit: str = "%"
    beside: str | None = None
    at_least: bool = False


GATES = (
    Gate("word errors", "wer", 15, 3, beside="teacher_wer"),
    Gate("stop failures", "stop_failures", 2, 0),
    Gate("the voice that was asked for", "voice_accuracy", 95, 100, at_least=True),
    Gate("word errors, codec alone", "codec_wer", 5, 1, beside="teacher_wer"),
    Gate("cold start", "cold_start_s", 6, 3, unit="s"),
)


VERDICTS = {"aim": "pass, aim reached", "must": "pass", "missed": "FAIL"}


def measure(rows: Sequence[Row]) -> Figures:
    """All figures of some rows, errors and shares in percent."""
    figures: Figures = {"sentences": len(rows)}
    for kind, prefix in PREFIXES.items():
        having = [row for row in rows if kind in row.clips]
        if having:
            figures |= {prefix + key: value for key, value in _clips(having, kind).items()}
    made = [row for row in rows if row.finish is not None]
    return figures | _takes(made) if made else figures


def _clips(rows: Sequence[Row], kind: str) -> Figures:
    said = [plain(row.spoken) for row in rows]
    found = score(said, [plain(row.clips[kind].heard) for row in rows])
    figures: Figures = {"wer": found.wer, "cer": found.cer, "wer_95": [found.low, found.high]}
    if not any(row.clips[kind].likeness for row in rows):
        return figures
    own, others, right = [], [], 0
    for row in rows:
        likeness = row.clips[kind].likeness
        right += is_most_like(likeness, row.voice)
        own += [value for voice, value in likeness.items() if voice == row.voice]
        others += [value for voice, value in likeness.items() if voice != row.voice]
    figures["voice_accuracy"] = _percent(right, len(rows))
    figures["similarity_within"] = _mean(own)
    figures["similarity_between"] = _mean(others)
    return figures


def _takes(rows: Sequence[Row]) -> Figures:
    seconds = sum(row.clips["take"].seconds for row in rows)
    figures: Figures = {
        "stop_failures": _percent(sum(not row.stopped for row in rows), len(rows)),
        "finish": dict(Counter(row.finish for row in rows)),
        "rtf": round(sum(row.compute for row in rows) / seconds, 3) if seconds else None,
        "seconds": round(seconds, 1),
    }
    pairs = [(row.clips["take"], row.clips["teacher"]) for row in rows if "teacher" in row.clips]
    if pairs:
        lengths = [take.seconds / teacher.seconds for take, teacher in pairs]
        low, middle, high = (round(float(v), 3) for v in np.percentile(lengths, [5, 50, 95]))
        figures["duration_ratio"] = {"median": middle, "p5": low, "p95": high}
    return figures


def judge(figures: Figures) -> list[Figures]:
    """Every gate whose figures are there, and what it reached: aim, must or missed."""
    verdicts = []
    for gate in GATES:
        value, base = figures.get(gate.key), figures.get(gate.beside) if gate.beside else 0
        if value is None or base is None:
            continue
        limits = {"aim": round(base + gate.aim, 2), "must": round(base + gate.must, 2)}
        reached = [name for name, limit in limits.items() if _holds(gate, value, limit)]
        verdict = {"measure": gate.name, "key": gate.key, "value": value, **limits}
        verdicts.append(verdict | {"reached": (reached or ["missed"])[0]})
    return verdicts


def _holds(gate: Gate, value: float, limit: float) -> bool:
    return value >= limit if gate.at_least else value <= limit


def table(result: Figures) -> Iterator[str]:
    """The result for people, line by line."""
    gates = {gate.key: gate for gate in GATES}
    yield f"{'measure':<30}{'reached':>10}{'must':>12}{'aim':>12}   verdict"
    for verdict in result["gates"]:
        gate = gates[verdict["key"]]
        sign = "≥" if gate.at_least else "≤"
        must, aim = (f"{sign} {verdict[limit]:g} {gate.unit}" for limit in ("must", "aim"))
        value, word = f"{verdict['value']:g} {gate.unit}", VERDICTS[verdict["reached"]]
        yield f"{gate.name:<30}{value:>10}{must:>12}{aim:>12}   {word}"
    yield ""
    columns = {"all": result, **result["by_voice"]}
    yield " " * 30 + "".join(name[:11].rjust(12) for name in columns)
    for key in next(iter(result["by_voice"].values())):
        if isinstance(result[key], int | float):
            values = (f"{column.get(key, '-')!s:>12}" for column in columns.values())
            yield f"{key:<30}" + "".join(values)
    if "wer_95" in result:
        yield "\nwith other sentences, WER would lie between {} and {} %".format(*result["wer_95"])
    if "duration_ratio" in result:
        yield "length beside the teacher's: median {median}, 5 to 95 %: {p5} to {p95}".format_map(
            result["duration_ratio"]
        )
    if "dialogue_turns" in result:
        share, turns = result["dialogue_voice_accuracy"], result["dialogue_turns"]
        yield f"dialogues: {share} % of {turns} turns in their own voice"
    yield f"threads that computed: {result['threads']}"


def share_of_turns(turns: Sequence[Turn]) -> Figures:
    """How often a turn of a dialogue is most like the voice that speaks it, in percent."""
    right = sum(is_most_like(turn.likeness, turn.voice) for turn in turns)
    return {
        "dialogue_turns": len(turns),
        "dialogue_voice_accuracy": _percent(right, len(turns)),
        "dialogues": [asdict(turn) for turn in turns],
    }


def is_most_like(likeness: dict[str, float], voice: str) -> bool:
    """Whether a clip is more like this voice than like any other; a silent one is like nobody."""
    return bool(likeness) and max(likeness, key=likeness.__getitem__) == voice


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
