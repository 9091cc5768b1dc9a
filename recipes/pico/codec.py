"""Steps 7, 9 and 10: the codec learns to speak the frozen codes, to make them, then both together.

    python recipes/pico/codec.py --work DIR --mode decoder --minutes 75     # beside the lm
    python recipes/pico/codec.py --work DIR --mode encoder --minutes 45     # beside it as well
    python recipes/pico/codec.py --work DIR --mode joint   --minutes 30     # when both are done

Each mode is a run of its own that resumes; `assemble` puts their results into one codec, later ones
over earlier ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import command
import numpy as np
import torch
from codes import ACOUSTIC, ENTRIES, PHONETIC, STAGES
from data import FRAME, Corpus
from hubert import SHAPE, Namer
from safetensors.torch import load_file
from torch import nn

from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape
from faster_higgs.train.codec_config import CodecLossWeights, CodecSettings, Mode
from faster_higgs.train.codec_loop import CodecTask
from faster_higgs.train.config import OptimizerSettings, RunSettings
from faster_higgs.train.crops import CodecClip, Crops
from faster_higgs.train.journal import Journal
from faster_higgs.train.run import Run
from faster_higgs.train.rvq import install
from faster_higgs.train.state import Checkpoints

LATENT, HIDDEN = PHONETIC + ACOUSTIC, SHAPE["hidden_size"]
WIDTH = ACOUSTIC + HIDDEN
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
ENCODER = ("acoustic_encoder.", "semantic_encoder.", "fc_prior.", "semantic_model.")
LEARNING = (*DECODER, "acoustic_encoder.")
"""What is trained. The phonetic half of a latent is exact as it is put together, and stays."""
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
    install(codec.quantizer, q["books"], q["weights"])
    with torch.no_grad():
        codec.semantic_model.load_state_dict(namer.hubert.state_dict(), strict=True)
        pass_through(codec.semantic_encoder)
        prior, offset = torch.zeros(WIDTH, WIDTH), torch.zeros(WIDTH)
        prior[:PHONETIC, ACOUSTIC:] = q["project_p"].T
        prior[PHONETIC:LATENT, :ACOUSTIC] = torch.eye(ACOUSTIC)
        offset[:PHONETIC] = -q["mean_p"] @ q["project_p"]
        codec.fc_prior.weight.copy_(prior)
        codec.fc_prior.bias.copy_(offset)
    for mode in runs(work):
        newest = Checkpoints(work / f"codec-{mode}").find()
        assert newest is not None
        state = load_file(newest / "codec.safetensors")
        new = {name: value for name, value in state.items() if name.startswith(RESULTS[mode])}
        codec.load_state_dict({**codec.state_dict(), **new})
    return codec


def runs(work: Path) -> list[Mode]:
    """The modes that have a result, in the order in which they were last saved."""
    latest = {mode: work / f"codec-{mode}" / "latest" for mode in RESULTS}
    found = [mode for mode in RESULTS if latest[mode].exists()]
    return sorted(found, key=lambda mode: latest[mode].stat().st_mtime_ns)


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
        self.features = np.load(codes / "hubert.npy", mmap_mode="r")
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
        features = torch.from_numpy(self.features[cut].astype(np.float32).T)
        samples = torch.from_numpy(self.corpus.pcm(self.corpus.utterances[i]))
        return CodecClip(samples, codes, latents, features)


class Listener:
    """Held-out clips at every evaluation: from the codes given with them and from the encoder's."""

    def __init__(self, codec: Codec, clips: Clips, encodes: bool) -> None:
        self.codec, self.encodes = codec, encodes
        self.clips = [clips[int(n)] for n in np.linspace(0, len(clips) - 1, 4)]

    def __call__(self, step: int, journal: Journal) -> None:
        for number, clip in enumerate(self.clips):
            codes = {"given": clip.codes}
            if self.encodes:
                samples = clip.samples.float() / 32768
                codes["encoded"] = self.codec.encode(samples.to(self.codec.device))
            for name, rows in codes.items():
                sound = self.codec.decode(rows)
                journal.sound(step, f"{name}/{number}", sound, self.codec.sample_rate)


def settings(args: argparse.Namespace) -> CodecSettings:
    """How the mode is trained."""
    return CodecSettings(
        mode=args.mode,
        batch=args.batch,
        frames=args.frames,
        only=LEARNING,
        given=0.5 if args.mode == "joint" else 0.0,
        discriminate_from=args.adversarial_from,
        weights=CodecLossWeights(latents=3.0),
        optimizer=OptimizerSettings(args.rate, betas=(0.8, 0.99), weight_decay=0.0, clip=3.0),
    )


def identity(chosen: CodecSettings) -> dict[str, object]:
    """What a run may not change on its way."""
    kept = ("mode", "semantic", "given", "follow")
    return {"model": "pico", **{name: getattr(chosen, name) for name in kept}}


def train(args: argparse.Namespace) -> Run:
    """The run of a mode, taken up where it was left."""
    chosen, corpus = settings(args), Corpus(args.work / "corpus")
    clips = [
        Clips(corpus, args.work / "codes", indices)
        for indices in (corpus.training, corpus.validation)
    ]
    crops = [Crops(part, args.frames, FRAME, seed=1) for part in clips]
    codec = assemble(args.work).to(args.device)
    pace = RunSettings(
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
        CodecTask(codec, crops[0], chosen, held_out=crops[1]),
        pace,
        args.work / f"codec-{args.mode}",
        say=command.say,
        identity=identity(chosen),
        listen=Listener(codec, clips[1], encodes=args.mode != "decoder"),
    )
    run.resume_if_any()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--mode", choices=list(RESULTS), required=True)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=26, help="of a crop")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument(
        "--adversarial-from", type=int, metavar="STEP", help="when a discriminator joins the run"
    )
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    train(args).go()


if __name__ == "__main__":
    command.run(main)
