"""A small prepared data set that a model takes: its codec's codebooks, its own wording."""

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
def demands(model: Path) -> Demands:
    return Demands.load(model)


def clips(model: Path, count: int = 24, speakers: int = 3) -> list[Clip]:
    wanted = demands(model)
    return [
        replace(
            clip,
            tokens=wanted.wording.tokens(clip.text),
            codes=clip.codes % wanted.config.num_codes,
        )
        for clip in tiny_clips(count, speakers)
    ]


def prepared(folder: Path, model: Path = PICO, made: Sequence[Clip] = ()) -> Path:
    """As `higgs prepare` makes it for a model."""
    wanted = demands(model)
    made = made or clips(model)
    (folder / SHARDS).mkdir(parents=True)
    digest = write_shard(folder / SHARDS / "part-00000.arrow", made)
    books, size = wanted.config.num_codebooks, wanted.config.num_codes
    codec = {"num_codebooks": books, "codebook_size": size, "frame_rate": 25}
    about = {
        "codec": {"fingerprint": wanted.codec, **codec},
        "text": {"fingerprint": wanted.wording.fingerprint},
        "shards": [{"name": "part-00000.arrow", "clips": len(made), "sha256": digest}],
    }
    write_about(folder, about)
    return folder
