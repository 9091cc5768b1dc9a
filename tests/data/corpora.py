"""The same four recordings in every format that is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE = 24_000
ROWS = [
    ("a1", "An", "Xin chào, tôi là An."),
    ("a2", "An", "Hôm nay trời đẹp; phải không?"),
    ("b1", "Binh", 'She said "no" | and left.'),
    ("b2", "Binh", "One, two, three."),
]
SAFE = [(id, who, text.replace("|", "and")) for id, who, text in ROWS]  # for LJSpeech's bars


def sound(number: int, seconds: float = 1.2) -> np.ndarray:
    """Bursts of a tone of its own over a faint noise."""
    t = np.arange(int(seconds * RATE)) / RATE
    noise = 0.001 * np.random.default_rng(number).standard_normal(t.size)
    bursts = np.sin(2 * np.pi * (180 + 40 * number) * t) * ((t * 4 % 1) < 0.7)
    return (0.3 * bursts + noise).astype(np.float32)


def wav(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(number), RATE)
    return path


def wav_bytes(number: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(number), RATE, format="WAV")
    return file.getvalue()


def wavs(folder: Path) -> None:
    for number, (id, _, _) in enumerate(ROWS):
        wav(folder / f"{id}.wav", number)


def as_csv(folder: Path, delimiter: str = ",", encoding: str = "utf-8-sig") -> Path:
    wavs(folder / "sounds")
    table = folder / f"table.{'tsv' if delimiter == chr(9) else 'csv'}"
    with table.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["wav_filename", "text", "speaker", "duration", "valid"])
        for id, who, text in ROWS:
            writer.writerow([f"sounds/{id}.wav", text, who, "99", "True"])
    return table


def as_ljspeech(folder: Path) -> Path:
    wavs(folder / "wavs")
    lines = [f"{id}|{text.upper()}|{text}" for id, _, text in SAFE]
    (folder / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def as_jsonl(folder: Path) -> Path:
    wavs(folder)
    lines = [
        json.dumps({"audio": f"{id}.wav", "text": text, "speaker": who, "duration": float("nan")})
        for id, who, text in ROWS
    ]
    (folder / "all.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return folder / "all.jsonl"


def as_messages(folder: Path) -> Path:
    wavs(folder)
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Write down what is said."},
                {"role": "user", "content": "<audio>Write it."},
                {"role": "assistant", "content": text},
            ],
            "audios": [f"{id}.wav"],
            "speaker": who,
        }
        for id, who, text in ROWS
    ]
    (folder / "all.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def table_of(rows: list[int]) -> dict[str, list[object]]:
    return {
        "audio": [{"bytes": wav_bytes(i), "path": f"{ROWS[i][0]}.wav"} for i in rows],
        "transcription": [ROWS[i][2] for i in rows],
        "speaker": [ROWS[i][1] for i in rows],
        "mel": [[0.5] * 9 for _ in rows],
    }


def as_parquet(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    (folder / "data").mkdir(parents=True)
    for part, rows in enumerate(([0, 1, 2], [3])):
        name = f"train-0000{part}-of-00002.parquet"
        parquet.write_table(pa.table(table_of(rows)), folder / "data" / name, row_group_size=2)
    return folder


def as_saved(folder: Path) -> Path:
    """As `datasets.DatasetDict.save_to_disk` lays it out."""
    import pyarrow as pa

    (folder / "train").mkdir(parents=True)
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    for part, rows in enumerate(([0, 1], [2, 3])):
        table = pa.table(table_of(rows))
        path = folder / "train" / f"data-0000{part}-of-00002.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    (folder / "train" / "state.json").write_text("{}")
    return folder


def as_folder(folder: Path) -> Path:
    for number, (id, who, text) in enumerate(ROWS):
        file = wav(folder / who / f"{id}.wav", number)
        suffix = ".lab" if number % 2 else ".txt"
        file.with_suffix(suffix).write_text(f"{text}\n", encoding="utf-8")
    return folder


def as_seeds(folder: Path) -> Path:
    samples = []
    for number, (id, who, text) in enumerate(ROWS):
        file = wav(folder / f"{id}.wav", number)
        file.with_suffix(".txt").write_text(text, encoding="utf-8")
        samples.append(
            {
                "id": id,
                "audio_file": file.name,
                "transcript_file": f"{id}.txt",
                "duration": 99.0,
                "speaker_id": who,
                "scene": "quiet_room",
                "gender": float("nan"),
            }
        )
    (folder / "metadata.json").write_text(json.dumps({"dataset_info": {}, "samples": samples}))
    return folder


def as_kaldi(folder: Path) -> Path:
    wavs(folder / "far")
    for name, lines in {
        "wav.scp": [f"{id} {folder}/far/{id}.wav" for id, _, _ in ROWS],
        "text": [f"{id} {text}" for id, _, text in ROWS],
        "utt2spk": [f"{id} {who}" for id, who, _ in ROWS],
    }.items():
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return folder


FORMATS: dict[str, Callable[[Path], Path]] = {
    "csv": as_csv,
    "csv-semicolon": lambda folder: as_csv(folder, ";"),
    "csv-tab": lambda folder: as_csv(folder, "\t"),
    "csv-utf16": lambda folder: as_csv(folder, encoding="utf-16"),
    "ljspeech": as_ljspeech,
    "jsonl": as_jsonl,
    "jsonl-messages": as_messages,
    "parquet": as_parquet,
    "huggingface": as_saved,
    "folder": as_folder,
    "seeds": as_seeds,
    "kaldi": as_kaldi,
}
