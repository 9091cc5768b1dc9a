"""Step 9: the convolutional encoder learns to give the latents that the codes were made from. Resumes from --out.

python recipes/pico/encoder.py --corpus DIR --codes codes/ --out encoder.pt --minutes 45
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from codes import ACOUSTIC, PHONETIC
from data import FRAME, Corpus
from torch import Tensor, nn

from faster_higgs.codec.acoustic import AcousticEncoder

WIDTH, RATIOS = 10, (8, 5, 4, 2, 3)
CROP, EDGE = 30, 3  # frames; at the edges the true latents saw what the crop does not


def crops(
    corpus: Corpus,
    latents: np.ndarray,
    starts: np.ndarray,
    indices: list[int],
    rng: np.random.Generator,
    size: int,
) -> tuple[Tensor, Tensor]:
    """Random crops: samples [B, 1, S], acoustic latents [B, D, F]."""
    waves, targets = [], []
    while len(waves) < size:
        i = indices[rng.integers(len(indices))]
        u = corpus.utterances[i]
        if u.frames < CROP:
            continue
        first = int(rng.integers(u.frames - CROP + 1))
        waves.append(corpus.samples(u)[first * FRAME : (first + CROP) * FRAME])
        targets.append(
            latents[starts[i] + first : starts[i] + first + CROP, PHONETIC:].astype(np.float32).T
        )
    return torch.from_numpy(np.stack(waves))[:, None], torch.from_numpy(np.stack(targets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--codes", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    args = parser.parse_args()
    corpus = Corpus(args.corpus)
    latents, starts = (
        np.load(args.codes / "latents.npy", mmap_mode="r"),
        np.load(args.codes / "starts.npy"),
    )
    training = [i for i in corpus.training if i < len(starts) - 1]
    model = AcousticEncoder(WIDTH, ACOUSTIC, RATIOS)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.rate, betas=(0.8, 0.99), weight_decay=1e-3
    )
    step = 0
    if args.out.exists():
        state = torch.load(args.out, weights_only=True)
        model.load_state_dict(state["model"]), optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    rng, start, shown, saved, recent = (
        np.random.default_rng(step),
        time.time(),
        time.time(),
        time.time(),
        [],
    )

    def save() -> None:
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step},
            args.out.with_suffix(".part"),
        )
        args.out.with_suffix(".part").rename(args.out)

    while (done := (time.time() - start) / 60 / args.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * max(0.02, min(1, (1 - done) / 0.5))
        wave, target = crops(corpus, latents, starts, training, rng, args.batch)
        inside = slice(EDGE, -EDGE)
        made, wanted = model(wave)[..., inside], target[..., inside]
        loss = (made - wanted).square().sum(1).mean() / wanted.square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(model.parameters(), 1.0)):
            optimizer.step()
        else:
            print(f"step {step}: gradient not finite, left out", flush=True)
        step += 1
        recent.append(loss.item())
        if time.time() - shown > 30:
            shown = time.time()
            print(
                f"{done:4.0%} step {step} {len(recent) / 30:.2f} steps/s relative error {np.mean(recent):.4f}",
                flush=True,
            )
            recent = []
        if time.time() - saved > 300:
            saved = time.time()
            save()
    save()


if __name__ == "__main__":
    main()
