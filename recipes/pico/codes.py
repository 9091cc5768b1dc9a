"""Step 4: latents and codes of the whole corpus, and the quantiser that is never changed again.

A frame's latent is two parts: `PHONETIC` dimensions of the tiny HuBERT (a discriminant projection
that tells phones apart) and `ACOUSTIC` dimensions of the spectrum (principal components). The first
codebook is fitted where the phonetic part weighs most, the others where the acoustic part does, so
that codebook 0 says what is spoken.

    python recipes/pico/codes.py --corpus DIR --hubert hubert.safetensors --out codes/

What is finished is kept: the features, as far as they have come, while corpus and HuBERT are the
same, and the quantiser for ever. To fit another one, choose another folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import defaultdict
from pathlib import Path

import command
import numpy as np
import torch
from data import FRAME, Corpus, replacing
from hubert import Namer, features
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from faster_higgs.codec.codec import full_precision
from faster_higgs.errors import SettingError
from faster_higgs.train import rvq

PHONETIC, ACOUSTIC = 32, 64
STAGES, ENTRIES = 8, 1024
WIDTHS = {"hubert": 128, "spectrum": 380}  # of the features that are kept
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

    def __init__(self, device: torch.device) -> None:
        self.filters = mel_filters(80, 40, 9800, 1024).to(device)
        self.short, self.long = (torch.hann_window(size).to(device) for size in (1024, 2048))

    def __call__(self, wave: Tensor) -> Tensor:
        """[B, S] -> [B, F, 380]."""
        frames = wave.shape[1] // FRAME
        short = torch.stft(
            F.pad(wave, (392, 632)),
            1024,
            240,
            window=self.short,
            center=False,
            return_complex=True,
        )
        mel = (self.filters @ short.abs()[..., : frames * 4]).clamp(min=2e-2).log()
        long = torch.stft(
            F.pad(wave, (544, 544)),
            2048,
            FRAME,
            window=self.long,
            center=False,
            return_complex=True,
        )
        low = long.abs()[:, 4:64, :frames].clamp(min=5e-2).log() * 1.5
        return torch.cat(
            [mel.unflatten(2, (frames, 4)).permute(0, 2, 3, 1).flatten(2), low.transpose(1, 2)],
            dim=2,
        )


def starts(corpus: Corpus) -> np.ndarray:
    """Where the frames of each utterance begin, and where the last one ends."""
    return np.concatenate([[0], np.cumsum([u.frames for u in corpus.utterances])])


def batches(corpus: Corpus) -> list[list[int]]:
    """The utterances of equal length, a few at a time."""
    lengths: dict[int, list[int]] = defaultdict(list)
    for i, u in enumerate(corpus.utterances):
        lengths[u.frames].append(i)
    plan = []
    for frames, indices in sorted(lengths.items()):
        size = max(1, 1200 // frames)
        plan += [indices[at : at + size] for at in range(0, len(indices), size)]
    return plan


class Features:
    """HuBERT features and spectra of all frames in order, on disk; finished batches are kept."""

    def __init__(self, corpus: Corpus, hubert: str, folder: Path) -> None:
        self.corpus, self.plan, self.starts = corpus, batches(corpus), starts(corpus)
        lines = "".join(f"{u.shard.name} {u.at} {u.samples} " for u in corpus.utterances)
        self._made_from = {"corpus": hashlib.sha256(lines.encode()).hexdigest(), "hubert": hubert}
        self._note = folder / "features.json"
        self.done = self._finished()
        mode = "r+" if self.done else "w+"
        self._files = [
            np.lib.format.open_memmap(
                folder / f"{name}.npy", mode, np.float16, (int(self.starts[-1]), width)
            )
            for name, width in WIDTHS.items()
        ]
        self.spoken, self.heard = self._files

    def fill(self, namer: Namer, device: torch.device) -> None:
        """Work out what is still missing."""
        spectrum, noted = Spectrum(device), time.monotonic()
        for some in self.plan[self.done :]:
            wave = np.stack([self.corpus.samples(self.corpus.utterances[i]) for i in some])
            self._compute(some, torch.tensor(wave, device=device), namer, spectrum)
            self.done += 1
            if time.monotonic() - noted > 10 or self.done == len(self.plan):
                noted = time.monotonic()
                self._keep()

    def _compute(self, some: list[int], wave: Tensor, namer: Namer, spectrum: Spectrum) -> None:
        with full_precision(wave.device):
            both = features(namer.hubert, wave, namer.taps), spectrum(wave)
        for file, values in zip(self._files, both, strict=True):
            for i, rows in zip(some, values.cpu().numpy(), strict=True):
                file[self.starts[i] : self.starts[i + 1]] = rows

    def _finished(self) -> int:
        if not self._note.exists():
            return 0
        note = json.loads(self._note.read_text())
        return int(note.pop("done")) if note.items() >= self._made_from.items() else 0

    def _keep(self) -> None:
        for file in self._files:
            file.flush()
        with replacing(self._note) as part:
            part.write_text(json.dumps({**self._made_from, "done": self.done}))
        print(f"features: {self.done} of {len(self.plan)} batches", flush=True)


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


def quantiser(features: Features, hubert: str, out: Path, given: Path | None) -> dict[str, Tensor]:
    """The given quantiser, or the one that lies in `out`, or a new one; from then on it lies there.

    It belongs to one HuBERT; one that does not say to which is believed.
    """
    kept = out / "quantiser.safetensors"
    path = given or kept
    if path.exists():
        with safe_open(path, "pt") as file:
            made_for = (file.metadata() or {}).get("hubert", hubert)
        if made_for != hubert:
            raise SettingError(
                f"The quantiser {path} was fitted with another HuBERT; "
                "give that one, or choose another folder with --out."
            )
    found = load_file(path) if path.exists() else fit(features)
    with replacing(kept) as part:
        save_file(found, part, metadata={"hubert": hubert})
    return found


def fit(features: Features) -> dict[str, Tensor]:
    """The projections and the codebooks, from a sample of the frames."""
    rng = torch.Generator().manual_seed(0)
    pick = torch.randperm(len(features.spoken), generator=rng)[:240_000].sort().values.numpy()
    x, y = (torch.tensor(file[pick]).double() for file in (features.spoken, features.heard))
    mean_p, project_p = discriminant(x, phones(features.corpus)[pick], PHONETIC)
    mean_a, project_a, held = rvq.principal(y, ACOUSTIC)
    print(f"{ACOUSTIC} components hold {held:.1%} of the spectral variance", flush=True)
    p, a = (x - mean_p) @ project_p, (y - mean_a) @ project_a
    scale_p, scale_a = (part.square().sum(1).mean().sqrt() for part in (p, a))
    latents = torch.cat([p / scale_p, a / scale_a], 1).float()
    pairs = zip(PHONETIC_WEIGHTS, ACOUSTIC_WEIGHTS, strict=True)
    weights = torch.tensor([[one] * PHONETIC + [two] * ACOUSTIC for one, two in pairs])
    books = []
    for number, stage in enumerate(rvq.stages(latents, weights, ENTRIES, rng, rounds=14)):
        books.append(stage.codebook)
        left = stage.rest.square().split([PHONETIC, ACOUSTIC], 1)
        rest = " ".join(f"{part.sum(1).mean():.3f}" for part in left)
        print(f"stage {number}: rest phonetic, acoustic {rest}, {stage.bits:.2f} bits", flush=True)
    found = {
        "mean_p": mean_p.float(),
        "project_p": (project_p / scale_p).float(),
        "mean_a": mean_a.float(),
        "project_a": (project_a / scale_a).float(),
        "books": torch.stack(books),
        "weights": weights,
    }
    return {name: part.contiguous() for name, part in found.items()}


def phones(corpus: Corpus) -> Tensor:
    """A number for the two phones of each frame."""
    times = (
        (u, (np.arange(u.frames)[:, None] + np.array([0.25, 0.75])) * 0.04)
        for u in corpus.utterances
    )
    pairs = np.concatenate([u.phone_at(seconds) for u, seconds in times])
    return torch.tensor(pairs) @ torch.tensor([100, 1])


def encode(features: Features, q: dict[str, Tensor], out: Path) -> None:
    """Write codes.npy [K, N] int16, latents.npy [N, D] float16 and starts.npy."""
    total = int(features.starts[-1])
    codes = np.empty((STAGES, total), np.int16)
    with replacing(out / "latents.npy") as part:
        latents = np.lib.format.open_memmap(part, "w+", np.float16, (total, PHONETIC + ACOUSTIC))
        for at in range(0, total, 65536):
            cut = slice(at, min(at + 65536, total))
            spoken, heard = (
                torch.tensor(file[cut], device=q["books"].device).float()
                for file in (features.spoken, features.heard)
            )
            p = (spoken - q["mean_p"]) @ q["project_p"]
            a = (heard - q["mean_a"]) @ q["project_a"]
            latent = torch.cat([p, a], 1)
            latents[cut] = latent.cpu().numpy()
            codes[:, cut] = rvq.encode(latent, q["books"], q["weights"]).cpu().numpy()
            print(f"codes: {cut.stop / total:.0%}", flush=True)
        latents.flush()
    for name, values in {"codes": codes, "starts": features.starts}.items():
        with replacing(out / f"{name}.npy") as part, part.open("wb") as file:
            np.save(file, values)
    print(f"{total} frames, {total / 90_000:.1f} h")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--hubert", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--quantiser", type=Path, help="a fitted one, to be used instead of fitting one here"
    )
    parser.add_argument("--device", default="cpu", help="where features and codes are worked out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device, namer = torch.device(args.device), Namer()
    namer.load_state_dict(load_file(args.hubert))
    hubert = hashlib.sha256(args.hubert.read_bytes()).hexdigest()
    with torch.inference_mode():
        every_frame = Features(Corpus(args.corpus), hubert, args.out)
        every_frame.fill(namer.eval().to(device), device)
        fitted = quantiser(every_frame, hubert, args.out, args.quantiser)
        encode(every_frame, {name: part.to(device) for name, part in fitted.items()}, args.out)


if __name__ == "__main__":
    command.run(main)
