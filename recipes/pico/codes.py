"""Step 4: latents and codes of the whole corpus, and the quantiser that is never changed again.

A frame's latent is two parts: `PHONETIC` dimensions of the tiny HuBERT (a discriminant projection
that tells phones apart) and `ACOUSTIC` dimensions of the spectrum (principal components). The first
codebook is fitted where the phonetic part weighs most, the others where the acoustic part does, so
that codebook 0 says what is spoken.

    python recipes/pico/codes.py --corpus DIR --hubert hubert.safetensors --out codes/
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from data import FRAME, Corpus
from hubert import Namer, features
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from faster_higgs.train.rvq import kmeans, nearest

PHONETIC, ACOUSTIC = 32, 64
STAGES, ENTRIES = 8, 1024
PHONETIC_WEIGHTS = (1.0, 0.25, 0.12, 0.06, 0.06, 0.06, 0.06, 0.06)
ACOUSTIC_WEIGHTS = (0.35, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def mel_filters(bins: int, low: float, high: float, n_fft: int, rate: int = 24_000) -> Tensor:
    """Triangular mel filters [bins, n_fft / 2 + 1] (HTK mel)."""

    def to_mel(f: float) -> float:
        return 2595 * np.log10(1 + f / 700)

    edges = 700 * (10 ** (np.linspace(to_mel(low), to_mel(high), bins + 2) / 2595) - 1)
    at = np.linspace(0, rate / 2, n_fft // 2 + 1)
    up = (at[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - at[None]) / (edges[2:] - edges[1:-1])[:, None]
    return torch.tensor(np.maximum(0, np.minimum(up, down)), dtype=torch.float32)


class Spectrum:
    """What a frame sounds like: four spectra of 80 mel bands, 60 fine low bins for the pitch."""

    def __init__(self) -> None:
        self.filters = mel_filters(80, 40, 9800, 1024)

    def __call__(self, wave: Tensor) -> Tensor:
        """[B, S] -> [B, F, 380]."""
        frames = wave.shape[1] // FRAME
        short = torch.stft(
            F.pad(wave, (392, 632)),
            1024,
            240,
            window=torch.hann_window(1024),
            center=False,
            return_complex=True,
        )
        mel = (self.filters @ short.abs()[..., : frames * 4]).clamp(min=2e-2).log()
        long = torch.stft(
            F.pad(wave, (544, 544)),
            2048,
            FRAME,
            window=torch.hann_window(2048),
            center=False,
            return_complex=True,
        )
        low = long.abs()[:, 4:64, :frames].clamp(min=5e-2).log() * 1.5
        return torch.cat(
            [mel.unflatten(2, (frames, 4)).permute(0, 2, 3, 1).flatten(2), low.transpose(1, 2)],
            dim=2,
        )


def every_frame(corpus: Corpus, namer: Namer, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """HuBERT features and spectra of all frames in order; equal lengths are computed together."""
    starts = np.concatenate([[0], np.cumsum([u.frames for u in corpus.utterances])])
    spoken = np.lib.format.open_memmap(
        cache / "hubert.npy", "w+", np.float16, (int(starts[-1]), 128)
    )
    heard = np.lib.format.open_memmap(
        cache / "spectrum.npy", "w+", np.float16, (int(starts[-1]), 380)
    )
    lengths: dict[int, list[int]] = defaultdict(list)
    for i, u in enumerate(corpus.utterances):
        lengths[u.frames].append(i)
    spectrum, begun, done = Spectrum(), time.time(), 0
    for frames, indices in sorted(lengths.items()):
        size = max(1, 1200 // frames)
        for at in range(0, len(indices), size):
            some = indices[at : at + size]
            wave = torch.tensor(np.stack([corpus.samples(corpus.utterances[i]) for i in some]))
            phonetic, acoustic = features(namer.hubert, wave, namer.taps), spectrum(wave)
            for i, p, a in zip(some, phonetic, acoustic, strict=True):
                spoken[starts[i] : starts[i + 1]], heard[starts[i] : starts[i + 1]] = (
                    p.numpy(),
                    a.numpy(),
                )
            done += frames * len(some)
        if frames % 10 == 0:
            speed = done * 0.04 / (time.time() - begun)
            print(f"features {done / starts[-1]:.0%}, {speed:.0f} x real time", flush=True)
    return spoken, heard


def discriminant(x: Tensor, labels: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Linear discriminants: mean [H] and projection [H, dims], unit variance inside a class."""
    mean = x.mean(0)
    x = x - mean
    kinds, at, counts = labels.unique(return_inverse=True, return_counts=True)
    centres = (
        torch.zeros(len(kinds), x.shape[1], dtype=x.dtype).index_add_(0, at, x) / counts[:, None]
    )
    inside = x - centres[at]
    within = inside.T @ inside / len(x) + 1e-4 * torch.eye(x.shape[1], dtype=x.dtype)
    between = (centres * counts[:, None]).T @ centres / len(x)
    values, vectors = torch.linalg.eigh(within)
    white = vectors / values.sqrt()
    _, best = torch.linalg.eigh(white.T @ between @ white)
    return mean, white @ best.flip(1)[:, :dims]


def principal(x: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Principal components: mean and projection; prints how much variance they hold."""
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    print(
        f"{dims} components hold {values[-dims:].sum() / values.sum():.1%} of the spectral variance"
    )
    return mean, vectors.flip(1)[:, :dims]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--hubert", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--quantiser",
        type=Path,
        help="a fitted quantiser: only make codes, for a corpus that has grown",
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    corpus, namer = Corpus(args.corpus), Namer()
    namer.load_state_dict(load_file(args.hubert))
    with torch.inference_mode():
        spoken, heard = every_frame(corpus, namer.eval(), args.out)
        fitted = load_file(args.quantiser) if args.quantiser else fit(corpus, spoken, heard)
        save_file(fitted, args.out / "quantiser.safetensors")
        encode(corpus, spoken, heard, fitted, args.out)


def fit(corpus: Corpus, spoken: np.ndarray, heard: np.ndarray) -> dict[str, Tensor]:
    """The projections and the codebooks, from a sample of the frames."""
    rng = torch.Generator().manual_seed(0)
    pick = torch.randperm(len(spoken), generator=rng)[:240_000].sort().values
    labels = np.concatenate(
        [
            u.phone_at((np.arange(u.frames)[:, None] + np.array([0.25, 0.75])) * 0.04)
            for u in corpus.utterances
        ]
    )
    x, y = torch.tensor(spoken[pick.numpy()]).double(), torch.tensor(heard[pick.numpy()]).double()
    pairs = torch.tensor(labels[pick.numpy()]) @ torch.tensor([100, 1])
    mean_p, project_p = discriminant(x, pairs, PHONETIC)
    mean_a, project_a = principal(y, ACOUSTIC)
    p, a = (x - mean_p) @ project_p, (y - mean_a) @ project_a
    p, a = p / p.square().sum(1).mean().sqrt(), a / a.square().sum(1).mean().sqrt()
    scale_p, scale_a = (
        ((x - mean_p) @ project_p).square().sum(1).mean().sqrt(),
        ((y - mean_a) @ project_a).square().sum(1).mean().sqrt(),
    )
    rest, books, weights = torch.cat([p, a], 1).float(), [], []
    for stage in range(STAGES):
        w = torch.tensor(
            [PHONETIC_WEIGHTS[stage]] * PHONETIC + [ACOUSTIC_WEIGHTS[stage]] * ACOUSTIC
        )
        centres = kmeans(rest * w, ENTRIES, rng, 14) / w
        won, _ = nearest(rest * w, centres * w)
        rest = rest - centres[won]
        books.append(centres), weights.append(w)
        used = torch.bincount(won, minlength=ENTRIES).float() / len(won)
        bits = -(used * used.clamp(min=1e-12).log2()).sum()
        left = rest.square()
        print(
            f"stage {stage}: rest phonetic {left[:, :PHONETIC].sum(1).mean():.3f} "
            f"acoustic {left[:, PHONETIC:].sum(1).mean():.3f}, {bits:.2f} bits",
            flush=True,
        )
    return {
        "mean_p": mean_p.float(),
        "project_p": (project_p / scale_p).float(),
        "mean_a": mean_a.float(),
        "project_a": (project_a / scale_a).float(),
        "books": torch.stack(books),
        "weights": torch.stack(weights),
    }


def encode(
    corpus: Corpus, spoken: np.ndarray, heard: np.ndarray, q: dict[str, Tensor], out: Path
) -> None:
    """Write codes.npy [K, N] int16, latents.npy [N, D] float16 and starts.npy."""
    starts = np.concatenate([[0], np.cumsum([u.frames for u in corpus.utterances])])
    codes = np.empty((STAGES, starts[-1]), np.int16)
    latents = np.lib.format.open_memmap(
        out / "latents.npy", "w+", np.float16, (int(starts[-1]), PHONETIC + ACOUSTIC)
    )
    for at in range(0, starts[-1], 65536):
        cut = slice(at, min(at + 65536, int(starts[-1])))
        p = (torch.tensor(spoken[cut]).float() - q["mean_p"]) @ q["project_p"]
        a = (torch.tensor(heard[cut]).float() - q["mean_a"]) @ q["project_a"]
        rest = torch.cat([p, a], 1)
        latents[cut] = rest.numpy()
        for stage in range(STAGES):
            w, book = q["weights"][stage], q["books"][stage]
            won, _ = nearest(rest * w, book * w)
            codes[stage, cut] = won.numpy()
            rest = rest - book[won]
    np.save(out / "codes.npy", codes)
    np.save(out / "starts.npy", starts)
    print(f"{starts[-1]} frames, {starts[-1] / 90_000:.1f} h")


if __name__ == "__main__":
    main()
