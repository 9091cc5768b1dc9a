"""The codec against transformers' own class, live, on random weights of random shapes."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from faster_higgs.checkpoint.codec_files import load_codec, save_codec
from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CODEC_MODULE = "transformers.models.higgs_audio_v2_tokenizer.modeling_higgs_audio_v2_tokenizer"
HUBERT = HubertShape(
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=40,
    conv_dim=(12,) * 7,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=6,
)
SHAPES = {
    "published ratios": CodecConfig(3, 64, 10, 64, 6, 8, HUBERT, 480),
    "five codebooks": CodecConfig(2, 32, 8, 50, 4, 5, HUBERT, 480),
}


def resample(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    """torchaudio's resampling in its plain form, [.., S]; stored vectors hold its filter."""
    rate, new_rate = rate // math.gcd(rate, new_rate), new_rate // math.gcd(rate, new_rate)
    cutoff = 0.99 * min(rate, new_rate)  # in units of the common rate
    length = -(-samples.shape[-1] * new_rate // rate)
    reach = math.ceil(6 * rate / cutoff)  # six zero crossings on each side
    out = torch.arange(length)[:, None]
    into = out * rate // new_rate + torch.arange(-reach, reach + 2)
    time = (cutoff * (into.double() / rate - out.double() / new_rate)).clamp(-6, 6)
    weights = torch.sinc(time) * torch.cos(time * math.pi / 12).square() * cutoff / rate
    padded = functional.pad(samples.double(), (reach, 2 * reach + 2))
    return (padded[..., into + reach] * weights).sum(-1).to(samples.dtype)


@pytest.fixture(scope="module")
def tokenizer_class() -> Iterator[type[Any]]:
    """transformers' class, without torchaudio: its builds want one certain build of torch."""
    audio, functions = ModuleType("torchaudio"), ModuleType("torchaudio.functional")
    audio.__spec__ = ModuleSpec("torchaudio", None)
    audio.functional, functions.resample = functions, resample  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", audio)
        patch.setitem(sys.modules, "torchaudio.functional", functions)
        patch.delitem(sys.modules, CODEC_MODULE, raising=False)
        yield import_module(CODEC_MODULE).HiggsAudioV2TokenizerModel


@pytest.fixture(scope="module", params=list(SHAPES))
def pair(
    request: pytest.FixtureRequest, tokenizer_class: type[Any], tmp_path_factory: Any
) -> Iterator[tuple[Codec, Any]]:
    """Our codec, and the class of transformers reading what we saved."""
    torch.manual_seed(len(request.param))
    codec = Codec(SHAPES[request.param], training_parts=True).eval()
    with torch.no_grad():
        for name, parameter in codec.named_parameters():
            if name.endswith("alpha"):
                parameter.uniform_(-2, 2)
    folder: Path = tmp_path_factory.mktemp("codec")
    save_codec(codec, folder, "transformers")
    theirs, report = tokenizer_class.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    yield codec, theirs.eval()


def assert_codes(codec: Codec, found: Tensor, expected: Tensor) -> None:
    """Nearly all equal: random weights put the odd vector on a boundary."""
    assert found.shape == expected.shape
    first = found[:, 0] == expected[:, 0]
    assert first.float().mean() > 0.98, codec.config
    assert (found == expected).float().mean() > 0.95, codec.config


@pytest.mark.parametrize("length", [119, 480, 960, 1079, 7200, 9600, 9840])
@torch.no_grad()
def test_encoding_agrees(pair: tuple[Codec, Any], length: int) -> None:
    codec, theirs = pair
    clips = torch.randn(2, length) * 0.2
    assert_codes(codec, codec.encode(clips), theirs.encode(clips[:, None]).audio_codes)


@torch.no_grad()
def test_every_part_agrees(pair: tuple[Codec, Any]) -> None:
    codec, theirs = pair
    clips = torch.randn(2, 9600) * 0.2
    features = theirs._extract_semantic_features(clips[:, None]).mT
    torch.testing.assert_close(codec.semantic_features(clips), features, atol=1e-4, rtol=1e-4)
    semantic = theirs.encoder_semantic(features)
    torch.testing.assert_close(codec.semantic_encoder(features), semantic, atol=1e-4, rtol=1e-4)
    acoustic = theirs.acoustic_encoder(clips[:, None])
    torch.testing.assert_close(codec.acoustic_latents(clips), acoustic, atol=1e-4, rtol=1e-4)
    quantized = torch.randn(2, codec.fc_prior.in_features, 9)
    rebuilt = theirs.decoder_semantic(theirs.fc1(quantized.mT).mT)
    torch.testing.assert_close(codec.reconstruct_semantics(quantized), rebuilt)


@torch.no_grad()
def test_decoding_agrees(pair: tuple[Codec, Any]) -> None:
    codec, theirs = pair
    for rows in (codec.num_codebooks, 1):
        codes = torch.randint(codec.config.codebook_size, (2, rows, 12))
        expected = theirs.decode(codes).audio_values[:, 0]
        torch.testing.assert_close(codec.decode(codes), expected, atol=1e-5, rtol=1e-4)


def test_what_transformers_saves_we_load(pair: tuple[Codec, Any], tmp_path: Path) -> None:
    codec, theirs = pair
    theirs.save_pretrained(tmp_path)
    loaded = load_codec(tmp_path, training_parts=True)
    assert loaded.config == codec.config
    for name, value in codec.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
