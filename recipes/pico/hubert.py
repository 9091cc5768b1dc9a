"""Step 3: a tiny HuBERT that names the synthesiser's phones.

With it the first codebook can carry what is said. Its averaged states are the codec's semantic
branch, exactly as in the published codec; the two linear heads, which name the phone at one and at
three quarters of a frame, exist only here.

    python recipes/pico/hubert.py --corpus DIR --out hubert.safetensors --minutes 10

Checkpoints and curves lie in a folder named as the file is, without its suffix; the same command
goes on from there. The file is written when the minutes are over.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command
import numpy as np
import torch
from data import FRAME, PHONES, Corpus, replacing
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer
from transformers import HubertConfig, HubertModel

from faster_higgs.codec.semantic import sinc_taps
from faster_higgs.train.config import RunSettings
from faster_higgs.train.run import Run

SHAPE = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "conv_dim": (24, 32, 48, 64, 96, 128, 128),
}


def build() -> HubertModel:
    """The tiny model; everything but widths is HuBERT-base."""
    config = HubertConfig(
        **SHAPE,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=0.0,
        apply_spec_augment=False,
        feat_extract_norm="group",
        feat_proj_dropout=0.0,
    )
    return HubertModel(config)


def features(model: HubertModel, wave: Tensor, taps: Tensor) -> Tensor:
    """Averaged states at 25 Hz: [B, S] at 24 kHz -> [B, F, H]."""
    low = F.conv1d(F.pad(wave[:, None], (10, 13)), taps, stride=3).transpose(1, 2).flatten(1)
    low = low[:, : -(-2 * wave.shape[1] // 3)]
    states = model(F.pad(low, (160, 160)), output_hidden_states=True).hidden_states
    return torch.stack(states).mean(0)[:, ::2]


class Namer(nn.Module):
    """HuBERT and its two phone heads."""

    def __init__(self) -> None:
        super().__init__()
        self.hubert = build()
        self.heads = nn.Linear(SHAPE["hidden_size"], 2 * len(PHONES))
        self.register_buffer("taps", sinc_taps(3, 2))  # 24 to 16 kHz, as in the codec

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        hidden = features(self.hubert, wave, self.taps)
        return hidden, self.heads(hidden).unflatten(-1, (2, len(PHONES)))


class Crops:
    """Random crops of one length a batch, with the two phones of each frame."""

    def __init__(self, corpus: Corpus, indices: list[int], size: int) -> None:
        self.size, self.corpus = size, corpus
        self.utterances = [corpus.utterances[i] for i in indices]
        self.longest = max(u.frames for u in self.utterances)

    def draw(self, *seed: int) -> tuple[Tensor, Tensor]:
        """Samples [B, S] and phones [B, F, 2], the same ones for the same seed."""
        rng = np.random.default_rng(seed)
        frames = min(int(rng.integers(30, 90)), self.longest)
        waves, labels = [], []
        while len(waves) < self.size:
            u = self.utterances[rng.integers(len(self.utterances))]
            if u.frames < frames:
                continue
            first = int(rng.integers(u.frames - frames + 1))
            wave = self.corpus.samples(u)[first * FRAME : (first + frames) * FRAME]
            times = (np.arange(first, first + frames)[:, None] + np.array([0.25, 0.75])) * 0.04
            noise = rng.normal(0, 10 ** rng.uniform(-5, -2.5), len(wave))
            waves.append(wave * rng.uniform(0.5, 1.3) + noise)
            labels.append(u.phone_at(times))
        return torch.tensor(np.stack(waves), dtype=torch.float32), torch.tensor(np.stack(labels))


class NamerTask:
    """The namer, what it hears and its optimiser, one step at a time."""

    def __init__(self, namer: Namer, corpus: Corpus, batch: int) -> None:
        self.namer = namer
        self.crops = Crops(corpus, corpus.training, batch)
        self.held_out = Crops(corpus, corpus.validation, 12)
        self.optimizer = AdamW(namer.parameters(), 1.2e-3, betas=(0.9, 0.98), weight_decay=0.01)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"namer": self.namer}

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"namer": self.optimizer}

    def place(self) -> dict[str, Any]:
        """Crops are a function of the step, so there is nothing to remember."""
        return {}

    def seek(self, place: dict[str, Any]) -> None:
        """Nothing to go back to."""

    def step(self, step: int) -> dict[str, float]:
        """One optimiser step."""
        wave, phones = self.crops.draw(0, step)
        loss, accuracy = self._compare(wave, phones)
        self.optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.namer.parameters(), 1.0))
        metrics = {"loss": float(loss.detach()), "accuracy": accuracy, "gradient_norm": norm}
        if math.isfinite(norm):
            self.optimizer.step()
        else:
            metrics["skipped"] = 1.0
        return {**metrics, "num_audio_s": wave.numel() / 24_000}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The mean over 20 batches of held-out utterances."""
        seen = [self._compare(*self.held_out.draw(1, number)) for number in range(20)]
        losses, accuracies = zip(*seen, strict=True)
        return {"loss": float(torch.stack(losses).mean()), "accuracy": sum(accuracies) / 20}

    def _compare(self, wave: Tensor, phones: Tensor) -> tuple[Tensor, float]:
        device = self.namer.heads.weight.device
        phones = phones.to(device)
        logits = self.namer(wave.to(device))[1]
        loss = F.cross_entropy(logits.flatten(0, 2), phones.flatten())
        return loss, float((logits.argmax(-1) == phones).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    namer = Namer().to(args.device)
    pace = RunSettings(
        minutes=args.minutes,
        warmup=100,
        decay=0.5,
        eval_every=500,
        save_every=10_000,
        save_minutes=2,
        keep=1,
        non_finite="skip",
    )
    run = Run(
        NamerTask(namer, Corpus(args.corpus), args.batch),
        pace,
        args.out.with_suffix(""),
        say=command.say,
        identity={"model": "namer"},
    )
    run.resume_if_any()
    if run.go().reason == "minutes":
        with replacing(args.out) as part:
            save_file(namer.state_dict(), part)


if __name__ == "__main__":
    command.run(main)
