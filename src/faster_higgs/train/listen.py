"""Fixed texts, spoken with the same seeds at every evaluation, beside the recordings.

Each is a held-out clip, asked for as inference asks. Training goes on as if nobody had listened:
its random numbers, its modules' modes and its weights stay as they are. Knows nothing of losses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from faster_higgs.audio.files import read
from faster_higgs.audio.save import save
from faster_higgs.codec.codec import Codec
from faster_higgs.config import PAGE, EngineConfig
from faster_higgs.data.cache import Cache
from faster_higgs.data.record import Clip, Split
from faster_higgs.data.wording import KnownTexts, Wording
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.request import RequestFailed
from faster_higgs.errors import DataError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.conversation import QUIET_ROOM, Conversation, Setting
from faster_higgs.prompt.template import Prompt, write
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling
from faster_higgs.train.journal import Journal

FOLDER = "listen"
LINES = 4
LONGEST = 250  # frames of a clip that gives the voice
SPARE = 50  # frames that a text may take beyond twice those of its recording


@dataclass(frozen=True)
class Line:
    """What is spoken: the prompt, the seed, and the recording where there is one."""

    name: str
    prompt: Prompt
    most: int  # frames
    seed: int = 0
    codes: Tensor | None = None  # [K, F] of the recording
    recording: Path | None = None  # the sound itself
    text: str = ""  # what is said in it


def lines_of(
    cache: Cache, wording: Wording, count: int = LINES, split: Split = "validation"
) -> list[Line]:
    """Clips of one split of a prepared folder, those first whose recordings it keeps.

    The voice is another clip of the speaker, if there is one. Raises DataError without any.
    """
    kept = {entry["id"]: cache.folder / entry["audio"] for entry in cache.about.get("listen", [])}
    ids = cache.column("id")
    held_out = sorted(cache.indices(split), key=lambda i: ids[i] not in kept)[:count]
    if not held_out:
        raise DataError(
            f"'{cache.folder}' has no clips for {split}, so there is nothing to listen to; "
            "prepare the data with a share for it."
        )
    lines = []
    for seed, index in enumerate(held_out):
        clip = cache.clip(index)
        prompt = _asked(clip, _voice(cache, index), wording)
        most = 2 * clip.frames + SPARE
        lines.append(Line(clip.id, prompt, most, seed, clip.codes, kept.get(clip.id), clip.text))
    return lines


def _voice(cache: Cache, index: int) -> Clip | None:
    """The first short clip of the same speaker that says something else."""
    speakers, frames, texts = map(cache.column, ("speaker", "frames", "text"))
    own = (
        i
        for i in range(len(cache))
        if speakers[i] == speakers[index] and texts[i] != texts[index] and frames[i] <= LONGEST
    )
    found = next(own, None)
    return None if found is None else cache.clip(found)


def _asked(clip: Clip, voice: Clip | None, wording: Wording) -> Prompt:
    known = {one.text: one.tokens for one in (clip, voice) if one is not None}
    reading = KnownTexts(wording, known)
    voices = () if voice is None else (Voice(voice.speaker, voice.codes, voice.text),)
    setting = Setting(voices, clip.scene or QUIET_ROOM)
    return write(Conversation(setting, spell=reading.spell).ask(clip.text), reading)


class Listener:
    """Called by a run after each evaluation: sound and pictures, and wav files in `folder`."""

    def __init__(self, model: DualFFN, codec: Codec, lines: Sequence[Line], folder: Path) -> None:
        self.model, self.codec, self.lines = model, codec.eval(), lines
        self.folder = Path(folder) / FOLDER

    def __call__(self, step: int, journal: Journal) -> None:
        for line in self.lines:
            self._compare(line, step, journal)
        spoken = speak(self.model, self.lines)
        for line, codes in zip(self.lines, spoken, strict=True):
            if codes is None or not codes.shape[1]:
                what = "could not be spoken" if codes is None else "is silent"
                journal.line(f"step {step}  {line.name} {what}")
                continue
            self._tell(f"step-{step:08d}", line, self._decoded(codes), step, journal)

    def _compare(self, line: Line, step: int, journal: Journal) -> None:
        """The recording, and what the codec makes of its codes, unless they are there already."""
        if line.codes is not None and not self._path("codec", line).exists():
            self._tell("codec", line, self._decoded(line.codes), step, journal)
        if line.recording is not None and not self._path("recording", line).exists():
            sound = torch.from_numpy(read(line.recording, rate=self.codec.sample_rate))
            self._tell("recording", line, sound, step, journal)
            if line.text:  # with it the recording is a voice to `higgs say`
                place = self._path("recording", line).with_suffix(".txt")
                place.write_text(line.text + "\n", encoding="utf-8")

    def _tell(self, kind: str, line: Line, samples: Tensor, step: int, journal: Journal) -> None:
        path, rate = self._path(kind, line), self.codec.sample_rate
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, samples.numpy(), rate=rate)
        tag = f"{line.name}/{'model' if kind.startswith('step') else kind}"
        journal.sound(step, tag, samples, rate)
        journal.picture(step, tag, samples, rate)

    def _decoded(self, codes: Tensor) -> Tensor:
        return self.codec.decode(codes).float().cpu()

    def _path(self, kind: str, line: Line) -> Path:
        name = re.sub(r"[^\w.-]+", "-", line.name)  # of a clip, which need not be fit for a file
        return self.folder / kind / f"{name}.wav"


def speak(model: DualFFN, lines: Sequence[Line]) -> list[Tensor | None]:
    """Codes [K, F] of each, by the weights as they are now; None for one that failed."""
    room = sum(-(-(len(line.prompt) + line.most) // PAGE) * PAGE for line in lines)
    with _undisturbed(model):
        engine = Engine(model, EngineConfig(slots=len(lines), positions=room))
        numbers = [
            engine.add(line.prompt, Sampling(seed=line.seed, max_new_tokens=line.most))
            for line in lines
        ]
        frames: dict[int, list[Tensor]] = {number: [] for number in numbers}
        while not engine.idle:
            try:
                for event in engine.step():
                    frames[event.request].append(event.frames)
            except RequestFailed as failure:
                del frames[failure.request]
    return [_joined(frames.get(number)) for number in numbers]


def _joined(parts: Iterable[Tensor] | None) -> Tensor | None:
    return None if parts is None else torch.cat(list(parts), dim=1)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """For inference in the middle of training, after which all is as it was."""
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    cards = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(cards), torch.autocast(device.type, enabled=False):
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
