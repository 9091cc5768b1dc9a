"""Checkpoints that are damaged or of another kind: each ends in one sentence and exit code 2."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from faster_higgs.checkpoint.codec_files import load_codec, save_codec
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.codec.codec import Codec
from faster_higgs.errors import CheckpointError
from tests.codec.conftest import TINY
from tests.model.tiny_model import tiny_config, tiny_model

INDEX = "model.safetensors.index.json"


def said(load: Any, folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tiny_model(), tiny_config(), tmp_path, "transformers")
    return tmp_path


@pytest.fixture
def codec(tmp_path: Path) -> Path:
    save_codec(Codec(TINY), tmp_path, "transformers")
    return tmp_path


def change(folder: Path, changes: dict[str, Any], inside: str | None = None) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text())
    (data[inside] if inside else data).update(changes)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "3", "{}", '{"weight_map": {"a": 5}}', '{"weight_map": []}', "[" * 100_000],
)
def test_an_index_that_is_none(model: Path, text: str) -> None:
    (model / INDEX).write_text(text)
    assert "is not a list of shards" in said(load_model, model)


def test_an_index_without_shards(model: Path) -> None:
    (model / INDEX).write_text('{"weight_map": {}}')
    assert "hold no tensors" in said(load_model, model)


@pytest.mark.parametrize("text", ["[]", "null", "{", "[" * 100_000])
def test_a_config_that_is_none(model: Path, text: str) -> None:
    (model / "config.json").write_text(text)
    assert "config.json' is not" in said(load_model, model)


def test_a_config_that_is_a_folder(codec: Path, tmp_path: Path) -> None:
    (codec / "config.json").unlink()
    (codec / "config.json").mkdir()
    assert "config.json' cannot be read" in said(load_codec, codec)
    save_model(tiny_model(), tiny_config(), tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    (tmp_path / "model" / "config.json").mkdir()
    assert "config.json' cannot be read" in said(load_model, tmp_path / "model")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("vocab_size", -3),
        ("vocab_size", 0),
        ("hidden_size", -64),
        ("head_dim", -4),
        ("num_hidden_layers", 0),
        ("num_key_value_heads", -1),
        ("num_codebooks", -8),
    ],
)
def test_sizes_that_no_model_has(model: Path, key: str, found: int) -> None:
    change(model, {key: found})
    assert f"sets {key} to {found}; it must be 1 or more" in said(load_model, model)


@pytest.mark.parametrize("found", [10**30, float("inf")])
def test_sizes_without_end(model: Path, found: float) -> None:
    change(model, {"vocab_size": found})
    assert "config.json" in said(load_model, model)


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_rate": "fast"},
        {"sample_rate": 0},
        {"semantic_sample_rate": -1},
        {"acoustic_pad": "x"},
        {"acoustic_pad": -5},
        {"semantic_model_config": [1]},
        {"semantic_model_config": "hubert"},
        {"semantic_model_config": {"num_attention_heads": "x"}},
        {"semantic_model_config": {"num_attention_heads": True}},
        {"strides": [[1]]},
        {"strides": {}},
    ],
)
def test_a_codec_with_a_setting_of_the_wrong_kind(codec: Path, changes: dict[str, Any]) -> None:
    change(codec, changes)
    ((key, value),) = changes.items()
    inner = next(iter(value)) if isinstance(value, dict) and value else key
    assert inner in said(load_codec, codec)


@pytest.mark.parametrize(
    "changes",
    [
        {"do_stable_layer_norm": True},
        {"hidden_act": "relu"},
        {"feat_extract_activation": "relu"},
        {"feat_extract_norm": "layer"},
        {"feat_proj_layer_norm": False},
        {"layer_norm_eps": 0.5},
        {"conv_bias": True},
        {"conv_pos_batch_norm": True},
        {"conv_stride": [5, 2, 2, 2, 2, 2, 4]},
        {"conv_kernel": [10, 3, 3, 3, 3, 2, 3]},
    ],
)
@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_a_hubert_that_would_be_computed_as_another(
    tmp_path: Path, layout: Any, changes: dict[str, Any]
) -> None:
    save_codec(Codec(TINY), tmp_path, layout)
    if layout == "original":
        change(tmp_path / "hubert", changes)
    else:
        change(tmp_path, changes, inside="semantic_model_config")
    found = said(load_codec, tmp_path)
    assert "HuBERT" in found and f"{next(iter(changes))} to" in found and "only" in found


def test_a_hubert_with_every_setting_spelled_out_is_read(codec: Path) -> None:
    usual = {
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-05,
        "hidden_dropout": 0.1,
        "mask_time_prob": 0.05,
    }
    change(codec, usual, inside="semantic_model_config")
    load_codec(codec)


def as_torch_file(folder: Path, **options: Any) -> Path:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "model.pth", **options)
    return folder / "model.pth"


def test_a_torch_file_of_the_older_kind_is_not_called_damaged(model: Path) -> None:
    as_torch_file(model, _use_new_zipfile_serialization=False)
    found = said(load_model, model)
    assert "torch wrote before 1.6" in found and "save it again" in found
    assert "damaged" not in found


@pytest.mark.parametrize("content", [{1: torch.ones(2)}, [torch.ones(2)], {}, {"a": 1}])
def test_a_torch_file_without_names(model: Path, content: Any) -> None:
    as_torch_file(model)
    torch.save(content, model / "model.pth")
    assert "holds no tensors by name" in said(load_model, model)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_torch_file_with_changed_bytes_loads_or_says_what_is_wrong(model: Path) -> None:
    path = as_torch_file(model)
    whole = path.read_bytes()
    chance = random.Random(1)
    sentences = 0
    for _ in range(60):
        changed = bytearray(whole)
        for _ in range(3):
            changed[chance.randrange(3000)] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            load_model(model)
        except CheckpointError as error:
            assert "\n" not in str(error)
            sentences += 1
    assert sentences > 20


@pytest.mark.parametrize("name", ["acoustic_decoder.block.0.conv_t1.weight", "fc2.weight"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2)])
def test_a_codec_with_a_tensor_of_another_shape(
    codec: Path, name: str, shape: tuple[int, ...]
) -> None:
    tensors = load_file(codec / "model.safetensors")
    (codec / "model.safetensors").unlink()
    torch.save({**tensors, name: torch.ones(shape)}, codec / "model.pth")
    assert "codec" in said(load_codec, codec)
