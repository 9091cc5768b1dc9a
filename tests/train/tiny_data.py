"""A small prepared data set, and what a checkpoint demands of it: pico's under another name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from faster_higgs.checkpoint.load import read_config
from faster_higgs.config import ModelConfig
from faster_higgs.data.cache import SHARDS, Cache, write_about, write_shard
from faster_higgs.data.record import Clip
from faster_higgs.data.wording import Wording
from faster_higgs.train.config import MixtureSettings
from faster_higgs.train.dataset import Dataset
from faster_higgs.train.demands import Demands
from tests.data.tiny import PICO, tiny_clips


@lru_cache
def demands() -> Demands:
    config = ModelConfig.from_json(read_config(PICO))
    return Demands(config, replace(Wording.load(PICO, config), fingerprint="tiny"), "tiny")


def clips(count: int = 24, speakers: int = 3) -> list[Clip]:
    """Those of tests/data, with the tokens that pico reads."""
    wording = demands().wording
    return [replace(clip, tokens=wording.tokens(clip.text)) for clip in tiny_clips(count, speakers)]


def cache(folder: Path, made: Sequence[Clip], **codec: Any) -> Cache:
    (folder / SHARDS).mkdir(parents=True)
    digest = write_shard(folder / SHARDS / "part-00000.arrow", made)
    shards = [{"name": "part-00000.arrow", "clips": len(made), "sha256": digest}]
    told = {"fingerprint": "tiny", "num_codebooks": 8, "codebook_size": 1024, "frame_rate": 25}
    about = {"codec": {**told, **codec}, "text": {"fingerprint": "tiny"}, "shards": shards}
    write_about(folder, about)
    return Cache(folder)


def dataset(folder: Path, settings: MixtureSettings, *, split: Any = "train") -> Dataset:
    """`clips` as conversations; the folder is filled when it is not there."""
    data = Cache(folder) if folder.exists() else cache(folder, clips())
    return Dataset(data, demands(), settings, split)
