"""Step 7: the decoder learns to speak the frozen codes. Resumes from --out when it is there.

python recipes/pico/decoder.py --corpus DIR --codes codes/ --out decoder.pt --minutes 75
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from codes import mel_filters
from data import FRAME, Corpus
from torch import Tensor, nn
from torch.nn import functional as F

from faster_higgs.codec.acoustic import AcousticDecoder

LATENT, WIDTH, RATIOS = 64, 256, (8, 5, 4, 2, 3)
CROP, EDGE = 24, 2  # frames; the edges lack context and are not judged


class Speaker(nn.Module):
    """Codes to samples: sum of codebook entries, a linear layer, the acoustic decoder."""

    def __init__(self, books: Tensor) -> None:
        super().__init__()
        self.register_buffer("books", books)
        self.enter = nn.Linear(books.shape[2], LATENT)
        self.decoder = AcousticDecoder(WIDTH, LATENT, RATIOS)

    def forward(self, codes: Tensor, used: int = 8) -> Tensor:
        """[B, K, F] -> [B, S], from the first `used` codebooks."""
        latent = sum(F.embedding(codes[:, k], self.books[k]) for k in range(used))
        return self.decoder(self.enter(latent).transpose(1, 2))[:, 0]


class SpectralLoss(nn.Module):
    """Distance of spectra at several resolutions: log mel, log and linear magnitude."""

    SIZES = ((256, 32), (512, 64), (1024, 80), (2048, 128))

    def __init__(self) -> None:
        super().__init__()
        for n_fft, bins in self.SIZES:
            self.register_buffer(f"mel{n_fft}", mel_filters(bins, 0, 12_000, n_fft))
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft))

    def magnitude(self, wave: Tensor, n_fft: int) -> Tensor:
        spectrum = torch.stft(
            wave,
            n_fft,
            n_fft // 4,
            window=getattr(self, f"window{n_fft}"),
            center=False,
            return_complex=True,
        )
        return (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-9).sqrt()

    def forward(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the log-mel difference in dB at 1024 points."""
        total, decibels = made.new_zeros(()), made.new_zeros(())
        for n_fft, _ in self.SIZES:
            a, b = self.magnitude(made, n_fft), self.magnitude(real, n_fft)
            mel = getattr(self, f"mel{n_fft}")
            floor = 4e-4 * n_fft / 4
            mels = (
                ((mel @ a).clamp(min=floor).log() - (mel @ b).clamp(min=floor).log()).abs().mean()
            )
            logs = ((a + floor).log() - (b + floor).log()).abs().mean()
            linear = (a - b).abs().mean() / b.mean().clamp(min=1e-3)
            total = total + 2 * mels + logs + 0.5 * linear
            if n_fft == 1024:
                decibels = mels.detach() * 20 / np.log(10)
        return total / len(self.SIZES), decibels


def crops(
    corpus: Corpus,
    codes: np.ndarray,
    starts: np.ndarray,
    indices: list[int],
    rng: np.random.Generator,
    size: int,
) -> tuple[Tensor, Tensor]:
    """Random crops: codes [B, K, F], samples [B, S]."""
    some, waves = [], []
    while len(some) < size:
        i = indices[rng.integers(len(indices))]
        u = corpus.utterances[i]
        if u.frames < CROP:
            continue
        first = int(rng.integers(u.frames - CROP + 1))
        some.append(codes[:, starts[i] + first : starts[i] + first + CROP])
        waves.append(corpus.samples(u)[first * FRAME : (first + CROP) * FRAME])
    return torch.from_numpy(np.stack(some).astype(np.int64)), torch.from_numpy(np.stack(waves))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--codes", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    args = parser.parse_args()
    corpus = Corpus(args.corpus)
    codes, starts = (
        np.load(args.codes / "codes.npy", mmap_mode="r"),
        np.load(args.codes / "starts.npy"),
    )
    training = [i for i in corpus.training if i < len(starts) - 1]
    model = Speaker(torch.load(args.codes / "quantiser.pt", weights_only=True)["books"])
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.rate, betas=(0.8, 0.99), weight_decay=1e-3
    )
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    step, loss = 0, SpectralLoss()
    if args.out.exists():
        state = torch.load(args.out, weights_only=True)
        model.load_state_dict(state["model"]), optimizer.load_state_dict(state["optimizer"])
        average.load_state_dict(state["average"])
        step = state["step"]
    rng, start, shown, recent = np.random.default_rng(step), time.time(), time.time(), []
    saved = time.time()

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
        }
        torch.save(state, args.out.with_suffix(".part"))
        args.out.with_suffix(".part").rename(args.out)

    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * max(0.02, min(1, (1 - done) / 0.4))
        some, wave = crops(corpus, codes, starts, training, rng, args.batch)
        used = 8 if rng.random() < 0.8 else int(rng.integers(3, 8))
        made, cut = model(some, used), slice(EDGE * FRAME, -EDGE * FRAME)
        value, decibels = loss(made[:, cut], wave[:, cut])
        optimizer.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        if torch.isfinite(norm):
            optimizer.step()
            average.update_parameters(model)
        else:
            print(f"step {step}: gradient not finite, left out", flush=True)
        step += 1
        recent.append((value.item(), decibels.item()))
        if time.time() - shown > 30:
            shown = time.time()
            mean = np.mean(recent, axis=0)
            print(
                f"{done:4.0%} step {step} {len(recent) / 30:.2f} steps/s loss {mean[0]:.4f} mel {mean[1]:.3f} dB",
                flush=True,
            )
            recent = []
        if time.time() - saved > 300:
            saved = time.time()
            save()
    save()


if __name__ == "__main__":
    main()
