"""The codec as others see it: samples to codes and back. Knows nothing of files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from faster_higgs.codec.acoustic import (
    AcousticDecoder,
    AcousticEncoder,
    decoder_context,
    encoded_length,
)
from faster_higgs.codec.quantizer import Quantizer
from faster_higgs.codec.semantic import (
    SEMANTIC_HOP,
    SEMANTIC_PAD,
    SemanticDecoder,
    SemanticEncoder,
    build_hubert,
    hubert_length,
    resample,
    resampled_length,
)
from faster_higgs.config import CodecConfig
from faster_higgs.errors import AudioError, InputError


class Codec(nn.Module):
    """Samples at 24 kHz to codes [K, F] and back; a frame is `hop` samples.

    Without `encoder` only what decoding needs is built. `training_parts` adds what only a codec's
    own training uses.
    """

    def __init__(
        self, config: CodecConfig, encoder: bool = True, training_parts: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size + config.hubert.hidden_size
        semantic = config.hubert.hidden_size
        self.quantizer = Quantizer(
            width, config.num_codebooks, config.codebook_size, config.codebook_dim
        )
        self.fc_post_acoustic = nn.Linear(width, config.hidden_size)
        self.acoustic_decoder = AcousticDecoder(
            config.decoder_hidden_size, config.hidden_size, config.ratios
        )
        if encoder:
            self.acoustic_encoder = AcousticEncoder(
                config.encoder_hidden_size, config.hidden_size, config.ratios
            )
            self.semantic_model = build_hubert(config.hubert)
            self.semantic_encoder = SemanticEncoder(semantic, config.semantic_blocks)
            self.fc_prior = nn.Linear(width, width)
        if training_parts:
            self.fc_post_semantic = nn.Linear(width, semantic)
            self.semantic_decoder = SemanticDecoder(semantic, config.semantic_blocks)

    @property
    def sample_rate(self) -> int:
        """Samples a second, in and out."""
        return self.config.sample_rate

    @property
    def hop(self) -> int:
        """Samples of one frame."""
        return self.config.hop

    @property
    def num_codebooks(self) -> int:
        """Rows of the codes."""
        return self.config.num_codebooks

    @property
    def context(self) -> int:
        """Frames on each side of a frame that its samples can depend on."""
        return max(decoder_context(self.config.ratios))

    @property
    def has_encoder(self) -> bool:
        """Whether this codec can encode."""
        return hasattr(self, "acoustic_encoder")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.fc_post_acoustic.weight.device

    def train(self, mode: bool = True) -> Codec:
        """As for any module, but HuBERT stays frozen."""
        super().train(mode)
        if self.has_encoder:
            self.semantic_model.eval()
        return self

    def frames(self, samples: int) -> int:
        """Frames `encode` makes of so many samples; zero if they are too few."""
        rate = resampled_length(samples, self.sample_rate, self.config.semantic_sample_rate)
        return -(-hubert_length(rate + 2 * SEMANTIC_PAD) // self._semantic_step)

    def acoustic_padding(self, samples: int) -> int:
        """Zeros on each side of so many samples that make both branches equally long."""
        equal = encoded_length(samples, self.config.ratios) == self.frames(samples)
        return 0 if equal else self.config.acoustic_pad

    @torch.no_grad()
    def encode(self, samples: Tensor) -> Tensor:
        """Codes of samples, [S] -> [K, F] or [B, S] -> [B, K, F]; the level matters."""
        self._check_samples(samples)
        batch = samples.to(self.fc_post_acoustic.weight).reshape(-1, samples.shape[-1])
        with full_precision(self.device):
            codes = self.quantizer.encode(self.latents(batch))
        return codes[0] if samples.dim() == 1 else codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Samples of codes, [K, F] -> [hop * F] or [B, K, F] -> [B, hop * F]; nothing clips.

        Fewer rows than codebooks are decoded by the first codebooks alone.
        """
        check_codes(codes, self.config)
        if not codes.shape[-1]:
            return self.fc_post_acoustic.weight.new_zeros(*codes.shape[:-2], 0)
        batch = codes.to(self.device).reshape(-1, *codes.shape[-2:])
        with full_precision(self.device):
            samples = self.synthesize(self.quantizer.decode(batch))
        return samples[0] if codes.dim() == 2 else samples

    def latents(self, samples: Tensor, features: Tensor | None = None) -> Tensor:
        """What the quantiser sees, [B, S] -> [B, Q, F]: acoustic channels first, then semantic.

        `features` [B, H, F] are HuBERT's, where they are known already: of a crop they depend on
        the whole clip.
        """
        heard = self.semantic_features(samples) if features is None else features
        semantic = self.semantic_encoder(heard)
        acoustic = self.acoustic_latents(samples)
        frames = min(acoustic.shape[-1], semantic.shape[-1])
        both = torch.cat([acoustic[..., :frames], semantic[..., :frames]], dim=1)
        return _linear(self.fc_prior, both)

    def acoustic_latents(self, samples: Tensor) -> Tensor:
        """Latents of the acoustic branch, [B, S] -> [B, D, F]."""
        pad = self.acoustic_padding(samples.shape[-1])
        latents: Tensor = self.acoustic_encoder(functional.pad(samples, (pad, pad))[:, None])
        return latents

    def semantic_samples(self, samples: Tensor) -> Tensor:
        """What HuBERT hears: [B, S] at its own rate, with a little silence on both sides."""
        slower = resample(samples, self.sample_rate, self.config.semantic_sample_rate)
        return functional.pad(slower, (SEMANTIC_PAD, SEMANTIC_PAD))

    def semantic_features(self, samples: Tensor) -> Tensor:
        """HuBERT's states averaged over its layers, one a frame, [B, S] -> [B, H, F]."""
        heard = self.semantic_samples(samples)
        states = self.semantic_model(heard, output_hidden_states=True).hidden_states
        mean = torch.stack(states).mean(dim=0)
        return mean[:, :: self._semantic_step].transpose(1, 2)

    def synthesize(self, quantized: Tensor) -> Tensor:
        """Samples of the quantiser's latents, [B, Q, F] -> [B, hop * F]."""
        samples: Tensor = self.acoustic_decoder(_linear(self.fc_post_acoustic, quantized))
        return samples[:, 0]

    def reconstruct_semantics(self, quantized: Tensor) -> Tensor:
        """HuBERT features guessed from the quantiser's latents, [B, Q, F] -> [B, H, F]."""
        features: Tensor = self.semantic_decoder(_linear(self.fc_post_semantic, quantized))
        return features

    @property
    def _semantic_step(self) -> int:
        ratio = self.sample_rate / self.config.semantic_sample_rate
        return int(self.hop / ratio / SEMANTIC_HOP)

    def _check_samples(self, samples: Tensor) -> None:
        if not self.has_encoder:
            raise AudioError(
                "This codec was loaded for decoding only, so it cannot encode a clip; "
                "load it with encoder=True."
            )
        if samples.dim() not in (1, 2) or not samples.is_floating_point():
            raise AudioError(
                f"A clip to encode must be float samples [S] or [B, S], not {samples.dtype} "
                f"{list(samples.shape)}; mix to one channel and scale to -1..1 first."
            )
        if not self.frames(samples.shape[-1]):
            raise AudioError(
                f"The clip has {samples.shape[-1]} samples, too few for one frame; "
                "give at least 0.01 seconds."
            )
        if not bool(torch.isfinite(samples).all()):
            raise AudioError("The clip holds values that are not finite numbers; read it again.")


def check_codes(codes: Tensor, config: CodecConfig) -> None:
    """Refuse codes that `config`'s codec cannot decode."""
    if codes.dim() not in (2, 3) or codes.is_floating_point() or codes.is_complex():
        raise InputError(
            f"Codes to decode must be integers [K, F] or [B, K, F], not {codes.dtype} "
            f"{list(codes.shape)}."
        )
    if not 1 <= codes.shape[-2] <= config.num_codebooks:
        raise InputError(
            f"The codes have {codes.shape[-2]} rows, and this codec has {config.num_codebooks} "
            "codebooks; they were made with another codec."
        )
    if not codes.numel():
        return
    low, high = (int(value) for value in codes.aminmax())
    if low < 0 or high >= config.codebook_size:
        raise InputError(
            f"The codes span {low} to {high}, but a codebook has entries 0 to "
            f"{config.codebook_size - 1}; cut off stream tokens before decoding."
        )


class _ExactConvolutions:
    """A setting of the whole process: changed by the first who needs it, restored by the last.

    Threads decode at the same time, so none of them may restore what another still needs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: object = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                owner, name, exact = self._setting()
                self._before = getattr(owner, name)
                setattr(owner, name, exact)

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                owner, name, _ = self._setting()
                setattr(owner, name, self._before)

    @staticmethod
    def _setting() -> tuple[object, str, object]:
        """One operation's setting where torch has it (2.9), else the one for all of cuDNN."""
        one = getattr(torch.backends.cudnn, "conv", None)
        if one is None:
            return torch.backends.cudnn, "allow_tf32", False
        return one, "fp32_precision", "ieee"


_EXACT = _ExactConvolutions()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep a GPU from rounding convolutions to TF32: codes would change, streams be inexact."""
    if device.type != "cuda":
        yield
        return
    _EXACT.enter()
    try:
        yield
    finally:
        _EXACT.leave()


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply to the channels of [B, C, F]."""
    out: Tensor = layer(x.transpose(1, 2))
    return out.transpose(1, 2)
