"""Step 11: put everything together into the checkpoint folder that the package ships.

python recipes/pico/ship.py --work DIR --out src/faster_higgs/pico
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from codec import assemble
from conversations import Conversations
from data import Corpus
from lm import shape
from safetensors.torch import load_file, save_file
from tokenizer import build
from voices import TEACHERS

from faster_higgs.audio.save import save
from faster_higgs.checkpoint.codec_files import save_codec
from faster_higgs.checkpoint.save import save_model
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.speech import fingerprint


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
    sound = assemble(args.work).eval()
    save_codec(sound.half(), args.out / "codec", "transformers")
    corpus = Corpus(args.work / "corpus")
    talks = Conversations(corpus, args.work / "codes", tokenizer, config, set())
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
