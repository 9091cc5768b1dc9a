"""The tables of names: both ways, pieces, prefixes and spellings."""

from __future__ import annotations

import pytest
import torch

from faster_higgs.checkpoint.layout import Layout, match
from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL, ORIGINAL, TRANSFORMERS
from faster_higgs.errors import CheckpointError
from tests.model.tiny_model import tiny_model

OURS = list(tiny_model().state_dict())


@pytest.mark.parametrize("layout", LANGUAGE_MODEL, ids=lambda layout: layout.name)
@pytest.mark.parametrize("prefix", ["", "model.", "model.model."])
def test_every_name_goes_out_and_comes_back(layout: Layout, prefix: str) -> None:
    stored = [prefix + layout.stored(name) for name in OURS]
    assert len(set(stored)) == len(OURS)
    matched = match(layout, stored)
    assert set(matched.recipes) == set(OURS)
    assert matched.leftovers == []


@pytest.mark.parametrize("layout", LANGUAGE_MODEL, ids=lambda layout: layout.name)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_layout_is_told_by_its_names(layout: Layout, prefix: str) -> None:
    stored = [prefix + layout.stored(name) for name in OURS]
    assert [other for other in LANGUAGE_MODEL if other.fits(stored)] == [layout]


@pytest.mark.parametrize("layout", LANGUAGE_MODEL, ids=lambda layout: layout.name)
def test_either_spelling_of_the_heads_is_read(layout: Layout) -> None:
    assert layout.ours("audio_lm_head.weight") == "audio_head.weight"
    assert layout.ours("audio_decoder_proj.text_lm_head.weight") == "text_head.weight"


@pytest.mark.parametrize(
    ("whole", "pieces"),
    [
        ("embed_tokens.weight", ("embedding_frozen", "embedding_trainable")),
        ("audio_decoder_proj.text_lm_head.weight", ("linear_frozen", "linear_trainable")),
        ("audio_decoder_proj.audio_lm_head.weight", ("linear_frozen", "linear_trainable")),
    ],
)
def test_frozen_and_trained_rows_become_one_tensor(whole: str, pieces: tuple[str, str]) -> None:
    stem = whole.removesuffix("weight")
    stored = tuple(f"{stem}{piece}.weight" for piece in pieces)
    (recipe,) = match(ORIGINAL, reversed(stored)).recipes.values()
    assert recipe.sources == stored
    assert recipe.combine([torch.zeros(2, 3), torch.ones(1, 3)]).tolist() == [[0] * 3] * 2 + [
        [1] * 3
    ]


def test_half_of_a_split_tensor_is_left_over() -> None:
    name = "embed_tokens.embedding_frozen.weight"
    assert match(ORIGINAL, [name]).leftovers == [name]


def test_what_old_code_left_in_files_is_ignored_and_nothing_else() -> None:
    harmless = [
        "layers.0.self_attn.rotary_emb.inv_freq",
        "rotary_emb.original_inv_freq",
        "audio_codebook_weights",
    ]
    assert match(ORIGINAL, [*harmless, "audio_tower.conv.weight"]).leftovers == [
        "audio_tower.conv.weight"
    ]


def test_two_spellings_of_one_weight_must_agree() -> None:
    stored = ["text_lm_head.weight", "audio_decoder_proj.text_lm_head.weight"]
    (recipe,) = match(TRANSFORMERS, stored).recipes.values()
    assert recipe.combine([torch.ones(2, 2), torch.ones(2, 2)]).sum() == 4
    with pytest.raises(CheckpointError, match=r"text_lm_head\.weight and audio_decoder_proj\.text"):
        recipe.combine([torch.ones(2, 2), torch.zeros(2, 2)])
