"""The language model against transformers' own class on random weights, both ways through files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import HiggsAudioV2Config, HiggsAudioV2ForConditionalGeneration

from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL, ORIGINAL, TRANSFORMERS
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.config import ModelConfig
from faster_higgs.model.dual_ffn import DualFFN

CONFIG = {
    "vocab_size": 80,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "num_codebooks": 4,
    "codebook_size": 34,
    "audio_stream_bos_id": 32,
    "audio_stream_eos_id": 33,
    "audio_token_id": 70,
    "audio_delay_token_id": 69,
    "audio_bos_token_id": 68,
    "pad_token_id": 60,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 4.0,
        "low_freq_factor": 0.5,
        "high_freq_factor": 2.0,
        "original_max_position_embeddings": 32,
    },
}

# The published config.json: what decides shapes, in the original's words.
PUBLIC = {
    "text_config": {
        "vocab_size": 128256,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "max_position_embeddings": 131072,
    },
    "audio_dual_ffn_layers": list(range(28)),
    "audio_num_codebooks": 8,
    "audio_codebook_size": 1024,
    "audio_stream_bos_id": 1024,
    "audio_stream_eos_id": 1025,
    "audio_in_token_idx": 128015,
    "audio_out_token_idx": 128016,
    "audio_out_bos_token_id": 128013,
    "audio_eos_token_id": 128012,
    "pad_token_id": 128001,
}


@pytest.fixture(scope="module")
def theirs() -> HiggsAudioV2ForConditionalGeneration:
    torch.manual_seed(0)
    model = HiggsAudioV2ForConditionalGeneration(HiggsAudioV2Config(**CONFIG), use_text_head=True)
    with torch.no_grad():
        for weight in model.parameters():
            weight.uniform_(0.5, 1.5) if weight.ndim == 1 else weight.normal_(0, 0.15)
    return model.eval()


def rows(length: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    is_audio = torch.rand(length, generator=generator) < 0.5
    ids = torch.randint(60, (length,), generator=generator).masked_fill(is_audio, 70)
    columns = torch.randint(34, (int(is_audio.sum()), 4), generator=generator)
    return ids, columns, is_audio


def compare(ours: DualFFN, theirs: HiggsAudioV2ForConditionalGeneration, atol: float) -> None:
    ids, columns, is_audio = rows()
    mask = torch.ones(1, len(columns), dtype=torch.bool)
    with torch.no_grad():
        found = theirs(
            input_ids=ids[None], audio_input_ids=columns[None], audio_input_ids_mask=mask
        )
        hidden = ours.prefill(ids, columns, is_audio, ours.new_cache())
        logits = ours.audio_logits(hidden).flatten(-2)
    torch.testing.assert_close(logits, found.logits[0].float(), atol=atol, rtol=0)


def test_their_checkpoint_gives_their_logits(
    theirs: HiggsAudioV2ForConditionalGeneration, tmp_path: Path
) -> None:
    theirs.save_pretrained(tmp_path)
    config, ours = load_model(tmp_path)
    compare(ours, theirs, 2e-5)
    stored = {ORIGINAL.stored(name): value for name, value in ours.state_dict().items()}
    head = theirs.text_lm_head.weight
    assert torch.equal(stored["audio_decoder_proj.text_lm_head.weight"], head)
    assert config.codebook_size == 34


def test_their_class_loads_what_we_save(
    theirs: HiggsAudioV2ForConditionalGeneration, tmp_path: Path
) -> None:
    theirs.save_pretrained(tmp_path / "theirs")
    config, ours = load_model(tmp_path / "theirs", dtype=torch.bfloat16)
    save_model(ours, config, tmp_path / "ours", "transformers", shard_bytes=50_000)
    again, report = HiggsAudioV2ForConditionalGeneration.from_pretrained(
        tmp_path / "ours", use_text_head=True, dtype="auto", output_loading_info=True
    )
    assert not any(report.values()), report
    assert again.dtype == torch.bfloat16
    compare(ours.float(), again.float(), 2e-5)


def test_both_give_one_loss_and_one_gradient(
    theirs: HiggsAudioV2ForConditionalGeneration, tmp_path: Path
) -> None:
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)[1]
    ids, columns, is_audio = rows()
    mask = torch.ones(1, len(columns), dtype=torch.bool)
    theirs.zero_grad()
    loss = theirs(
        input_ids=ids[None],
        audio_input_ids=columns[None],
        audio_input_ids_mask=mask,
        labels=ids[None],
        audio_labels=columns[None],
    ).loss
    loss.backward()
    positions = torch.arange(len(ids))
    hidden = ours.train_forward(ids, columns, is_audio, torch.zeros_like(ids), positions)
    cross_entropy = torch.nn.functional.cross_entropy
    targets = torch.full((len(ids), 4), -100)
    targets[is_audio] = columns
    audio = ours.audio_logits(hidden)[:-1]
    found = cross_entropy(ours.text_logits(hidden)[:-1], ids[1:])
    found = found + sum(cross_entropy(audio[:, k], targets[1:, k]) for k in range(4))
    torch.testing.assert_close(found, loss, atol=1e-5, rtol=0)
    found.backward()
    expected = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        grad = expected[TRANSFORMERS.stored(name)].grad
        assert weight.grad is not None and grad is not None
        torch.testing.assert_close(
            weight.grad, grad, atol=2e-6 * float(grad.abs().max()) + 1e-7, rtol=1e-3
        )


def test_the_public_configuration_is_placed_tensor_by_tensor() -> None:
    config = ModelConfig.from_json(PUBLIC)
    with torch.device("meta"):
        ours = DualFFN(config)
        theirs = HiggsAudioV2ForConditionalGeneration(
            HiggsAudioV2Config(codebook_size=1026), use_text_head=True
        )
    shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    assert len(shapes) == 397
    assert sum(value.numel() for value in ours.state_dict().values()) == 5_771_283_456
    for layout in LANGUAGE_MODEL:
        stored = {layout.stored(name): name for name in shapes}
        assert len(stored) == 397
        for name, ours_name in stored.items():
            assert layout.ours(layout.strip(name)) == ours_name
    expected = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert {TRANSFORMERS.stored(name): shape for name, shape in shapes.items()} == expected


def test_both_dialects_of_the_public_config_say_the_same() -> None:
    config = ModelConfig.from_json(PUBLIC)
    theirs = HiggsAudioV2Config(codebook_size=1026).to_dict()
    other = ModelConfig.from_json(theirs)
    with torch.device("meta"):
        models = [DualFFN(c) for c in (config, other)]
    here = torch.device("cpu")
    frequencies, others = (model.rotary.frequencies(here) for model in models)
    torch.testing.assert_close(frequencies, others, atol=0, rtol=0)
    assert (frequencies[35:] < 500_000.0 ** -(35 / 64) / 16).all()


@pytest.mark.parametrize(
    ("layout", "name", "shape"),
    [
        (ORIGINAL, "embed_tokens.weight", (128256, 3072)),
        (ORIGINAL, "layers.27.self_attn.k_proj.weight", (1024, 3072)),
        (ORIGINAL, "layers.0.mlp.down_proj.weight", (3072, 8192)),
        (ORIGINAL, "layers.5.audio_mlp.gate_proj.weight", (8192, 3072)),
        (ORIGINAL, "layers.3.audio_post_attention_layernorm.weight", (3072,)),
        (ORIGINAL, "audio_codebook_embeddings.weight", (8208, 3072)),
        (ORIGINAL, "audio_decoder_proj.audio_lm_head.weight", (8208, 3072)),
        (ORIGINAL, "audio_decoder_proj.text_lm_head.weight", (128256, 3072)),
        (TRANSFORMERS, "model.embed_audio_tokens.embed_audio_tokens.weight", (8208, 3072)),
        (TRANSFORMERS, "text_lm_head.weight", (128256, 3072)),
    ],
)
def test_published_names_and_shapes(layout, name, shape) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        model = DualFFN(ModelConfig.from_json(PUBLIC))
    ours = layout.ours(layout.strip(name))
    assert tuple(model.state_dict()[ours].shape) == shape
