"""What a codec's tensor shapes and config files say, and the config files to write beside it.

Widths come from shapes; a config is asked only for what shapes cannot say. Knows no weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faster_higgs.checkpoint.layout import Matched
from faster_higgs.checkpoint.tensors import TensorFiles
from faster_higgs.codec.semantic import KERNELS, SEMANTIC_HOP, STRIDES
from faster_higgs.config import CodecConfig, HubertShape, Layout
from faster_higgs.errors import CheckpointError

# What tensor shapes cannot say: these values change the maths, and only these are supported.
_SUPPORTED: dict[str, Any] = {
    "strides": 1,
    "block_dilations": 1,
    "downsample_factor": SEMANTIC_HOP,
    "downsample_mode": "step_down",
    "last_layer_semantic": True,
    "vq_scale": 1,
}
_SUPPORTED_HUBERT: dict[str, Any] = {
    "conv_kernel": list(KERNELS),
    "conv_stride": list(STRIDES),
    "conv_bias": False,
    "conv_pos_batch_norm": False,
    "do_stable_layer_norm": False,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
_SAMPLE_RATE = 24_000
_SEMANTIC_SAMPLE_RATE = 16_000
_HEAD_WIDTH = 64  # of HuBERT-base, where no config says it


@dataclass(frozen=True)
class StoredCodec:
    """What the shapes of the stored tensors say about the codec."""

    files: TensorFiles
    matched: Matched

    def config(self, settings: Mapping[str, Any], layout: str, encoder: bool) -> CodecConfig:
        """The config of these tensors; `encoder` if the encoding half must be among them."""
        if encoder and "acoustic_encoder.first.weight" not in self.matched.recipes:
            raise CheckpointError(
                f"The codec in '{self.files.folder}' can only decode; cloning a voice needs one "
                "that can encode."
            )
        count, size = self._count, self._size
        ratios = tuple(
            size(f"acoustic_decoder.blocks.{block}.up.weight", 2) // 2
            for block in range(count(r"acoustic_decoder\.blocks\.(\d+)\.up\.weight"))
        )
        latent = size("acoustic_decoder.first.weight", 1)
        config = CodecConfig(
            encoder_hidden_size=size("acoustic_encoder.first.weight", 0),
            decoder_hidden_size=size("acoustic_decoder.first.weight", 0),
            hidden_size=latent,
            codebook_size=size("quantizer.layers.0.embed", 0),
            codebook_dim=size("quantizer.layers.0.embed", 1),
            num_codebooks=count(r"quantizer\.layers\.(\d+)\.embed"),
            hubert=self._hubert(settings, size("fc_post_acoustic.weight", 1) - latent),
            acoustic_pad=0,
            ratios=ratios,
            sample_rate=_number(settings, "sample_rate", _SAMPLE_RATE),
            semantic_sample_rate=_number(settings, "semantic_sample_rate", _SEMANTIC_SAMPLE_RATE),
            semantic_blocks=count(r"semantic_encoder\.blocks\.(\d+)\.conv\.weight"),
        )
        if not _is_whole(config) or (encoder and not _is_whole_hubert(config.hubert)):
            raise CheckpointError(
                f"The codec in '{self.files.folder}' lacks tensors that tell its shape, or they "
                "are damaged; download it again."
            )
        pad = _number(settings, "acoustic_pad", _published_pad(config, layout), least=0)
        return replace(config, acoustic_pad=pad)

    def _hubert(self, settings: Mapping[str, Any], width: int) -> HubertShape:
        layers = self._count(r"semantic_model\.encoder\.layers\.(\d+)\.attention\.q_proj\.weight")
        heads = _number(settings, "num_attention_heads", max(1, width // _HEAD_WIDTH))
        position = "semantic_model.encoder.pos_conv_embed.conv.weight"
        inner = "semantic_model.encoder.layers.0.feed_forward.intermediate_dense.weight"
        convolutions = r"semantic_model\.feature_extractor\.conv_layers\.(\d+)\.conv\.weight"
        if width % heads:
            raise CheckpointError(
                f"The config in '{self.files.folder}' gives HuBERT {heads} attention heads for a "
                f"width of {width}, which does not divide; use the config that came with the codec."
            )
        return HubertShape(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=self._size(inner, 0),
            conv_dim=tuple(
                self._size(f"semantic_model.feature_extractor.conv_layers.{n}.conv.weight", 0)
                for n in range(self._count(convolutions))
            ),
            num_conv_pos_embeddings=self._size(position, 2),
            num_conv_pos_embedding_groups=width // max(1, self._size(position, 1)),
        )

    def _size(self, name: str, axis: int) -> int:
        """One size of our tensor `name`, 0 if it is not there (the loader then says what is)."""
        recipe = self.matched.recipes.get(name)
        try:
            shape = recipe.shape(self.files.shapes) if recipe else ()
        except RuntimeError:
            shape = ()
        return shape[axis] if axis < len(shape) else 0

    def _count(self, pattern: str) -> int:
        found = (re.fullmatch(pattern, name) for name in self.matched.recipes)
        return len({one[1] for one in found if one})


def _is_whole(config: CodecConfig) -> bool:
    """Whether a tensor was there for every size that decoding needs."""
    widths = (config.decoder_hidden_size, config.hidden_size, config.hubert.hidden_size)
    books = (config.num_codebooks, config.codebook_size, config.codebook_dim)
    return bool(config.ratios) and min(*widths, *books, *config.ratios) > 0


def _is_whole_hubert(shape: HubertShape) -> bool:
    """Whether a tensor was there for every size."""
    sizes = (shape.hidden_size, shape.num_hidden_layers, shape.intermediate_size)
    positions = (shape.num_conv_pos_embeddings, shape.num_conv_pos_embedding_groups)
    return bool(shape.conv_dim) and min(*sizes, *positions, *shape.conv_dim) > 0


def _published_pad(config: CodecConfig, layout: str) -> int:
    """Zeros on each side if the branches' lengths differ; the two publishers chose differently."""
    if layout == "transformers":
        return config.hop // 2
    return 160 * int(config.hop * config.semantic_sample_rate / config.sample_rate / 320)


def read_settings(folder: Path) -> dict[str, Any]:
    """What shapes cannot say, from whichever config files are there."""
    config = _json(folder / "config.json")
    hubert = config.get("semantic_model_config") or _json(folder / "hubert" / "config.json")
    if not isinstance(hubert, dict):
        raise CheckpointError(
            f"The codec's config.json sets semantic_model_config to {hubert!r}; "
            "use the config that came with the codec."
        )
    _refuse_unsupported("The codec's config.json", config, _SUPPORTED)
    _refuse_unsupported("The config of the codec's HuBERT", hubert, _SUPPORTED_HUBERT)
    wanted = ("sample_rate", "semantic_sample_rate", "acoustic_pad")
    settings = {key: config[key] for key in wanted if key in config}
    return {**settings, "num_attention_heads": hubert.get("num_attention_heads")}


def _refuse_unsupported(
    where: str, config: Mapping[str, Any], supported: Mapping[str, Any]
) -> None:
    """Raises CheckpointError for a value, or one of a list of values, that is not supported."""
    for key, only in supported.items():
        found = config.get(key, only)
        one_each = isinstance(found, list) and not isinstance(only, list)
        if any(one != only for one in (found if one_each else [found])):
            raise CheckpointError(f"{where} sets {key} to {found!r}; only {only!r} is supported.")


def _number(settings: Mapping[str, Any], key: str, default: int, least: int = 1) -> int:
    """A whole number from the settings, the default where none is given."""
    found = settings.get(key)
    if found is None:
        return default
    if not isinstance(found, int) or isinstance(found, bool) or found < least:
        raise CheckpointError(
            f"The codec's config sets {key} to {found!r}; it must be a whole number from {least}. "
            "Use the config that came with the codec."
        )
    return found


def _json(path: Path) -> dict[str, Any]:
    """The config in `path`, empty where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CheckpointError(f"The file '{path}' cannot be read: {error}.") from None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise CheckpointError(f"The file '{path}' is not a config; download the codec again.")
    return data


def config_files(config: CodecConfig, layout: Layout) -> dict[str, dict[str, Any]]:
    """The config files of `layout` by name."""
    default = _published_pad(config, layout)
    pad = {} if config.acoustic_pad == default else {"acoustic_pad": config.acoustic_pad}
    if layout == "original":
        return {
            "config.json": {**_original_config(config), **pad},
            "hubert/config.json": _hubert_config(config.hubert),
        }
    return {
        "config.json": {**_transformers_config(config), **pad},
        "preprocessor_config.json": {
            "feature_extractor_type": "DacFeatureExtractor",
            "feature_size": 1,
            "hop_length": config.hop,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "sampling_rate": config.sample_rate,
        },
    }


def _original_config(config: CodecConfig) -> dict[str, Any]:
    rate = config.semantic_sample_rate
    other_rate = {} if rate == _SEMANTIC_SAMPLE_RATE else {"semantic_sample_rate": rate}
    return {
        "n_filters": 32,
        "D": config.hidden_size,
        "codebook_dim": config.codebook_dim,
        "target_bandwidths": _bandwidths(config),
        "ratios": list(config.ratios),
        "sample_rate": config.sample_rate,
        "bins": config.codebook_size,
        "n_q": config.num_codebooks,
        "semantic_techer": "hubert_base_general",  # the published spelling
        **other_rate,
    }


def _transformers_config(config: CodecConfig) -> dict[str, Any]:
    return {
        "model_type": "higgs_audio_v2_tokenizer",
        "architectures": ["HiggsAudioV2TokenizerModel"],
        "sample_rate": config.sample_rate,
        "semantic_sample_rate": config.semantic_sample_rate,
        "downsample_factor": 320,
        "codebook_size": config.codebook_size,
        "codebook_dim": config.codebook_dim,
        "kernel_size": 3,
        "unit_kernel_size": 3,
        "strides": [1] * config.semantic_blocks,
        "channel_ratios": [1] * config.semantic_blocks,
        "block_dilations": [1, 1],
        "initializer_range": 0.02,
        "target_bandwidths": _bandwidths(config),
        "acoustic_model_config": {
            "model_type": "dac",
            "encoder_hidden_size": config.encoder_hidden_size,
            "decoder_hidden_size": config.decoder_hidden_size,
            "hidden_size": config.hidden_size,
            "downsampling_ratios": list(config.ratios),
            "upsampling_ratios": list(config.ratios),
            "hop_length": config.hop,
        },
        "semantic_model_config": _hubert_config(config.hubert),
    }


def _hubert_config(shape: HubertShape) -> dict[str, Any]:
    return {
        "model_type": "hubert",
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "intermediate_size": shape.intermediate_size,
        "conv_dim": list(shape.conv_dim),
        "num_conv_pos_embeddings": shape.num_conv_pos_embeddings,
        "num_conv_pos_embedding_groups": shape.num_conv_pos_embedding_groups,
        "mask_time_prob": 0.0,
    }


def _bandwidths(config: CodecConfig) -> list[float]:
    """Kilobits a second of a quarter, half, three quarters and all of the codebooks.

    Readers divide the last one by the bits of a codebook and round down to count the codebooks.
    """
    bits = math.ceil(math.log2(config.codebook_size)) * math.ceil(config.frame_rate)
    counts = [config.num_codebooks * part // 4 for part in (1, 2, 3, 4)]
    return [_at_least(count * bits / 1000, count * bits) for count in counts if count]


def _at_least(kilobits: float, bits: int) -> float:
    return kilobits if 1000 * kilobits >= bits else math.nextafter(kilobits, math.inf)
