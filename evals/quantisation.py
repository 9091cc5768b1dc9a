"""What smaller weights cost: how far pico's choices move, and whether batches change its codes.

    python evals/quantisation.py --sentences evals/sentences_en.txt --limit 40 --json OUT

For each way to hold the weights: the mean Kullback-Leibler divergence per codebook of what full
precision would choose, on columns that full precision spoke, read as decoding reads them; and the
share of utterances whose codes are the same alone and in a batch of 16. How the speech is heard
is measured by evals/pico.py with --model on a folder that `higgs export` wrote.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor

from evals import machine
from faster_higgs.checkpoint.files import PACKAGED, resolve
from faster_higgs.checkpoint.load import load_model
from faster_higgs.engine.engine import Engine
from faster_higgs.errors import HiggsError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import Prompt
from faster_higgs.quant.apply import swap
from faster_higgs.quant.linear import Int4Linear
from faster_higgs.quant.quantization import Quantization
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs

ROWS = 16  # columns read together: as many as the kernels of decoding take
BATCH = 16
WAYS = {
    "bf16": None,
    "int8": Quantization("int8", "int8"),
    "fp8": Quantization("fp8", "fp8"),
    "int4, group 128": Quantization("int4", "int4", 128),
    "int4, group 64": Quantization("int4", "int4", 64),
    "int4, group 32": Quantization("int4", "int4", 32),
}
PLAIN = "int4, group 32, plain rounding"


def main() -> int:
    """Measure, print a table, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--model", help="a checkpoint folder; default: pico")
    args = parser.parse_args()
    try:
        result = evaluate(args)
    except HiggsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=2) + "\n")
    print(*table(result["ways"]), f"\n{args.json}", sep="\n")
    return 0


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """All ways to hold the weights on the same prompts and columns."""
    folder = resolve(args.model) if args.model else PACKAGED
    texts = args.sentences.read_text(encoding="utf-8").splitlines()[: args.limit]
    with Higgs.load(folder, device="cpu") as higgs:
        prompts = [prompt_of(higgs, text, i) for i, text in enumerate(texts)]
    _, full = load_model(folder, dtype=torch.float32, text_head=False)
    spoken = columns(full.eval(), prompts)
    chosen = [log_chances(full, *pair) for pair in zip(prompts, spoken, strict=True)]
    ways: dict[str, Any] = {}
    for name, model in held(full):
        moved = [
            divergence(one, log_chances(model, *pair))
            for one, pair in zip(chosen, zip(prompts, spoken, strict=True), strict=True)
        ]
        kl = torch.cat(moved, dim=0).nanmean(0)
        same = share_of_same(model, prompts)
        ways[name] = {
            "mean_kl": float(kl.mean()),
            "kl_per_codebook": [round(value, 6) for value in kl.tolist()],
            "same_in_batch": same,
        }
        print(f"{name}: {ways[name]}", file=sys.stderr, flush=True)
    today = datetime.now(timezone.utc).isoformat(timespec="seconds")
    about = {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "commit": machine.commit(),
    }
    return {"date": today, "sentences": len(texts), "ways": ways} | about


def prompt_of(higgs: Higgs, text: str, number: int) -> Prompt:
    """As `higgs say` asks, voices in turn."""
    voices = [voice.name for voice in higgs.voices.list()]
    utterance = higgs.plan(text, voices[number % len(voices)])[0]
    return higgs.prompt(
        Conversation(utterance.setting, utterance.tags, higgs.spell).ask(utterance.text)
    )


def held(full: DualFFN) -> Iterator[tuple[str, DualFFN]]:
    """The model with its weights held in each way."""
    for name, quantization in WAYS.items():
        model = copy.deepcopy(full)
        if quantization is None:
            model.to(torch.bfloat16)
        else:
            swap(model, quantization)
        yield name, model
    model = copy.deepcopy(full)
    linears = dict(full.named_modules())
    swap(model, WAYS["int4, group 32"] or Quantization())
    for path, packed in model.named_modules():
        if isinstance(packed, Int4Linear):
            for buffer, value in packed.pack(linears[path].weight, search=False).items():
                setattr(packed, buffer, value)
    yield PLAIN, model


def columns(model: DualFFN, prompts: Sequence[Prompt]) -> list[Tensor]:
    """What the model speaks, delayed columns [K, T] of each prompt."""
    return [result[0] for result in spoken_by(model, prompts, alone=False)]


def spoken_by(model: DualFFN, prompts: Sequence[Prompt], alone: bool) -> list[list[Tensor]]:
    """The segments of each answer, written one by one or sixteen at a time."""
    found: dict[int, list[Tensor]] = {}
    size = 1 if alone else BATCH
    for first in range(0, len(prompts), size):
        engine = Engine(model)
        numbers = {
            engine.add(prompt, Sampling(seed=first + i, max_new_tokens=300)): first + i
            for i, prompt in enumerate(prompts[first : first + size])
        }
        while not engine.idle:
            for event in engine.step():
                if event.result is not None:
                    found[numbers[event.request]] = list(event.result.segments)
    return [found[i] for i in range(len(prompts))]


def share_of_same(model: DualFFN, prompts: Sequence[Prompt]) -> float:
    """Of the utterances, those with the same codes alone and in a batch, in percent."""
    both = (spoken_by(model, prompts, alone) for alone in (True, False))
    same = [len(a) == len(b) and all(map(torch.equal, a, b)) for a, b in zip(*both, strict=True)]
    return 100 * sum(same) / len(same)


@torch.inference_mode()
def log_chances(model: DualFFN, prompt: Prompt, written: Tensor) -> Tensor:
    """Log probabilities [T - 1, K, V] after each column but the last; NaN where a row is closed."""
    reading = expand(prompt, model.config)
    cache = model.new_cache(len(reading.ids) + written.shape[1])
    model.prefill(reading.ids, reading.columns, reading.is_audio, cache)
    parts = []
    for some in written.T[:-1].split(ROWS):
        ids = torch.zeros(len(some), dtype=torch.long)
        hidden = model.prefill(ids, some, torch.ones_like(ids, dtype=torch.bool), cache, True)
        parts.append(model.audio_logits(hidden).log_softmax(-1))
    scores = torch.cat(parts)
    stream = min(model.config.audio_stream_bos_id, model.config.audio_stream_eos_id)
    scores[(written.T[1:] >= stream)] = torch.nan
    return scores


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """KL [T, K] of `other` from `one`."""
    return (one.exp() * (one - other)).sum(-1)


def table(ways: dict[str, Any]) -> list[str]:
    """Markdown."""
    lines = ["| weights | mean KL | same codes in a batch |", "|---|---|---|"]
    for name, found in ways.items():
        lines.append(f"| {name} | {found['mean_kl']:.5f} | {found['same_in_batch']:.0f} % |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
