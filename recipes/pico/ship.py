"""Step 11: put everything together into the checkpoint folder that the package ships.

python recipes/pico/ship.py --work DIR --out src/faster_higgs/pico
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from codes import ACOUSTIC, ENTRIES, PHONETIC, STAGES
from conversations import Conversations
from data import Corpus
from decoder import RATIOS, Speaker
from decoder import WIDTH as DECODER_WIDTH
from encoder import WIDTH as ENCODER_WIDTH
from hubert import SHAPE, Namer
from lm import shape
from safetensors.torch import load_file, save_file
from tokenizer import build
from torch import Tensor, nn
from voices import TEACHERS

from faster_higgs.audio.save import save
from faster_higgs.checkpoint.codec_files import save_codec
from faster_higgs.checkpoint.save import save_model
from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, HubertShape
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.speech import fingerprint

LATENT = PHONETIC + ACOUSTIC


def codec(work: Path) -> Codec:
    """The published architecture, with the recipe's projections folded into its linear layers."""
    hidden = SHAPE["hidden_size"]
    width = ACOUSTIC + hidden
    config = CodecConfig(
        encoder_hidden_size=ENCODER_WIDTH, decoder_hidden_size=DECODER_WIDTH, hidden_size=ACOUSTIC,
        codebook_size=ENTRIES, codebook_dim=LATENT, num_codebooks=STAGES, hubert=HubertShape(**SHAPE), acoustic_pad=480,
        ratios=RATIOS,
    )  # fmt: skip
    model = Codec(config, encoder=True)
    q = torch.load(work / "codes" / "quantiser.pt", weights_only=True)
    with torch.no_grad():
        for layer, book, weights in zip(
            model.quantizer.layers, q["books"], q["weights"], strict=True
        ):
            layer.embed.copy_(book * weights)
            linear(layer.project_in, torch.diag(weights) @ torch.eye(LATENT, width))
            linear(layer.project_out, torch.eye(width, LATENT) @ torch.diag(1 / weights))
        namer = Namer()
        namer.load_state_dict(torch.load(work / "hubert.pt", weights_only=True))
        nn.utils.parametrize.remove_parametrizations(
            namer.hubert.encoder.pos_conv_embed.conv, "weight"
        )
        model.semantic_model.load_state_dict(namer.hubert.state_dict(), strict=True)
        pass_through(model.semantic_encoder)
        prior = torch.zeros(width, width)
        prior[:PHONETIC, ACOUSTIC:] = q["project_p"].T
        prior[PHONETIC:LATENT, :ACOUSTIC] = torch.eye(ACOUSTIC)
        offset = torch.zeros(width)
        offset[:PHONETIC] = -q["mean_p"] @ q["project_p"]
        linear(model.fc_prior, prior, offset)
        speaker = Speaker(q["books"])
        state = torch.load(work / "decoder.pt", weights_only=True)["average"]
        speaker.load_state_dict(
            {k.removeprefix("module."): v for k, v in state.items() if k.startswith("module.")}
        )
        enter = torch.zeros(ACOUSTIC, width)
        enter[:, :LATENT] = speaker.enter.weight
        linear(model.fc_post_acoustic, enter, speaker.enter.bias)
        model.acoustic_decoder.load_state_dict(speaker.decoder.state_dict())
        if (work / "encoder.pt").exists():
            model.acoustic_encoder.load_state_dict(
                torch.load(work / "encoder.pt", weights_only=True)["model"]
            )
    return model.eval()


def linear(layer: nn.Linear, weight: Tensor, bias: Tensor | None = None) -> None:
    """Set a linear layer."""
    layer.weight.copy_(weight)
    layer.bias.copy_(torch.zeros_like(layer.bias) if bias is None else bias)


def pass_through(encoder: nn.Module) -> None:
    """Let the stack behind HuBERT change nothing: its first frames already say what is needed."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv1d):
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
            if "units" not in name:
                module.weight[:, :, module.kernel_size[0] // 2] = torch.eye(module.in_channels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, help="where the other steps left their results"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    (args.out / "codec").mkdir(parents=True, exist_ok=True)
    (args.out / "voices").mkdir(exist_ok=True)
    raw = build()
    raw.save(str(args.out / "tokenizer.json"))
    tokenizer = TextTokenizer(build())
    config = shape(tokenizer, raw.get_vocab_size())
    model = DualFFN(config)
    latest = args.work / "lm" / (args.work / "lm" / "latest").read_text().strip()
    model.load_state_dict(load_file(latest / "model.safetensors"))
    save_model(model.to(torch.bfloat16), config, args.out, "transformers")
    sound = codec(args.work)
    save_codec(sound.half(), args.out / "codec", "transformers")
    corpus = Corpus(args.work / "corpus")
    talks = Conversations(corpus, args.work / "codes", tokenizer, set())
    made_by = fingerprint(sound)
    for name, teacher in TEACHERS.items():
        i = talks.references[name]
        voice = args.out / "voices" / name
        voice.with_suffix(".txt").write_text(teacher.reference + "\n")
        voice.with_suffix(".description").write_text(teacher.description + "\n")
        save_file(
            {"codes": talks.clip(i).short().contiguous()},
            voice.with_suffix(".safetensors"),
            metadata={"codec": made_by},
        )
        save(voice.with_suffix(".flac"), corpus.samples(corpus.utterances[i]), rate=24_000)
    (args.out / "speech.json").write_text(
        json.dumps({"voices": ["clara", "miles", "iris", "angus"], "max_words": 16}, indent=1)
        + "\n"
    )
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{latest.name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
