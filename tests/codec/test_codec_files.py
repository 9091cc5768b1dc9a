"""Codecs from folders and back: both published layouts, strict, bit for bit."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faster_higgs.checkpoint.codec_config import StoredCodec
from faster_higgs.checkpoint.codec_files import load_codec, save_codec
from faster_higgs.checkpoint.codec_layouts import (
    EMBEDDED,
    UNFOLDED,
    UNUSED,
    codec_layouts,
    folded,
    unfolded,
)
from faster_higgs.checkpoint.layout import match
from faster_higgs.checkpoint.tensors import TensorFiles, choose_layout
from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape, Layout
from faster_higgs.errors import CheckpointError, OutputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LAYOUTS: tuple[Layout, ...] = ("original", "transformers")
PUBLISHED = CodecConfig(
    encoder_hidden_size=64,
    decoder_hidden_size=1024,
    hidden_size=256,
    codebook_size=1024,
    codebook_dim=64,
    num_codebooks=8,
    hubert=HubertShape(768, 12, 12, 3072, (512,) * 7),
    acoustic_pad=320,
)
PADS = {"original": 320, "transformers": 480}
FLOATS = {"original": 201_426_474, "transformers": 201_400_553}

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)


def assert_same(found: Codec, expected: Codec) -> None:
    assert found.config == expected.config
    theirs = found.state_dict()
    assert theirs.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(theirs[name].view(torch.int32), value.view(torch.int32)), name


@both_layouts
def test_loading_what_was_saved_is_the_same_codec(
    codec: Codec, tmp_path: Path, layout: Layout
) -> None:
    save_codec(codec, tmp_path, layout)
    loaded = load_codec(tmp_path, training_parts=True)
    assert_same(loaded, codec)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.semantic_model.parameters())


def test_saving_in_the_other_layout_keeps_the_padding_rule(codec: Codec, tmp_path: Path) -> None:
    for source in LAYOUTS:
        for target in LAYOUTS:
            first, second = tmp_path / source / target / "1", tmp_path / source / target / "2"
            original = Codec(replace(codec.config, acoustic_pad=PADS[source])).eval()
            save_codec(original, first, source)
            assert "acoustic_pad" not in json.loads((first / "config.json").read_text())
            save_codec(load_codec(first), second, target)
            assert_same(load_codec(second), original)


@both_layouts
@pytest.mark.parametrize("ratios", [(3, 2, 4), (8, 5, 4, 2, 3)])
def test_a_decoder_alone_is_saved_and_loaded(
    codec: Codec, tmp_path: Path, layout: Layout, ratios: tuple[int, ...]
) -> None:
    config = replace(codec.config, ratios=ratios)
    decoder = Codec(config, encoder=False).eval()
    save_codec(decoder, tmp_path, layout)
    loaded = load_codec(tmp_path, encoder=False)
    codes = torch.randint(config.codebook_size, (3, 5))
    assert torch.equal(loaded.decode(codes), decoder.decode(codes))
    with pytest.raises(CheckpointError, match="can only decode"):
        load_codec(tmp_path)


@both_layouts
def test_decoding_loads_only_what_it_needs(codec: Codec, tmp_path: Path, layout: Layout) -> None:
    save_codec(codec, tmp_path, layout)
    loaded = load_codec(tmp_path, encoder=False)
    assert not loaded.has_encoder
    codes = torch.randint(codec.config.codebook_size, (3, 5))
    assert torch.equal(loaded.decode(codes), codec.decode(codes))


@pytest.mark.parametrize("kept", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_weight_norm_folds_back_bit_for_bit(kept: int, dtype: torch.dtype) -> None:
    weight = (torch.randn(6, 5, 7) * torch.logspace(-20, 15, 7)).to(dtype)
    weight[2], weight[3, :, 1] = 0, -0.0
    weight[..., 4] = -0.0
    again = folded(unfolded(weight, kept))
    assert torch.equal(again, weight)
    assert torch.equal(again.signbit(), weight.signbit())


def test_folding_is_the_formula_of_weight_norm() -> None:
    g, v = torch.randn(6, 1, 1), torch.randn(6, 5, 7)
    torch.testing.assert_close(folded([g, v]), torch._weight_norm(v, g, 0))
    g = torch.randn(1, 1, 7)
    torch.testing.assert_close(folded([g, v]), torch._weight_norm(v, g, 2))


def test_both_spellings_of_weight_norm_are_read_anywhere(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, tmp_path, "original")
    tensors: dict[str, Tensor] = torch.load(tmp_path / "model.pth")
    spellings = ((".weight_g", "original0"), (".weight_v", "original1"))
    swapped = {}
    for name, value in tensors.items():
        for ending, other in spellings:
            there = f".parametrizations.weight.{other}"
            if name.endswith((ending, there)):
                stem = name.removesuffix(ending).removesuffix(there)
                name = stem + (there if name.endswith(ending) else ending)
                break
        swapped[name] = value
    assert swapped.keys() != tensors.keys()
    torch.save(swapped, tmp_path / "model.pth")
    assert_same(load_codec(tmp_path, training_parts=True), codec)


@both_layouts
def test_a_codec_inside_a_larger_model_is_found(
    codec: Codec, tmp_path: Path, layout: Layout
) -> None:
    codec = Codec(replace(codec.config, acoustic_pad=PADS[layout]), training_parts=True).eval()
    save_codec(codec, tmp_path, layout)
    stored = tmp_path / ("model.pth" if layout == "original" else "model.safetensors")
    tensors = torch.load(stored) if layout == "original" else load_file(stored)
    inside = {EMBEDDED + name: value for name, value in tensors.items()}
    stored.unlink()
    inside["body.layers.0.mlp.up_proj.weight"] = torch.zeros(3)
    save_file(inside, tmp_path / "model.safetensors")
    assert_same(load_codec(tmp_path, training_parts=True), codec)


def test_bfloat16_weights_become_float32(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, tmp_path, "transformers")
    path = tmp_path / "model.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(path).items()}, path)
    loaded = load_codec(tmp_path)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert loaded.encode(torch.randn(2000)).shape == (3, 2)


def test_the_torch_file_is_the_codec_where_both_files_are(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, tmp_path, "original")
    save_file({"embed_audio_tokens.x": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert_same(load_codec(tmp_path, training_parts=True), codec)


def test_a_language_model_where_the_codec_should_be_is_named(tmp_path: Path) -> None:
    save_file({"layers.0.audio_mlp.up_proj.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="holds a language model where the codec should be"):
        load_codec(tmp_path)


@both_layouts
def test_missing_and_unknown_tensors_are_named(
    codec: Codec, tmp_path: Path, layout: Layout
) -> None:
    save_codec(codec, tmp_path, layout)
    stored = tmp_path / ("model.pth" if layout == "original" else "model.safetensors")
    tensors = torch.load(stored) if layout == "original" else load_file(stored)
    gone = next(name for name in tensors if name.endswith("snake1.alpha") or ".6.alpha" in name)
    renamed = {name if name != gone else "strange.alpha": value for name, value in tensors.items()}
    if layout == "original":
        torch.save(renamed, stored)
    else:
        save_file(renamed, stored)
    with pytest.raises(CheckpointError, match=rf"(?s){re.escape(gone)}.*strange\.alpha"):
        load_codec(tmp_path)


def test_a_codec_without_training_parts_says_so_when_they_are_asked_for(
    codec: Codec, tmp_path: Path
) -> None:
    save_codec(Codec(codec.config), tmp_path, "transformers")
    load_codec(tmp_path)
    with pytest.raises(CheckpointError, match="decoder_semantic"):
        load_codec(tmp_path, training_parts=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strides": [2, 1]}, "strides"),
        ({"downsample_factor": 160}, "downsample_factor"),
        ({"semantic_model_config": {"num_attention_heads": 5}}, "5 attention heads"),
    ],
)
def test_configs_that_cannot_be_followed_are_refused(
    codec: Codec, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    save_codec(codec, tmp_path, "transformers")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=said):
        load_codec(tmp_path)
    path.write_text("[1, 2")
    with pytest.raises(CheckpointError, match="is not a config"):
        load_codec(tmp_path)


def test_a_missing_config_leaves_the_published_numbers(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, tmp_path, "original")
    (tmp_path / "config.json").unlink()
    shutil.rmtree(tmp_path / "hubert")
    assert load_codec(tmp_path).config.sample_rate == 24_000


def test_a_cut_off_file_is_one_sentence(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, tmp_path, "original")
    whole = (tmp_path / "model.pth").read_bytes()
    (tmp_path / "model.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        load_codec(tmp_path)


def test_a_place_that_cannot_be_written_leaves_nothing_half(codec: Codec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        save_codec(codec, tmp_path / "file" / "below", "original")
    save_codec(codec, tmp_path / "taken", "original")
    with pytest.raises(OutputError, match=r"already holds a model\.pth"):
        save_codec(codec, tmp_path / "taken", "transformers")
    assert not list(tmp_path.rglob("*.part"))


def published(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published file of `layout`, from the list beside this test."""
    lines = (Path(__file__).parent / "data" / f"published_{layout}.txt").read_text().splitlines()
    pairs = (line.split() for line in lines)
    return {name: tuple(int(size) for size in shape.split("x")) for name, shape in pairs}


@pytest.mark.parametrize("lost", ["fc2.", "semantic_model.feature_extractor.", "semantic_model."])
def test_a_codec_without_the_tensors_that_tell_its_shape_is_told(
    codec: Codec, tmp_path: Path, lost: str
) -> None:
    save_codec(codec, tmp_path, "transformers")
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name: value.clone() for name, value in tensors.items() if not name.startswith(lost)}
    save_file(kept, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError):
        load_codec(tmp_path)


@both_layouts
def test_every_published_tensor_has_its_place(layout: Layout) -> None:
    shapes = published(layout)
    assert sum(math.prod(shape) for shape in shapes.values()) == FLOATS[layout]
    files = TensorFiles(Path(), {Path("model"): list(shapes)}, shapes)
    table = choose_layout(files, codec_layouts())
    assert table.name == layout
    matched = match(table, shapes)
    config = StoredCodec(files, matched).config({}, layout, encoder=True)
    assert config == replace(PUBLISHED, acoustic_pad=PADS[layout])
    with torch.device("meta"):
        targets = Codec(config, training_parts=True).state_dict()
    assert not matched.leftovers
    assert matched.recipes.keys() - targets.keys() <= set(UNUSED)
    for name, target in targets.items():
        assert matched.recipes[name].shape(shapes) == tuple(target.shape), name
    written = {piece for name in targets for piece in written_as(table.stored(name), layout)}
    assert written == shapes.keys() - set(UNUSED)


def written_as(name: str, layout: Layout) -> list[str]:
    for unfold in UNFOLDED[layout]:
        if re.search(unfold.pattern, name):
            return [name.removesuffix(".weight") + ending for ending in unfold.pieces]
    return [name]
