"""Training of the codec: decoder on frozen codes, encoder onto given latents, or both together.

Knows nothing of files or of the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from faster_higgs.codec.codec import Codec
from faster_higgs.errors import SettingError
from faster_higgs.train.codec_config import CodecSettings
from faster_higgs.train.codec_losses import SpectralDistance
from faster_higgs.train.config import OptimizerSettings
from faster_higgs.train.crops import CropBatch, Crops
from faster_higgs.train.discriminator import Discriminator, discriminator_loss, maker_loss

TRAINED = {
    "decoder": ("fc_post_acoustic.", "acoustic_decoder."),
    "encoder": ("acoustic_encoder.", "semantic_encoder.", "fc_prior."),
    "joint": (
        "fc_post_acoustic.",
        "acoustic_decoder.",
        "acoustic_encoder.",
        "semantic_encoder.",
        "fc_prior.",
        "fc_post_semantic.",
        "semantic_decoder.",
    ),
}
"""Parameters of each mode by the start of their names; the quantiser's tables stay."""


class Made(NamedTuple):
    """What the codec made of a batch: samples where there is sound, and the terms of its own."""

    samples: Tensor | None  # [B, S]
    terms: dict[str, Tensor]


class CodecTask:
    """The codec, its crops, its optimisers, and a discriminator if one is wanted."""

    def __init__(
        self,
        codec: Codec,
        crops: Crops,
        settings: CodecSettings,
        *,
        held_out: Crops | None = None,
        discriminator: Discriminator | None = None,
    ) -> None:
        self.codec, self.crops, self.settings = codec, crops, settings
        self.device = codec.device
        self.distance = SpectralDistance(settings.spectral).to(self.device)
        self.discriminator = discriminator
        if settings.discriminate_from is not None and discriminator is None:
            self.discriminator = Discriminator()
        if self.discriminator is not None:
            self.discriminator.to(self.device)
        _check(codec, crops, settings)
        self._optimizers = self._make_optimizers()
        self.held_out = None if held_out is None else held_out.spread(4 * settings.batch)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        judge = self.discriminator
        return {"codec": self.codec, **({} if judge is None else {"discriminator": judge})}

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        return self._optimizers

    def place(self) -> dict[str, Any]:
        """Crops are a function of the step, so there is nothing to remember."""
        return {}

    def seek(self, place: dict[str, Any]) -> None:
        """Nothing to go back to."""

    def whole(self) -> AbstractContextManager[None]:
        """One process trains, and has all."""
        return nullcontext()

    def step(self, step: int) -> dict[str, float]:
        """One optimiser step of the codec, and one of the discriminator once it has joined."""
        batch = _to(self.crops.draw(step, self.settings.batch), self.device)
        with self._autocast():
            made = self._make(batch)
        terms = {**made.terms, **self._compare(made, batch)}
        metrics = {f"loss_{name}": float(term.detach()) for name, term in terms.items()}
        loss = self._total(terms)
        metrics["loss"] = float(loss.detach())
        joined = self.settings.discriminate_from
        if joined is not None and step >= joined and made.samples is not None:
            pull, judged = self._judge(batch.samples, made.samples)
            loss = loss + pull
            metrics |= judged
        self._optimizers["codec"].zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        metrics["gradient_norm"] = self._apply("codec", self.settings.optimizer, metrics)
        metrics["num_audio_s"] = batch.samples.numel() / self.codec.sample_rate
        return metrics

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The same distances on held-out crops; codes that differ where codes are given."""
        if self.held_out is None:
            return {}
        batch = _to(self.held_out, self.device)
        made = self._make(batch, follow=False)
        terms = {**made.terms, **self._compare(made, batch)}
        metrics = {"loss": float(self._total(terms))}
        metrics |= {f"loss_{name}": float(term) for name, term in terms.items()}
        if made.samples is not None:
            sound = self._compared(made.samples), self._compared(batch.samples)
            parts = {"": slice(None)}
            if self.settings.given:
                parts["_given"] = slice(self._encoded(batch), None)
            for name, part in parts.items():
                pair = (one[part] for one in sound)
                metrics[f"mel_db{name}"] = self.distance.mel_decibels(*pair)
        if self.settings.mode != "decoder" and batch.codes is not None and not self.settings.follow:
            latents = self.codec.latents(batch.samples, batch.features)
            codes = self.codec.quantizer.encode(latents)
            same = self._inner(codes) == self._inner(batch.codes)
            for k, share in enumerate(same.float().mean((0, 2)).tolist()):
                metrics[f"agreement_codebook_{k}"] = share
        return metrics

    def _make(self, batch: CropBatch, follow: bool = True) -> Made:
        codec, mode = self.codec, self.settings.mode
        if mode == "decoder":
            assert batch.codes is not None
            with torch.no_grad():
                quantized = codec.quantizer.decode(batch.codes)
            return Made(codec.synthesize(quantized).float(), {})
        heard = batch.samples[: self._encoded(batch)]
        features = None if batch.features is None else batch.features[: len(heard)]
        latents, terms = codec.latents(heard, features), {}
        if batch.latents is not None:
            have, want = self._inner(latents.float()), self._inner(batch.latents[: len(heard)])
            terms["latents"] = functional.mse_loss(have, want) / want.var()
        if mode == "encoder":
            return Made(None, terms)
        coded = codec.quantizer.train_step(latents, follow=follow and self.settings.follow)
        terms["commitment"] = coded.commitment
        if hasattr(codec, "semantic_decoder"):
            if features is None:
                features = codec.semantic_features(heard).detach()
            guessed = codec.reconstruct_semantics(coded.quantized)
            terms["semantic"] = functional.mse_loss(guessed, features)
        quantized = coded.quantized
        if batch.codes is not None and len(heard) < len(batch.samples):
            given = codec.quantizer.decode(batch.codes[len(heard) :])
            quantized = torch.cat([quantized, given])
        return Made(codec.synthesize(quantized).float(), terms)

    def _encoded(self, batch: CropBatch) -> int:
        """How many crops of a batch, from its start, go through the encoder."""
        return len(batch.samples) - int(self.settings.given * len(batch.samples))

    def _compare(self, made: Made, batch: CropBatch) -> dict[str, Tensor]:
        if made.samples is None:
            return {}
        have, want = self._compared(made.samples), self._compared(batch.samples)
        distances = self.distance(have, want)._asdict()
        if self.settings.weights.samples:
            distances["samples"] = functional.l1_loss(have, want)
        return dict(distances)

    def _judge(self, real: Tensor, made: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Teach the discriminator; what it tells the maker comes as a term with that gradient.

        Both are judged once: the same pass gives the discriminator's gradients and the maker's.
        """
        judge = self.discriminator
        assert judge is not None
        count = self.settings.judged or len(real)
        real, made = self._compared(real)[:count], self._compared(made)[:count]
        leaf = made.detach().requires_grad_()
        seen, doubted = judge(real), judge(leaf)
        verdict = maker_loss(seen, doubted)
        weights = self.settings.weights
        told = weights.adversarial * verdict.adversarial + weights.features * verdict.features
        (gradient,) = torch.autograd.grad(told, leaf, retain_graph=True)
        loss = discriminator_loss(seen, doubted)
        parameters = list(judge.parameters())
        for weight, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            weight.grad = slope
        metrics = {
            "loss_discriminator": float(loss.detach()),
            "loss_adversarial": float(verdict.adversarial.detach()),
            "loss_features": float(verdict.features.detach()),
        }
        self._apply("discriminator", self.settings.discriminator, metrics)
        return (made * gradient).sum(), metrics

    def _apply(self, name: str, settings: OptimizerSettings, metrics: dict[str, float]) -> float:
        """Step the optimiser unless something is not finite; returns the gradient's norm."""
        optimizer = self._optimizers[name]
        weights = [w for g in optimizer.param_groups for w in g["params"] if w.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(weights, settings.clip or math.inf))
        finite = math.isfinite(norm) and all(math.isfinite(value) for value in metrics.values())
        if finite and "skipped" not in metrics:
            optimizer.step()
        else:
            metrics["skipped"] = 1.0
        return norm

    def _total(self, terms: Mapping[str, Tensor]) -> Tensor:
        weights = vars(self.settings.weights)
        return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()

    def _compared(self, samples: Tensor) -> Tensor:
        edge = self.settings.context * self.codec.hop
        return samples[:, edge : samples.shape[1] - edge]

    def _inner(self, frames: Tensor) -> Tensor:
        edge = self.settings.context
        return frames[..., edge : frames.shape[-1] - edge]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast)

    def _make_optimizers(self) -> dict[str, Optimizer]:
        for name, weight in self.codec.named_parameters():
            weight.requires_grad_(_learns(name, self.settings))
        made: dict[str, Optimizer] = {
            "codec": _adamw(self.codec.parameters(), self.settings.optimizer)
        }
        if self.discriminator is not None:
            judge = self.discriminator.parameters()
            made["discriminator"] = _adamw(judge, self.settings.discriminator)
        return made


def _learns(name: str, settings: CodecSettings) -> bool:
    wanted = TRAINED[settings.mode] + (("semantic_model.",) if settings.semantic else ())
    return name.startswith(wanted) and name.startswith(settings.only or "")


def _adamw(weights: Iterable[nn.Parameter] | Iterator[nn.Parameter], s: OptimizerSettings) -> AdamW:
    chosen = [weight for weight in weights if weight.requires_grad]
    return AdamW(
        chosen, s.learning_rate, betas=s.betas, eps=s.eps, weight_decay=s.weight_decay, fused=True
    )


def _to(batch: CropBatch, device: torch.device) -> CropBatch:
    return replace(batch, **{k: v.to(device) for k, v in vars(batch).items() if v is not None})


def _check(codec: Codec, crops: Crops, settings: CodecSettings) -> None:
    if crops.frames != settings.frames + 2 * settings.context:
        raise SettingError(
            f"The crops have {crops.frames} frames; {settings.frames} compared ones and "
            f"{settings.context} of context on each side need "
            f"{settings.frames + 2 * settings.context}."
        )
    batch = crops.spread(1)
    if settings.mode == "decoder" and batch.codes is None:
        raise SettingError("Training a decoder needs the codes of every clip; encode them first.")
    if settings.mode == "encoder" and batch.latents is None:
        raise SettingError("Training an encoder needs the latents of every clip.")
    if settings.semantic and batch.features is not None:
        raise SettingError("HuBERT cannot learn where its features are given; leave one out.")
    if settings.given and batch.codes is None:
        raise SettingError("Decoding a share of given codes needs the codes of every clip.")
    if settings.mode != "decoder" and not codec.has_encoder:
        raise SettingError(f"Mode '{settings.mode}' needs a codec that was built with its encoder.")
    if not any(_learns(name, settings) for name, _ in codec.named_parameters()):
        raise SettingError(
            f"only is {', '.join(map(repr, settings.only))}, and mode '{settings.mode}' trains no "
            "weight whose name begins so; leave it out to train all of the mode's."
        )
