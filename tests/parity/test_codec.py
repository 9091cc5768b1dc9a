"""The codec against stored vectors of both published implementations (see the vectors' README).

HIGGS_PARITY_DIR names another set: other seeds, widths and numbers of codebooks. So every shape
here comes from the files.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soxr
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from faster_higgs.checkpoint.codec_files import load_codec, save_codec
from faster_higgs.codec.codec import Codec
from faster_higgs.codec.semantic import sinc_taps
from faster_higgs.errors import AudioError
from tests.parity.place import vectors

ROOT = vectors(os.environ.get("HIGGS_PARITY_DIR"), [Path.cwd()]) / "codec"
FOLDERS = {"orig": "original", "hf": "hf", "hf_fe": "hf"}
SURE = 1e-4  # a code may flip if its vector is closer than this to a decision boundary
FEATURES, WAVEFORM, INPUT = 1e-4, 5e-5, 1e-5


def keys_of(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:
        return set(file.keys())


CLIPS = {path.stem: keys_of(path) for path in sorted(ROOT.glob("clip_*.safetensors"))}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

both_layouts = pytest.mark.parametrize("flavour", ["orig", "hf"])


def clips_with(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("clip", [clip for clip, keys in CLIPS.items() if name in keys])


def flavours_with(name: str) -> pytest.MarkDecorator:
    """Every clip in every flavour that has `name`."""
    cases = [(c, f) for c, keys in CLIPS.items() for f in FOLDERS if f"{f}.{name}" in keys]
    return pytest.mark.parametrize(("clip", "flavour"), cases)


@cache
def codec_of(flavour: str) -> Codec:
    folder = ROOT / FOLDERS[flavour]
    if flavour == "orig" or (folder / "model.safetensors").is_file():
        return load_codec(folder, training_parts=True)
    # The copy in the repository holds the weights once; the other layout is written from them.
    with TemporaryDirectory() as written:
        save_codec(codec_of("orig"), Path(written), "transformers")
        shutil.copyfile(folder / "config.json", Path(written) / "config.json")
        return load_codec(Path(written), training_parts=True)


@cache
def stored_in(name: str) -> dict[str, Tensor]:
    path = ROOT / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"this set has no {path.name}")
    return load_file(path)


def wanted(clip: str, name: str) -> Tensor:
    if name not in stored_in(clip):
        pytest.skip(f"this set's {clip} has no {name}")
    return stored_in(clip)[name]


def assert_close(found: Tensor, expected: Tensor, atol: float, rtol: float = 0.0) -> None:
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)


def assert_codes(found: Tensor, expected: Tensor, margin: Tensor) -> None:
    """Equal wherever this codebook and all before it were sure, [.., K, F]."""
    sure = margin.cummin(dim=-2).values > SURE
    wrong = (found != expected) & sure
    assert found.shape == expected.shape
    assert not wrong.any(), f"{int(wrong.sum())} of {int(sure.sum())} sure codes differ"


def margin_of(codec: Codec, latents: Tensor) -> Tensor:
    """Distance of each projected residual to its nearest decision boundary, [B, K, F]."""
    residual, margins = latents.double().transpose(1, 2), []
    for layer in codec.quantizer.first():
        project = layer.project_in
        vectors_ = functional.linear(residual, project.weight.double(), project.bias.double())
        entries = layer.embed.double()
        distance = torch.cdist(vectors_, entries).square()
        codes = distance.argmin(-1)
        best = distance.gather(-1, codes[..., None])
        apart = torch.cdist(entries[codes], entries).clamp(min=1e-12)
        to_boundary = (distance - best) / (2 * apart)
        margins.append(to_boundary.scatter(-1, codes[..., None], math.inf).amin(-1))
        residual = residual - layer.decode(codes).double()
    return torch.stack(margins, dim=1)


@clips_with("common.wav16_padded")
@torch.no_grad()
def test_hubert_hears_the_same_samples_at_its_own_rate(clip: str) -> None:
    heard = codec_of("orig").semantic_samples(wanted(clip, "input.wav")[None])
    assert_close(heard[0], wanted(clip, "common.wav16_padded"), INPUT)


@both_layouts
@clips_with("common.hubert_hidden_states")
@torch.no_grad()
def test_hubert_states_match(clip: str, flavour: str) -> None:
    codec = codec_of(flavour)
    heard = codec.semantic_samples(wanted(clip, "input.wav")[None])
    states = torch.cat(codec.semantic_model(heard, output_hidden_states=True).hidden_states)
    assert_close(states, wanted(clip, "common.hubert_hidden_states"), FEATURES)
    assert_close(states.mean(0), wanted(clip, "common.hubert_mean"), FEATURES)


@both_layouts
@clips_with("common.e_semantic")
@torch.no_grad()
def test_semantic_branch_matches(clip: str, flavour: str) -> None:
    codec = codec_of(flavour)
    features = codec.semantic_features(wanted(clip, "input.wav")[None])
    assert_close(features[0], wanted(clip, "common.semantic_in"), FEATURES)
    assert_close(codec.semantic_encoder(features)[0], wanted(clip, "common.e_semantic"), FEATURES)


def heard_by(flavour: str, clip: str) -> Tensor:
    samples = wanted(clip, "input.wav")
    if flavour != "hf_fe":
        return samples
    return functional.pad(samples, (0, int(wanted(clip, "hf_fe.padded_len")) - len(samples)))


@flavours_with("prequant")
@torch.no_grad()
def test_acoustic_branch_and_quantiser_input_match(clip: str, flavour: str) -> None:
    codec, samples = codec_of(flavour), heard_by(flavour, clip)
    if f"{flavour}.acoustic_input_len" in stored_in(clip):
        length = len(samples) + 2 * codec.acoustic_padding(len(samples))
        assert length == int(wanted(clip, f"{flavour}.acoustic_input_len"))
    if f"{flavour}.e_acoustic" in stored_in(clip):
        acoustic = codec.acoustic_latents(samples[None])[0]
        assert_close(acoustic, wanted(clip, f"{flavour}.e_acoustic"), FEATURES)
    latents = codec.latents(samples[None])[0]
    assert_close(latents, wanted(clip, f"{flavour}.prequant"), FEATURES)


@flavours_with("codes")
def test_codes_match(clip: str, flavour: str) -> None:
    codes = codec_of(flavour).encode(heard_by(flavour, clip))
    expected, margin = wanted(clip, f"{flavour}.codes"), wanted(clip, f"{flavour}.code_margin")
    assert_codes(codes, expected, margin)


@flavours_with("quantized")
@torch.no_grad()
def test_decoder_input_matches(clip: str, flavour: str) -> None:
    codec = codec_of(flavour)
    quantized = codec.quantizer.decode(wanted(clip, f"{flavour}.codes")[None])[0]
    assert_close(quantized, wanted(clip, f"{flavour}.quantized"), FEATURES)
    latent = codec.fc_post_acoustic(quantized.t()).t()
    assert_close(latent, wanted(clip, f"{flavour}.fc_post2"), FEATURES)


@flavours_with("waveform")
def test_waveforms_match(clip: str, flavour: str) -> None:
    samples = codec_of(flavour).decode(wanted(clip, f"{flavour}.codes"))
    assert_close(samples, wanted(clip, f"{flavour}.waveform"), WAVEFORM)


@clips_with("orig.forward_waveform")
def test_the_originals_forward_is_encode_then_decode(clip: str) -> None:
    expected = wanted(clip, "orig.forward_waveform")
    codec = codec_of("orig")
    assert_close(codec.decode(codec.encode(wanted(clip, "input.wav"))), expected, WAVEFORM)


@flavours_with("semantic_recon")
@torch.no_grad()
def test_training_can_rebuild_the_semantic_features(clip: str, flavour: str) -> None:
    codec = codec_of(flavour)
    quantized = codec.quantizer.decode(wanted(clip, f"{flavour}.codes")[None])
    rebuilt = codec.reconstruct_semantics(quantized)[0]
    assert_close(rebuilt, wanted(clip, f"{flavour}.semantic_recon"), FEATURES)
    if "orig.forward_semantic_loss" in stored_in(clip):
        features = codec.semantic_features(wanted(clip, "input.wav")[None])[0]
        loss = functional.mse_loss(rebuilt, features)[None]
        assert_close(loss, wanted(clip, "orig.forward_semantic_loss"), FEATURES)


@both_layouts
def test_codes_that_were_never_encoded_decode_alike(flavour: str) -> None:
    stored = stored_in("decode_only")
    if f"{flavour}.waveform" in stored:
        samples = codec_of(flavour).decode(stored["codes"])
        assert_close(samples, stored[f"{flavour}.waveform"], WAVEFORM)


def test_a_batch_of_padded_clips_gives_the_codes_of_the_transformers_model() -> None:
    expected = stored_in("batch_hf")["batch_hf.codes"]
    codec = codec_of("hf")
    clips = [wanted(clip, "input.wav") for clip in ("clip_t1000", "clip_t0300")]
    longest = max(len(clip) for clip in clips)
    batch = torch.stack([functional.pad(clip, (0, longest - len(clip))) for clip in clips])
    with torch.no_grad():
        margin = margin_of(codec, codec.latents(batch))
    assert_codes(codec.encode(batch), expected, margin)
    assert_codes(codec.encode(clips[0]), expected[0], margin[0])


def test_resampling_filter_matches() -> None:
    expected = stored_in("resample")["torchaudio_kernel_24k_to_16k"]
    assert_close(sinc_taps(3, 2), expected, 1e-6)


def test_a_clip_of_another_rate_gives_the_originals_codes() -> None:
    stored = stored_in("resample")
    (source,) = (name for name in stored if name.startswith("in_"))
    (target,) = (name for name in stored if name.startswith("out_"))
    rate, new_rate = int(source.split("_")[1]), int(target.split("_")[1])
    clip, expected = stored[source].numpy(), stored[target]
    length = math.ceil(len(clip) * (float(new_rate) / rate))
    resampled = soxr.resample(clip, rate, new_rate, quality="HQ")[:length]
    padded = torch.from_numpy(np.pad(resampled, (0, length - len(resampled))))
    assert_close(padded, expected, INPUT)
    codec = codec_of("orig")
    with torch.no_grad():
        margin = margin_of(codec, codec.latents(expected[None]))[0]
    assert_codes(codec.encode(padded), stored["orig.codes"], margin)


@both_layouts
def test_lengths_match(flavour: str) -> None:
    rows = json.loads((ROOT / "lengths.json").read_text())["rows"]
    codec = codec_of(flavour)
    for row in rows:
        length, frames = row["T"], row["frames"]
        if frames is None:
            with pytest.raises(AudioError):
                codec.encode(torch.zeros(length))
            continue
        assert codec.frames(length) == frames
        padding = row["original_pad" if flavour == "orig" else "hf_pad"]
        assert codec.acoustic_padding(length) == padding
        if length < 2 * codec.hop:
            assert codec.encode(torch.zeros(length)).shape == (codec.num_codebooks, frames)


def test_a_training_step_of_the_quantiser_matches() -> None:
    stored = stored_in("train_step")
    codec = load_codec(ROOT / "original")
    layers = codec.quantizer.first()
    buffers = ("embed", "embed_avg", "cluster_size")
    for index, layer in enumerate(layers):
        for name in buffers:
            getattr(layer, name).copy_(stored[f"before_layer{index}_{name}"])
    x = stored["x"].clone().requires_grad_()
    step = codec.quantizer.train_step(x)
    loss = step.commitment + (step.quantized * stored["w"]).sum()
    loss.backward()
    assert torch.equal(step.codes.transpose(0, 1), stored["codes"])
    close = partial(assert_close, atol=1e-5, rtol=1e-5)
    close(step.quantized, stored["quantized"])
    close(step.commitment[None], stored["commit_loss"])
    close(loss[None], stored["loss"])
    assert x.grad is not None
    close(x.grad, stored["grad_x"])
    for index, layer in enumerate(layers):
        for name in buffers:
            close(getattr(layer, name), stored[f"after_layer{index}_{name}"])
        for name, parameter in layer.named_parameters():
            key = f"grad_layer{index}_{name.replace('.', '_')}"
            if key in stored:
                close(parameter.grad, stored[key])


def stages(codec: Codec) -> dict[str, nn.Module]:
    """Our modules by the names the debug file gives their outputs."""
    named: dict[str, nn.Module] = {}
    for half in ("acoustic_encoder", "acoustic_decoder"):
        module = getattr(codec, half)
        parts = [module.first, *module.blocks, module.snake, module.last]
        named |= {f"{half}.{index}": part for index, part in enumerate(parts)}
    hubert = codec.semantic_model
    for index, part in enumerate(hubert.feature_extractor.conv_layers):
        named[f"hubert.conv_layer{index}"] = part
    named["hubert.feature_projection"] = hubert.feature_projection
    named["hubert.pos_conv_embed"] = hubert.encoder.pos_conv_embed
    named["hubert.encoder_layer_norm"] = hubert.encoder.layer_norm
    for index, part in enumerate(hubert.encoder.layers):
        named[f"hubert.layer{index}.attention"] = part.attention
        named[f"hubert.layer{index}.out"] = part
    named["encoder_semantic.conv"] = codec.semantic_encoder.first
    for index, part in enumerate(codec.semantic_encoder.blocks):
        named[f"encoder_semantic.block{index}"] = part
    named["fc_post2"] = codec.fc_post_acoustic
    for index, layer in enumerate(codec.quantizer.first()):
        named[f"rvq.layer{index}.projected"] = layer.project_in
        named[f"rvq.layer{index}.quantized"] = layer.project_out
    return named


def test_every_stage_of_the_original_matches() -> None:
    names = sorted(path.stem for path in ROOT.glob("debug_*.safetensors"))
    if not names:
        pytest.skip("this set has no debug vectors")
    stored, clip = stored_in(names[0]), names[0].replace("debug_", "clip_")
    codec = load_codec(ROOT / "original")
    seen: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, out: Tensor | tuple[Tensor, ...]) -> None:
            # A copy: what comes next may write over it.
            seen.setdefault(name, (out if isinstance(out, Tensor) else out[0]).clone())

        return hook

    for name, module in stages(codec).items():
        module.register_forward_hook(remember(name))
    codes = codec.encode(wanted(clip, "input.wav"))
    codec.decode(codes)
    residual = wanted(clip, "orig.prequant")[None]
    for index in range(codec.num_codebooks):
        seen[f"rvq.layer{index}.residual_in"] = residual
        out = seen[f"rvq.layer{index}.quantized"] = seen[f"rvq.layer{index}.quantized"].mT
        residual = residual - out
    missing = [name for name in stored if name not in seen]
    assert not missing
    for name, expected in stored.items():
        assert_close(seen[name].reshape(expected.shape), expected, FEATURES)
