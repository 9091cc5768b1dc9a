"""The codec from outside: shapes, laws, and what it says to wrong input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from faster_higgs.checkpoint.codec_files import save_codec
from faster_higgs.codec.codec import Codec, full_precision
from faster_higgs.codec.semantic import resample, resampled_length
from faster_higgs.errors import AudioError, InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("length", [119, 480, 632, 960, 1078, 1079, 2399, 4800])
def test_frames_follow_the_formula(codec: Codec, length: int) -> None:
    codes = codec.encode(noise(length))
    frames = (length + 841) // 960
    assert codes.shape == (codec.num_codebooks, frames)
    assert codes.dtype == torch.int64
    assert codec.frames(length) == frames
    assert codec.decode(codes).shape == (960 * frames,)


def test_batched_is_alone(codec: Codec) -> None:
    clips = noise(3, 2000)
    codes = codec.encode(clips)
    assert torch.equal(codes, torch.stack([codec.encode(clip) for clip in clips]))
    alone = torch.stack([codec.decode(one) for one in codes])
    torch.testing.assert_close(codec.decode(codes), alone, atol=1e-6, rtol=0)


def test_nothing_is_clipped(codec: Codec) -> None:
    codes = codec.encode(noise(4800))
    with torch.no_grad():
        codec.acoustic_decoder.last.weight.mul_(100)
        loud = codec.decode(codes)
        codec.acoustic_decoder.last.weight.div_(100)
    assert loud.abs().max() > 1


def test_fewer_codebooks_decode(codec: Codec) -> None:
    codes = codec.encode(noise(2000))
    assert codec.decode(codes[:1]).shape == codec.decode(codes).shape


def test_no_frames_are_no_samples(codec: Codec) -> None:
    assert codec.decode(torch.zeros(codec.num_codebooks, 0, dtype=torch.long)).shape == (0,)
    assert codec.decode(torch.zeros(2, codec.num_codebooks, 0, dtype=torch.long)).shape == (2, 0)


def test_silence_has_codes_and_int32_decodes(codec: Codec) -> None:
    codes = codec.encode(torch.zeros(2000))
    assert torch.isfinite(codec.decode(codes.int())).all()


def test_double_samples_are_taken(codec: Codec) -> None:
    assert torch.equal(codec.encode(noise(2000).double()), codec.encode(noise(2000)))


def test_hubert_stays_frozen_in_training(codec: Codec) -> None:
    codec.train()
    assert codec.acoustic_encoder.training
    assert not any(module.training for module in codec.semantic_model.modules())
    assert not any(parameter.requires_grad for parameter in codec.semantic_model.parameters())
    first, again = (codec.semantic_features(noise(1, 2000)) for _ in range(2))
    assert torch.equal(first, again)
    codec.eval()


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (torch.zeros(118), "118 samples"),
        (torch.zeros(0), "0 samples"),
        (torch.zeros(1, 2, 4000), r"\[1, 2, 4000\]"),
        (torch.zeros(4000, dtype=torch.int16), "int16"),
        (torch.full((4000,), float("nan")), "not finite"),
    ],
)
def test_unusable_clips_are_refused_in_a_sentence(
    codec: Codec, samples: torch.Tensor, said: str
) -> None:
    with pytest.raises(AudioError, match=said):
        codec.encode(samples)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (torch.full((3, 4), 20), "span 20 to 20"),
        (torch.full((3, 4), -1), "span -1 to -1"),
        (torch.zeros(4, 4, dtype=torch.long), "4 rows"),
        (torch.zeros(0, 4, dtype=torch.long), "0 rows"),
        (torch.zeros(4, dtype=torch.long), r"\[4\]"),
        (torch.zeros(3, 4), "float32"),
    ],
)
def test_unusable_codes_are_refused_in_a_sentence(
    codec: Codec, codes: torch.Tensor, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        codec.decode(codes)


def test_exact_convolutions_last_until_the_last_thread_is_done() -> None:
    conv = getattr(torch.backends.cudnn, "conv", None)

    def setting() -> object:
        return torch.backends.cudnn.allow_tf32 if conv is None else conv.fp32_precision

    before, cuda = setting(), torch.device("cuda")
    one, other = full_precision(cuda), full_precision(cuda)
    one.__enter__()
    exact = setting()
    other.__enter__()
    one.__exit__(None, None, None)
    assert setting() == exact != before
    other.__exit__(None, None, None)
    assert setting() == before


def test_a_decoder_says_that_it_cannot_encode(decoder: Codec) -> None:
    with pytest.raises(AudioError, match="decoding only"):
        decoder.encode(noise(4000))


def test_decoding_starts_without_slow_imports(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, tmp_path, "original")
    program = f"""
import sys, torch
from pathlib import Path
from faster_higgs.codec.stream import StreamDecoder
from faster_higgs.checkpoint.codec_files import load_codec
codec = load_codec(Path({str(tmp_path)!r}), encoder=False)
codec.decode(torch.zeros(3, 2, dtype=torch.long))
assert not {{"transformers", "torch._dynamo"}} & set(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_resampling_keeps_a_tone_and_the_length() -> None:
    for length in (1, 2, 3, 1000, 24_000, 24_001):
        assert resample(torch.zeros(length), 24_000, 16_000).shape == (-(-2 * length // 3),)
        assert resampled_length(length, 24_000, 16_000) == -(-2 * length // 3)
    time = torch.arange(24_000) / 24_000
    tone = torch.sin(2 * torch.pi * 440 * time)
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    resampled = resample(tone, 24_000, 16_000)
    assert (resampled - expected)[100:-100].abs().max() < 2e-3
    assert resample(tone, 16_000, 16_000) is tone


def test_resampling_a_batch_is_resampling_each() -> None:
    clips = noise(2, 3, 500)
    batch = resample(clips, 24_000, 16_000)
    for row in range(2):
        torch.testing.assert_close(batch[row, 1], resample(clips[row, 1], 24_000, 16_000))
