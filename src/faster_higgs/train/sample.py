"""A conversation to one training example: what the model reads and which of it is supervised.

The labels of a clip stand in the coordinates of its columns: the codes and the first end of stream
of every row are supervised, so K * (F + 1) of them. The label of a column is predicted at the
column before it. Knows nothing of files, corpora or how examples are batched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from faster_higgs.config import ModelConfig
from faster_higgs.delay import delay, wrap
from faster_higgs.errors import SettingError
from faster_higgs.prompt.template import header
from faster_higgs.prompt.tokens import EOM, EOT, Tokenizer

IGNORE = -100


@dataclass(frozen=True)
class Marks:
    """The ids that tell turns and clips apart, and the two stream tokens of the codebooks."""

    assistant_header: tuple[int, ...]  # what opens an assistant turn, up to and with the empty line
    turn_ends: frozenset[int]  # end of turn, end of message
    audio_in: int
    audio_out: int
    stream_bos: int
    stream_eos: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, config: ModelConfig) -> Marks:
        """Those of a checkpoint."""
        ends = frozenset(map(tokenizer.special, (EOT, EOM)))
        return cls(
            tuple(header("assistant", tokenizer)),
            ends,
            config.audio_in_token_id,
            config.audio_out_token_id,
            config.audio_stream_bos_id,
            config.audio_stream_eos_id,
        )


@dataclass(frozen=True)
class Example:
    """One conversation. `A` counts the audio columns of all its clips, in reading order."""

    ids: Tensor  # [T] int64, a placeholder for every audio column
    columns: Tensor  # [A, K] int64, what fills the placeholders
    is_audio: Tensor  # [T] bool
    text_labels: Tensor  # [T] int64
    audio_labels: Tensor  # [A, K] int64
    centres: Tensor | None = None  # [A] float, the position of the text being spoken, nan: unknown
    name: str = ""  # of the clip that is learnt, for people

    def __len__(self) -> int:
        return int(self.ids.shape[0])


def build(
    tokens: Sequence[int],
    clips: Sequence[Tensor],
    marks: Marks,
    *,
    loss_on: Literal["target", "all"] | Collection[int] = "target",
    alignments: Sequence[Tensor | None] | None = None,
) -> Example:
    """Expand `tokens`, which hold one placeholder a clip, and label what is trained.

    `loss_on` is the last assistant turn, all of them, or their numbers. `alignments` give, for each
    frame of a clip, the index in `tokens` that is spoken there; an unaligned clip has None.
    """
    ids = torch.as_tensor(tokens, dtype=torch.int64)
    is_slot = (ids == marks.audio_in) | (ids == marks.audio_out)
    _check_clips(clips, int(is_slot.sum()), marks)
    trained = _trained_tokens(tokens, marks, loss_on)
    speaks = (trained & (ids == marks.audio_out))[is_slot].tolist()
    _refuse_leak(clips, speaks)
    repeats = torch.ones_like(ids)
    repeats[is_slot] = torch.tensor([c.shape[1] + c.shape[0] + 1 for c in clips], dtype=torch.int64)
    labels = torch.where(trained & ~is_slot, ids, IGNORE)
    books = clips[0].shape[0] if clips else 0
    empty = torch.zeros((0, books), dtype=torch.int64)
    bos, eos = marks.stream_bos, marks.stream_eos
    return Example(
        ids=ids.repeat_interleave(repeats),
        columns=torch.cat([empty, *[wrap(clip.long(), bos, eos).T for clip in clips]]),
        is_audio=is_slot.repeat_interleave(repeats),
        text_labels=labels.repeat_interleave(repeats),
        audio_labels=torch.cat(
            [empty, *[clip_labels(c, eos, s).T for c, s in zip(clips, speaks, strict=True)]]
        ),
        centres=_centres(clips, alignments, repeats) if alignments is not None else None,
    )


def clip_labels(codes: Tensor, eos: int, is_trained: bool = True) -> Tensor:
    """[K, F] -> [K, F+K+1]: codes and each row's first end of stream; the rest is ignored."""
    books, frames = codes.shape
    if not is_trained:
        return torch.full((books, frames + books + 1), IGNORE)
    edge = torch.ones((books, 1), dtype=torch.int64)
    return delay(torch.cat([edge * IGNORE, codes.long(), edge * eos], dim=1), IGNORE, IGNORE)


def corrupt(columns: Tensor, share: float, num_codes: int, generator: torch.Generator) -> Tensor:
    """Replace about `share` of the codes by random ones: practice in living with slips."""
    noise = torch.rand(columns.shape, generator=generator) < share
    random = torch.randint(num_codes, columns.shape, generator=generator)
    hit = noise.to(columns.device) & (columns < num_codes)
    return torch.where(hit, random.to(columns.device), columns)


def assistant_turns(tokens: Sequence[int], marks: Marks) -> list[range]:
    """The tokens of every assistant turn: what follows its header, up to and with its end."""
    header, width = list(marks.assistant_header), len(marks.assistant_header)
    turns: list[range] = []
    start = 0
    while start + width <= len(tokens):
        if list(tokens[start : start + width]) != header:
            start += 1
            continue
        first = start + width
        ends = (i for i in range(first, len(tokens)) if tokens[i] in marks.turn_ends)
        start = next(ends, len(tokens) - 1) + 1
        turns.append(range(first, start))
    return turns


def _trained_tokens(
    tokens: Sequence[int], marks: Marks, loss_on: Literal["target", "all"] | Collection[int]
) -> Tensor:
    turns = assistant_turns(tokens, marks)
    if not turns:
        raise SettingError(
            "A training conversation has no assistant turn, so nothing in it can be learnt."
        )
    if loss_on == "target":
        chosen: Collection[int] = (len(turns) - 1,)
    elif loss_on == "all":
        chosen = range(len(turns))
    elif isinstance(loss_on, str):
        raise SettingError(
            f"loss_on is {loss_on!r}; give 'target', 'all' or the numbers of assistant turns."
        )
    else:
        chosen = loss_on
    trained = torch.zeros(len(tokens), dtype=torch.bool)
    for number in chosen:
        if not 0 <= number < len(turns):
            raise SettingError(
                f"loss_on names assistant turn {number}; the conversation has {len(turns)}."
            )
        trained[turns[number].start : turns[number].stop] = True
    return trained


def _check_clips(clips: Sequence[Tensor], slots: int, marks: Marks) -> None:
    if len(clips) != slots:
        raise SettingError(
            f"A training conversation has {slots} places for audio and {len(clips)} "
            "clips; give one clip for each."
        )
    limit = min(marks.stream_bos, marks.stream_eos)
    for number, clip in enumerate(clips):
        if clip.dim() != 2 or clip.shape[0] != clips[0].shape[0] or clip.shape[1] == 0:
            raise SettingError(
                f"Clip {number} of a training conversation has shape {tuple(clip.shape)}; "
                f"codes are [codebooks, frames], here with {clips[0].shape[0]} codebooks."
            )
        if int(clip.max()) >= limit or int(clip.min()) < 0:
            raise SettingError(
                f"Clip {number} of a training conversation holds codes from {int(clip.min())} to "
                f"{int(clip.max())}; they must lie between 0 and {limit - 1}."
            )


def _refuse_leak(clips: Sequence[Tensor], speaks: Sequence[bool]) -> None:
    """A reference that is the target teaches copying, and the loss falls to nothing."""
    for given in (c for c, s in zip(clips, speaks, strict=True) if not s):
        for target in (c for c, s in zip(clips, speaks, strict=True) if s):
            if given.shape == target.shape and torch.equal(given, target):
                raise SettingError(
                    "A reference clip of a training conversation equals the clip to be learnt; "
                    "take the reference from another recording of the speaker."
                )


def _centres(
    clips: Sequence[Tensor], alignments: Sequence[Tensor | None], repeats: Tensor
) -> Tensor:
    """Column c predicts frame c of codebook 0, so it should look at the text spoken there."""
    if len(alignments) != len(clips):
        raise SettingError(
            f"{len(alignments)} alignments were given for {len(clips)} clips; "
            "give one (or None) each."
        )
    begins = (repeats.cumsum(0) - repeats).float()
    rows = [torch.zeros(0)]
    for clip, spoken in zip(clips, alignments, strict=True):
        row = torch.full((clip.shape[1] + clip.shape[0] + 1,), torch.nan)
        if spoken is not None:
            whole = spoken.floor().long()
            row[: clip.shape[1]] = begins[whole] + (spoken - whole)
        rows.append(row)
    return torch.cat(rows)
