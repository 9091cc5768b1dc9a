"""A base, the base with its adapters and the merged model side by side: numbers, sound, a page.

Knows nothing of how a merge is done.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from faster_higgs.checkpoint.adapter import Weighted
from faster_higgs.checkpoint.load import load_model
from faster_higgs.errors import GenerationError
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.spoken import Gathering
from faster_higgs.train.sample import IGNORE, clip_labels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FOLDER = "comparison"
SEED = 1
GATE = 1e-3  # what weights that are alike can differ by, where a device adds up in another order

Load = Callable[..., Higgs]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """One of the three: its name, the folder of its weights, and what is folded into them."""

    name: str
    folder: Path
    adapters: Sequence[Weighted] = ()


@dataclass(frozen=True)
class Comparison:
    """Logits of codes on one clip. `merged` and `base` are seen from the adapter.

    A divergence is in nats, a mean over all codes; agreement the share of codes with the same
    likeliest value.
    """

    text: str
    frames: int
    base_divergence: float
    base_agreement: float
    merged_divergence: float
    merged_agreement: float
    merged_difference: float  # the largest of any logit

    @property
    def passed(self) -> bool:
        return self.merged_difference <= GATE


def compare(sides: Sequence[Side], text: str, out: Path, load: Load, tell: Tell) -> Comparison:
    """Speak `text` with base, adapter and merged model, and compare what they make of one clip.

    Each is loaded twice: as it would speak, and in the type of the merged weights, in which the
    adapter and the merged model are the same if the merge is right. Sound, numbers and a page are
    left in `out`. Raises GenerationError when none of them speaks.
    """
    part = out.with_name(f".{out.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        spoken: dict[str, tuple[Prompt, Tensor]] = {}
        for side in sides:
            tell(f"Speaking: {side.name}")
            with load(side.folder, adapters=side.adapters) as higgs:
                device = str(higgs.codec.device)
                if (made := _spoken(higgs, text, part / f"{side.name}.wav", tell)) is not None:
                    spoken[side.name] = made
        base, adapter, merged = sides
        heard = next((spoken[s.name] for s in (adapter, base, merged) if s.name in spoken), None)
        if heard is None:
            raise GenerationError("None of the models speaks, so there is nothing to compare.")
        kind = load_model(merged.folder, text_head=False)[1].norm.weight.dtype
        found = [_logits(side, heard, device, kind) for side in sides]
        result = _measured(text, heard[1].shape[1], *found)
        (part / "comparison.json").write_text(json.dumps(asdict(result), indent=2) + "\n")
        (part / "report.html").write_text(page(result, sides, part), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
        return result
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _spoken(higgs: Higgs, text: str, path: Path, tell: Tell) -> tuple[Prompt, Tensor] | None:
    """Write the sound; the prompt of the first utterance and its codes, None if none came."""
    gathered, codes = Gathering(higgs.rate), None
    try:
        for piece in higgs.pieces(text, sampling=Sampling(seed=SEED)):
            gathered.add(piece)
            codes = piece.codes if codes is None else codes
    except GenerationError as error:
        tell(f"Note: {path.stem} does not speak: {error}")
        return None
    gathered.speech(SEED).save(path)
    first = higgs.plan(text)[0]
    talk = Conversation(first.setting, first.tags, higgs.spell)
    if codes is None or not codes.shape[1]:
        return None
    return higgs.prompt(talk.ask(first.text)), codes


def _logits(
    side: Side, heard: tuple[Prompt, Tensor], device: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and logits [N, V] of every code of the clip, each after those before."""
    prompt, codes = heard
    config, model = load_model(
        side.folder, device=device, dtype=dtype, text_head=False, adapters=side.adapters
    )
    whole = Prompt((*prompt.ids, config.audio_out_token_id), (*prompt.clips, codes))
    rows = expand(whole, config)
    ids, columns, is_audio = (x.to(device) for x in (rows.ids, rows.columns, rows.is_audio))
    hidden = model.prefill(ids, columns, is_audio, model.new_cache(len(ids)))
    labels = clip_labels(codes, config.audio_stream_eos_id).T  # [F + K + 1, K]
    logits = model.audio_logits(hidden[-len(labels) : -1]).detach().cpu()
    logits = logits[labels[1:] != IGNORE]
    return logits.log_softmax(-1), logits


def _measured(
    text: str,
    frames: int,
    base: tuple[Tensor, Tensor],
    adapter: tuple[Tensor, Tensor],
    merged: tuple[Tensor, Tensor],
) -> Comparison:
    def divergence(other: Tensor) -> float:
        return float((adapter[0].exp() * (adapter[0] - other)).sum(-1).mean())

    def agreement(other: Tensor) -> float:
        return float((adapter[0].argmax(-1) == other.argmax(-1)).float().mean())

    return Comparison(
        text,
        frames,
        divergence(base[0]),
        agreement(base[0]),
        divergence(merged[0]),
        agreement(merged[0]),
        float((adapter[1] - merged[1]).abs().max()),
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Merged model</title>
<style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}td,th{{text-align:left;padding:.3rem 1rem .3rem 0}}
audio{{width:100%}}code{{overflow-wrap:anywhere}}
</style>
<h1>{verdict}</h1>
<p>&ldquo;{text}&rdquo;</p>
{players}
<table>
<tr><th>seen from the adapter<th>base<th>merged
<tr><td>divergence of codes (nats)<td>{c.base_divergence:.4g}<td>{c.merged_divergence:.4g}
<tr><td>same likeliest code<td>{c.base_agreement:.1%}<td>{c.merged_agreement:.1%}
<tr><td>largest difference of a logit<td><td>{c.merged_difference:.4g}
</table>
<p>Measured on one clip of {c.frames} frames, each code predicted after those before it.</p>
</html>
"""


def page(result: Comparison, sides: Sequence[Side], folder: Path) -> str:
    """The whole report as one page; the sound is inside it."""
    players = []
    for side in sides:
        path = folder / f"{side.name}.wav"
        data = b64encode(path.read_bytes()).decode() if path.is_file() else None
        player = f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
        said = player if data else "<p>It does not speak.</p>"
        players.append(f"<h2>{escape(side.name)}</h2>\n<p><code>{_what(side)}</code></p>\n{said}")
    verdict = "The merge is exact" if result.passed else "The merge is wrong"
    return _PAGE.format(
        verdict=verdict, text=escape(result.text), players="\n".join(players), c=result
    )


def _what(side: Side) -> str:
    parts = [str(side.folder), *(f"{one.factor:g} x {one.label}" for one in side.adapters)]
    return escape(" + ".join(parts))
