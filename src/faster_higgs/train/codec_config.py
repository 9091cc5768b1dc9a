"""What an operator says about training the codec. Knows nothing of tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from faster_higgs.errors import SettingError
from faster_higgs.train.codec_losses import SpectralSettings
from faster_higgs.train.config import OptimizerSettings

Mode = Literal["decoder", "encoder", "joint"]


@dataclass(frozen=True)
class CodecLossWeights:
    """What each distance counts for; a weight of 0 leaves it out."""

    mel: float = 1.0
    magnitude: float = 0.2
    log_magnitude: float = 0.2
    samples: float = 0.0
    commitment: float = 0.25
    semantic: float = 1.0
    latents: float = 1.0
    adversarial: float = 0.05
    features: float = 0.1


@dataclass(frozen=True)
class CodecSettings:
    """One mode of codec training.

    decoder: given codes to samples; everything else stays.
    encoder: samples to given latents; everything else stays.
    joint: samples through the codes to samples, gradients straight through the quantiser. Where
    clips come with latents, the encoder is held to them as well.
    """

    mode: Mode
    batch: int = 8
    frames: int = 24  # of a crop that is compared
    context: int = 0  # frames on each side that are worked out but not compared
    seed: int = 0
    autocast: bool = False
    follow: bool = False  # joint: whether the codebooks move with what they code
    semantic: bool = False  # encoder, joint: whether HuBERT learns as well
    only: tuple[str, ...] = ()  # beginnings of names: of the mode's weights just these learn
    given: float = 0.0  # joint: share of the crops that are decoded from the codes given with them
    discriminate_from: int | None = None  # the step at which the discriminator joins
    judged: int | None = None  # crops of a batch that it looks at; None means: all
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(
            1e-3, betas=(0.8, 0.99), weight_decay=0.0, clip=10.0
        )
    )
    discriminator: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(
            5e-4, betas=(0.8, 0.99), weight_decay=0.0, clip=10.0
        )
    )
    weights: CodecLossWeights = field(default_factory=CodecLossWeights)
    spectral: SpectralSettings = field(default_factory=SpectralSettings)

    def __post_init__(self) -> None:
        if self.mode not in ("decoder", "encoder", "joint"):
            raise SettingError(
                f"The mode is {self.mode!r}; it can be 'decoder', 'encoder' or 'joint'."
            )
        if min(self.batch, self.frames) < 1 or self.context < 0:
            raise SettingError("batch and frames must be at least 1, context at least 0.")
        if not 0 <= self.given < 1 or (self.given and self.mode != "joint"):
            raise SettingError("given is a share from 0 to below 1, and only of mode 'joint'.")
        if self.semantic and self.mode == "decoder":
            raise SettingError("Mode 'decoder' does not use HuBERT, so semantic must be false.")
        if self.discriminate_from is not None and self.mode == "encoder":
            raise SettingError("An encoder makes no sound, so there is nothing to discriminate.")
