"""A config.json in either dialect: read and written without loss, its faults told in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from faster_higgs.config import Layout, ModelConfig, RopeScaling
from faster_higgs.errors import CheckpointError
from tests.model.tiny_model import tiny_config

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
SCALING = RopeScaling(32.0, 0.125, 0.5, 1024)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scaling", [None, SCALING])
@pytest.mark.parametrize("text_input", ["text", "phonemes"])
def test_reading_what_was_written_is_the_same_config(
    layout: Layout, scaling: RopeScaling | None, text_input: Any
) -> None:
    config = replace(tiny_config(), rope_scaling=scaling, text_input=text_input)
    assert ModelConfig.from_json(config.to_json(layout)) == config


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("pad_token_id", None, "wrong kind"),
        ("audio_stream_bos_id", "many", "wrong kind"),
        ("text_input", "letters", "text_input is 'letters'"),
        ("use_delay_pattern", False, "use_delay_pattern"),
    ],
)
def test_a_value_that_cannot_be_used_is_told(
    layout: Layout, key: str, value: object, words: str
) -> None:
    data = {**tiny_config().to_json(layout), key: value}
    with pytest.raises(CheckpointError, match=words):
        ModelConfig.from_json(data)


def test_stream_tokens_outside_the_codebooks_are_told() -> None:
    data = {**tiny_config().to_json("original"), "audio_stream_eos_id": 10_000}
    with pytest.raises(CheckpointError, match="outside its codebooks"):
        ModelConfig.from_json(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [("rope_parameters", None), ("num_attention_heads", 0), ("hidden_size", "wide")],
)
def test_a_broken_transformers_config_is_told(key: str, value: object) -> None:
    data = {**tiny_config().to_json("transformers"), "head_dim": None, key: value}
    with pytest.raises(CheckpointError, match="wrong kind"):
        ModelConfig.from_json(data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_key_is_named(layout: Layout) -> None:
    data = tiny_config().to_json(layout)
    del data["pad_token_id"]
    with pytest.raises(CheckpointError, match="pad_token_id"):
        ModelConfig.from_json(data)
