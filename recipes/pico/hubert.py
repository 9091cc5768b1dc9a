"""Step 3: a tiny HuBERT that names the synthesiser's phones.

With it the first codebook can carry what is said. Its averaged states are the codec's semantic
branch, exactly as in the published codec; the two linear heads, which name the phone at one and at
three quarters of a frame, exist only here.

    python recipes/pico/hubert.py --corpus DIR --out hubert.safetensors --minutes 10
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from data import FRAME, PHONES, Corpus
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel

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


def kernel() -> Tensor:
    """Windowed-sinc taps of the codec's 24 to 16 kHz resampler, [2, 1, 23] (codec.md, b2)."""
    n = torch.arange(-10, 13, dtype=torch.float64)
    taps = []
    for phase in (0, 1):
        t = (1.98 * (n / 3 - phase / 2)).clamp(-6, 6)
        taps.append(1.98 / 3 * torch.sinc(t) * torch.cos(torch.pi * t / 12) ** 2)
    return torch.stack(taps)[:, None].float()


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
        self.register_buffer("taps", kernel())

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        hidden = features(self.hubert, wave, self.taps)
        return hidden, self.heads(hidden).unflatten(-1, (2, len(PHONES)))


def batch(
    corpus: Corpus, indices: list[int], rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor]:
    """Random crops of one length: samples [B, S], phones [B, F, 2]."""
    frames = int(rng.integers(30, 90))
    waves, labels = [], []
    while len(waves) < size:
        u = corpus.utterances[indices[rng.integers(len(indices))]]
        if u.frames < frames:
            continue
        first = int(rng.integers(u.frames - frames + 1))
        wave = corpus.samples(u)[first * FRAME : (first + frames) * FRAME]
        times = (np.arange(first, first + frames)[:, None] + np.array([0.25, 0.75])) * 0.04
        waves.append(
            wave * rng.uniform(0.5, 1.3) + rng.normal(0, 10 ** rng.uniform(-5, -2.5), len(wave))
        )
        labels.append(u.phone_at(times))
    return torch.tensor(np.stack(waves), dtype=torch.float32), torch.tensor(np.stack(labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--batch", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(0)
    rng, corpus, model = np.random.default_rng(0), Corpus(args.corpus), Namer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    start, step, shown = time.time(), 0, 0.0
    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1.2e-3 * min(1, step / 100) * min(1, (1 - done) / 0.5)
        wave, phones = batch(corpus, corpus.training, rng, args.batch)
        _, logits = model(wave)
        loss = F.cross_entropy(logits.flatten(0, 2), phones.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if time.time() - shown > 15:
            shown, accuracy = time.time(), (logits.argmax(-1) == phones).float().mean()
            print(
                f"{done:4.0%} step {step} loss {loss.item():.3f} accuracy {accuracy:.1%}",
                flush=True,
            )
    model.eval()
    with torch.no_grad():
        rng = np.random.default_rng(1)
        right = [
            (model(w)[1].argmax(-1) == p).float().mean()
            for w, p in (batch(corpus, corpus.validation, rng, 12) for _ in range(20))
        ]
    print(f"validation accuracy {torch.stack(right).mean():.1%}")
    save_file(model.state_dict(), args.out)


if __name__ == "__main__":
    main()
