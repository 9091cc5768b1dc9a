"""A small prepared data set of random codes, with the tokenizer and codec of pico."""

from __future__ import annotations

from pathlib import Path

import torch

from faster_higgs.data.cache import SHARDS, write_about, write_shard
from faster_higgs.data.record import SPLITS, Clip
from faster_higgs.prompt.tokens import TextTokenizer

PICO = Path(__file__).parents[2] / "src" / "faster_higgs" / "pico"
TEXTS = (
    "the quick brown fox jumps over the lazy dog.",
    "she sells sea shells by the sea shore.",
    "we walked along the river until it was dark.",
    "good morning, how are you today?",
)


def tiny_clips(clips: int = 24, speakers: int = 3, books: int = 8) -> list[Clip]:
    """Every 6th is for validation, every 12th for testing."""
    generator = torch.Generator().manual_seed(0)
    tokenizer = TextTokenizer.load(PICO)
    made = []
    for i in range(clips):
        frames = 12 + 3 * (i % 7)
        text = TEXTS[i % len(TEXTS)]
        split = SPLITS[2] if i % 12 == 11 else SPLITS[1] if i % 6 == 5 else SPLITS[0]
        codes = torch.randint(1024, (books, frames), generator=generator)
        tokens = tuple(tokenizer.text(text))
        made.append(Clip(f"clip-{i:04d}", split, f"speaker{i % speakers}", text, codes, tokens))
    return made


def tiny_cache(folder: Path, clips: int = 24, speakers: int = 3, shard: int = 10) -> Path:
    """Write `tiny_clips` as `higgs prepare` does."""
    (folder / SHARDS).mkdir(parents=True)
    made, shards = tiny_clips(clips, speakers), []
    for number, start in enumerate(range(0, len(made), shard)):
        name = f"part-{number:05d}.arrow"
        part = made[start : start + shard]
        digest = write_shard(folder / SHARDS / name, part)
        shards.append({"name": name, "clips": len(part), "sha256": digest})
    codec = {"fingerprint": "tiny", "num_codebooks": 8, "codebook_size": 1024, "frame_rate": 25}
    write_about(folder, {"codec": codec, "text": {"fingerprint": "tiny"}, "shards": shards})
    return folder
