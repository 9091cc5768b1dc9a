"""A small prepared data set that pico takes: its codec's codebooks, its own wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from faster_higgs.data.cache import SHARDS, write_about, write_shard
from faster_higgs.data.record import Clip
from faster_higgs.train.demands import Demands
from tests.data.tiny import PICO, tiny_clips


@lru_cache
def demands() -> Demands:
    return Demands.load(PICO)


def clips(count: int = 24, speakers: int = 3) -> list[Clip]:
    wording = demands().wording
    return [replace(clip, tokens=wording.tokens(clip.text)) for clip in tiny_clips(count, speakers)]


def pico_cache(folder: Path, made: Sequence[Clip] = ()) -> Path:
    """As `higgs prepare` makes it for pico."""
    made = made or clips()
    (folder / SHARDS).mkdir(parents=True)
    digest = write_shard(folder / SHARDS / "part-00000.arrow", made)
    codec = {"num_codebooks": 8, "codebook_size": 1024, "frame_rate": 25}
    about = {
        "codec": {"fingerprint": demands().codec, **codec},
        "text": {"fingerprint": demands().wording.fingerprint},
        "shards": [{"name": "part-00000.arrow", "clips": len(made), "sha256": digest}],
    }
    write_about(folder, about)
    return folder
