"""What is written is what is read; what is damaged is told."""

from pathlib import Path

import pytest
import torch

from faster_higgs.data.cache import SHARDS, Cache, read_shard, write_about, write_shard
from faster_higgs.errors import DataError
from tests.data.tiny import tiny_cache, tiny_clips


def test_clips_come_back_as_they_were_written(tmp_path: Path) -> None:
    cache, clips = Cache(tiny_cache(tmp_path / "data")), tiny_clips()
    assert len(cache) == len(clips)
    for i in (0, 9, 10, 23):  # both ends of shards
        got, wanted = cache.clip(i), clips[i]
        assert torch.equal(got.codes, wanted.codes)
        assert (got.id, got.text, got.tokens) == (wanted.id, wanted.text, wanted.tokens)
        assert got.split == wanted.split


def test_splits_are_disjoint_and_complete(tmp_path: Path) -> None:
    cache = Cache(tiny_cache(tmp_path / "data"))
    parts = [cache.indices(split) for split in ("train", "validation", "test")]
    assert sorted(i for part in parts for i in part) == list(range(24)) and all(parts)


def test_columns_and_scenes_survive(tmp_path: Path) -> None:
    from dataclasses import replace

    clip = replace(tiny_clips(1)[0], scene="Audio is recorded from a hall.", columns={"e": "vui ở"})
    write_shard(tmp_path / "a.arrow", [clip])
    (back,) = read_shard(tmp_path / "a.arrow", 8)
    assert (back.scene, back.columns) == (clip.scene, clip.columns)


def test_a_changed_byte_is_told(tmp_path: Path) -> None:
    folder = tiny_cache(tmp_path / "data")
    shard = folder / SHARDS / "part-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"part-00001\.arrow is damaged"):
        Cache(folder)


def test_a_missing_shard_is_told(tmp_path: Path) -> None:
    folder = tiny_cache(tmp_path / "data")
    (folder / SHARDS / "part-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"part-00002\.arrow cannot be read"):
        Cache(folder)


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="higgs prepare"):
        Cache(tmp_path)


def test_equal_data_have_equal_fingerprints(tmp_path: Path) -> None:
    first, second = (Cache(tiny_cache(tmp_path / name)) for name in "ab")
    other = Cache(tiny_cache(tmp_path / "c", clips=23))
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_equal_sound_has_equal_digests(tmp_path: Path) -> None:
    one, two, three = tiny_clips(3)
    folder = tmp_path / "data"
    (folder / SHARDS).mkdir(parents=True)
    shards = []
    for name, part in (("a", [one, two]), ("b", []), ("c", [three, one])):
        digest = write_shard(folder / SHARDS / name, part)
        shards.append({"name": name, "clips": len(part), "sha256": digest})
    write_about(folder, {"codec": {"num_codebooks": 8}, "shards": shards})
    digests = Cache(folder).digests()
    assert len(digests) == 4 and digests[0] == digests[3]
    assert len(set(digests)) == 3
