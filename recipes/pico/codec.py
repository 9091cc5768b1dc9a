"""Steps 7, 9 and 10: the codec learns to speak the frozen codes, to make them, then both together.

    python recipes/pico/codec.py --work DIR --mode decoder --minutes 75     # beside the lm
    python recipes/pico/codec.py --work DIR --mode encoder --minutes 45     # beside it as well
    python recipes/pico/codec.py --work DIR --mode joint   --minutes 30     # when both are done

Each mode is a run of its own that resumes; `assemble` puts the newest of them into one codec.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from codes import ACOUSTIC, ENTRIES, PHONETIC, STAGES
from data import FRAME, Corpus
from hubert import SHAPE, Namer
from safetensors.torch import load_file
from torch import Tensor, nn

from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape
from faster_higgs.train.codec_config import CodecSettings, Mode
from faster_higgs.train.codec_loop import CodecTask
from faster_higgs.train.config import OptimizerSettings, RunSettings
from faster_higgs.train.crops import CodecClip, Crops
from faster_higgs.train.run import Run

LATENT, HIDDEN = PHONETIC + ACOUSTIC, SHAPE["hidden_size"]
WIDTH = ACOUSTIC + HIDDEN
FRAMES = 26
CONFIG = CodecConfig(
    encoder_hidden_size=10,
    decoder_hidden_size=256,
    hidden_size=ACOUSTIC,
    codebook_size=ENTRIES,
    codebook_dim=LATENT,
    num_codebooks=STAGES,
    hubert=HubertShape(**SHAPE),
    acoustic_pad=480,
)
DECODER = ("fc_post_acoustic.", "acoustic_decoder.")
ENCODER = ("acoustic_encoder.", "semantic_encoder.", "fc_prior.")
RESULTS: dict[Mode, tuple[str, ...]] = {
    "decoder": DECODER,
    "encoder": ENCODER,
    "joint": (*DECODER, *ENCODER),
}


def assemble(work: Path) -> Codec:
    """The published architecture with what has been learnt so far, the quantiser folded into it."""
    codec = Codec(CONFIG)
    q = load_file(work / "codes" / "quantiser.safetensors")
    namer = Namer()
    namer.load_state_dict(load_file(work / "hubert.safetensors"))
    nn.utils.parametrize.remove_parametrizations(namer.hubert.encoder.pos_conv_embed.conv, "weight")
    with torch.no_grad():
        stages = zip(codec.quantizer.layers, q["books"], q["weights"], strict=True)
        for layer, book, weights in stages:
            layer.embed.copy_(book * weights)
            layer.embed_avg.copy_(layer.embed)
            layer.cluster_size.fill_(1)
            layer.inited.fill_(1)
            linear(layer.project_in, torch.diag(weights) @ torch.eye(LATENT, WIDTH))
            linear(layer.project_out, torch.eye(WIDTH, LATENT) @ torch.diag(1 / weights))
        codec.semantic_model.load_state_dict(namer.hubert.state_dict(), strict=True)
        pass_through(codec.semantic_encoder)
        prior, offset = torch.zeros(WIDTH, WIDTH), torch.zeros(WIDTH)
        prior[:PHONETIC, ACOUSTIC:] = q["project_p"].T
        prior[PHONETIC:LATENT, :ACOUSTIC] = torch.eye(ACOUSTIC)
        offset[:PHONETIC] = -q["mean_p"] @ q["project_p"]
        linear(codec.fc_prior, prior, offset)
    for mode, parts in RESULTS.items():
        learnt = work / f"codec-{mode}"
        if (learnt / "latest").exists():
            newest = learnt / (learnt / "latest").read_text().strip()
            state = load_file(newest / "codec.safetensors")
            new = {name: value for name, value in state.items() if name.startswith(parts)}
            codec.load_state_dict({**codec.state_dict(), **new})
    return codec


def linear(layer: nn.Linear, weight: Tensor, bias: Tensor | None = None) -> None:
    """Set a linear layer."""
    layer.weight.copy_(weight)
    layer.bias.copy_(torch.zeros_like(layer.bias) if bias is None else bias)


def pass_through(encoder: nn.Module) -> None:
    """Let the stack behind HuBERT change nothing: what it is given already says what is needed."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv1d):
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
            if "units" not in name:
                module.weight[:, :, module.kernel_size[0] // 2] = torch.eye(module.in_channels)


class Clips(Sequence[CodecClip]):
    """The coded corpus, opened clip by clip."""

    def __init__(self, corpus: Corpus, codes: Path, indices: list[int]) -> None:
        self.corpus = corpus
        self.codes = np.load(codes / "codes.npy", mmap_mode="r")
        self.latents = np.load(codes / "latents.npy", mmap_mode="r")
        self.starts = np.load(codes / "starts.npy")
        self.indices = [i for i in indices if i < len(self.starts) - 1]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> CodecClip:  # type: ignore[override]
        i = self.indices[number]
        cut = slice(self.starts[i], self.starts[i + 1])
        latents = torch.zeros(WIDTH, self.starts[i + 1] - self.starts[i])
        latents[:LATENT] = torch.from_numpy(self.latents[cut].astype(np.float32).T)
        codes = torch.from_numpy(self.codes[:, cut].astype(np.int64))
        samples = torch.from_numpy(self.corpus.pcm(self.corpus.utterances[i]))
        return CodecClip(samples, codes, latents)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--mode", choices=list(RESULTS), required=True)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    corpus = Corpus(args.work / "corpus")
    crops = [
        Crops(Clips(corpus, args.work / "codes", indices), FRAMES, FRAME, seed=1)
        for indices in (corpus.training, corpus.validation)
    ]
    settings = CodecSettings(
        mode=args.mode,
        batch=args.batch,
        frames=FRAMES,
        given=0.5 if args.mode == "joint" else 0.0,
        optimizer=OptimizerSettings(args.rate, betas=(0.8, 0.99), weight_decay=0.0, clip=3.0),
    )
    task = CodecTask(assemble(args.work).to(args.device), crops[0], settings, held_out=crops[1])
    run_settings = RunSettings(
        minutes=args.minutes,
        warmup=100,
        decay=0.4,
        log_every=25,
        eval_every=500,
        save_every=10_000,
        keep=1,
        save_minutes=5,
        non_finite="skip",
    )
    run = Run(
        task,
        run_settings,
        args.work / f"codec-{args.mode}",
        say=lambda line: print(line, flush=True),
        identity={"model": "pico", "mode": args.mode},
    )
    run.resume_if_any()
    run.go()


if __name__ == "__main__":
    main()
