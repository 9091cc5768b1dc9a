"""Steps 1 and 2: choose the sentences and speak them. Finished shards are kept.

One shard is one .npy (int16, 24 kHz) and one .jsonl.

    python recipes/pico/corpus.py --out DIR --held-out evals/sentences_en.txt
"""

from __future__ import annotations

import argparse
import json
import random
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from data import replacing
from sentences import plain, sentences
from voices import TEACHERS, speak

SHARD = 500


def shard(job: tuple[Path, int, list[str]], only: str | None = None) -> float:
    """Speak one shard, by all voices or one; returns hours of sound."""
    out, index, texts = job
    done = out / f"{index:04d}.jsonl"
    if done.exists():
        rows = [json.loads(line) for line in done.read_text().splitlines()]
        return sum(row["samples"] for row in rows) / 24_000 / 3600
    rng, pieces, rows, at = random.Random(index), [], [], 0
    for text in texts:
        voice = only or rng.choice(sorted(TEACHERS))
        try:
            spoken = speak(text, TEACHERS[voice])
        except ValueError:
            continue
        if len(spoken.samples) > 14 * 24_000:
            continue
        pieces.append((spoken.samples * 32767).astype(np.int16))
        rows.append(
            {
                "text": text,
                "voice": voice,
                "at": at,
                "samples": len(pieces[-1]),
                "phones": spoken.phones,
            }
        )
        at += len(pieces[-1])
    np.save(out / f"{index:04d}.npy", np.concatenate(pieces))
    with replacing(done) as part:
        part.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return at / 24_000 / 3600


def references(out: Path) -> None:
    """The clips that are shipped as voices."""
    for index, name in enumerate(sorted(TEACHERS)):
        shard((out, 9000 + index, [TEACHERS[name].reference]), name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=46_000)
    parser.add_argument("--held-out", type=Path, help="a file of sentences that must not be spoken")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    held = (
        {plain(line) for line in args.held_out.read_text().splitlines()} if args.held_out else set()
    )
    texts = sentences(args.count, held)
    references(args.out)
    jobs = [(args.out, i // SHARD, texts[i : i + SHARD]) for i in range(0, len(texts), SHARD)]
    hours = 0.0
    with Pool(args.workers) as pool:
        for n, more in enumerate(pool.imap(shard, jobs), 1):
            hours += more
            print(f"{n}/{len(jobs)} shards, {hours:.1f} h", flush=True)


if __name__ == "__main__":
    main()
