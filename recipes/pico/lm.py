"""Step 8: the language model. Resumes from DIR/lm when a checkpoint is there.

python recipes/pico/lm.py --work DIR --held-out evals/sentences_en.txt --minutes 120
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import command
import torch
from codec import assemble
from conversations import Conversations
from data import Corpus
from sentences import plain
from tokenizer import build
from voices import TEACHERS

from faster_higgs.config import ModelConfig
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt import tokens
from faster_higgs.prompt.conversation import Conversation, Setting
from faster_higgs.prompt.template import write
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.train.config import LanguageSettings, LossSettings, OptimizerSettings, RunSettings
from faster_higgs.train.guide import Guide
from faster_higgs.train.listen import Line, Listener
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.run import Run
from faster_higgs.train.sample import Example

# Of the codebooks' losses: what is said before how it hisses.
WEIGHTS = (4.0, 2.0, 1.5, 1.2, 1.0, 0.8, 0.7, 0.6)

HEARD = (
    "Good morning, how are you today?",
    "The train to London leaves at seven thirty.",
    "We walked along the river until it was dark.",
    "Please close the window before you go to bed.",
)


def shape(tokenizer: TextTokenizer, vocab_size: int) -> ModelConfig:
    """pico's config: the published architecture, small."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        rope_scaling=None,
        num_codebooks=8,
        codebook_size=1026,
        audio_stream_bos_id=1024,
        audio_stream_eos_id=1025,
        audio_out_bos_token_id=tokenizer.special(tokens.AUDIO_OUT_BOS),
        audio_out_token_id=tokenizer.special(tokens.AUDIO_OUT),
        audio_in_token_id=tokenizer.special(tokens.AUDIO_IN),
        audio_eos_token_id=tokenizer.special(tokens.AUDIO_EOS),
        pad_token_id=tokenizer.special(tokens.END_OF_TEXT),
        max_position_embeddings=4096,
        text_input="phonemes",
    )


class Some:
    """The first examples of a data set."""

    def __init__(self, examples: Conversations, count: int) -> None:
        self.examples, self.count = examples, count

    def __len__(self) -> int:
        return min(self.count, len(self.examples))

    def example(self, index: int, epoch: int) -> Example:
        """As the data set has it."""
        return self.examples.example(index, epoch)


def heard(data: Conversations) -> list[Line]:
    """What is spoken at every evaluation: a sentence in each of the teachers' voices."""
    lines = []
    for seed, (name, text) in enumerate(zip(TEACHERS, HEARD, strict=True)):
        talk = Conversation(Setting((data.voice(data.references[name]),)), spell=data.pronounce)
        lines.append(Line(name, write(talk.ask(text), data.tokenizer), most=150, seed=seed))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, help="where the other steps left theirs"
    )
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--held-out", type=Path, help="sentences that must not be learnt")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--budget", type=int, default=4096, help="positions of a batch")
    parser.add_argument("--decay", type=float, default=0.3, help="last share of the time")
    parser.add_argument("--resume", default="latest", help="'stable' is before the rate came down")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    raw = build()
    tokenizer = TextTokenizer(raw)
    lines = args.held_out.read_text().splitlines() if args.held_out else []
    corpus, codes = Corpus(args.work / "corpus"), args.work / "codes"
    config, kept = shape(tokenizer, raw.get_vocab_size()), {plain(line) for line in lines}
    data, held_out = (
        Conversations(corpus, codes, tokenizer, config, kept, validation=held)
        for held in (False, True)
    )
    model = DualFFN(config)
    model.initialize(torch.Generator().manual_seed(0))
    settings = LanguageSettings(
        budget=args.budget,
        autocast=True,
        code_noise=0.04,
        optimizer=OptimizerSettings(learning_rate=args.rate, weight_decay=0.02),
        loss=LossSettings(codebook_weights=WEIGHTS, text_weight=0.02),
    )
    pace = RunSettings(
        minutes=args.minutes,
        warmup=150,
        decay=args.decay,
        eval_every=400,
        save_every=10_000,
        save_minutes=4,
        keep=2,
        non_finite="skip",
    )
    guide = Guide(layer=2, head=0, sigma=1.5, weight=0.4, steps=4000)
    task = LanguageTask(
        model.to(args.device), data, settings, held_out=Some(held_out, 100), guide=guide
    )
    run = Run(
        task,
        pace,
        args.work / "lm",
        say=command.say,
        identity={"model": "pico"},
        listen=Listener(model, assemble(args.work), heard(data), args.work / "lm"),
    )
    if run.checkpoints.find(args.resume) is not None:
        run.resume(args.resume)
    with closing(task):
        run.go()


if __name__ == "__main__":
    command.run(main)
