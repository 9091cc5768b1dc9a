"""An order made into bytes, in the thread of a take, and what becomes known on the way.

Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np

from faster_higgs.audio.encode import encode, encoder_for
from faster_higgs.audio.files import read
from faster_higgs.audio.levels import Samples
from faster_higgs.audio.reference import LONGEST_CLIP, fit_for_a_voice
from faster_higgs.audio.shape import Shape
from faster_higgs.errors import Aborted, VoiceNotFound
from faster_higgs.prompt.voices import Voice
from faster_higgs.server.desk import OnStop
from faster_higgs.server.ledger import Ledger
from faster_higgs.server.order import Clip, Order
from faster_higgs.speech import Higgs
from faster_higgs.spoken import Piece

# The names OpenAI's clients send. Each is one of the model's own voices, if it has any.
OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx"),
    *("nova", "sage", "shimmer", "verse", "marin", "cedar"),
)
GOOD_ENDS = ("stop", "silence")
KEPT_CLIPS = 64


class Clones:
    """Voices of clips that were sent; the latest are kept, as codes only."""

    def __init__(self, higgs: Higgs) -> None:
        self._higgs = higgs
        self._kept: OrderedDict[str, Voice] = OrderedDict()
        self._lock = threading.Lock()  # one clip is encoded at a time

    def voice(self, clip: Clip) -> Voice:
        """Raises Refusal, AudioError, VoiceError."""
        data = clip.data()
        key = hashlib.sha256(data + b"\0" + clip.text.encode()).hexdigest()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._made(data, clip.text)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_CLIPS:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _made(self, data: bytes, text: str) -> Voice:
        samples = read(data, rate=self._higgs.rate, max_seconds=LONGEST_CLIP)
        codes = self._higgs.encode(fit_for_a_voice(samples, self._higgs.rate))
        return Voice("reference", codes, text)


class Making:
    """One speech: its bytes, and the facts that its headers and its last words tell."""

    def __init__(self, higgs: Higgs, order: Order, clones: Clones, ledger: Ledger) -> None:
        self._higgs, self.order, self._clones, self._ledger = higgs, order, clones, ledger
        self._shape = Shape(higgs.rate, speed=order.speed, to=order.rate)
        self.rate = self._shape.rate
        self.voice = ""  # who speaks, in words
        self.utterances = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.samples = 0
        self.ends: list[Piece] = []  # the last of each utterance
        self.finish = "stop"
        self.begin = time.perf_counter()
        self.seconds = 0.0  # of making

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return self.samples / self.rate

    def streamed(self, on_stop: OnStop) -> Generator[bytes]:
        """The pieces of one file, the first when something is to be heard."""
        encoder = encoder_for(self.order.format, self.rate)
        with closing(self._sound(on_stop)) as sound:
            for samples in sound:
                if data := encoder.encode(samples):
                    yield data
        yield encoder.finish()

    def whole(self, on_stop: OnStop) -> Generator[bytes]:
        """The file at once, with exact lengths in its header."""
        with closing(self._sound(on_stop)) as sound:
            samples = np.concatenate([np.zeros(0, np.float32), *sound])
        yield encode(samples, self.order.format, self.rate)

    def _sound(self, on_stop: OnStop) -> Generator[Samples]:
        """Samples as they are told; counted, whatever the end."""
        first: float | None = None
        well = False
        self._ledger.begin()
        try:
            for samples in self._shaped(on_stop):
                self.samples += samples.size
                if samples.size and first is None:
                    first = time.perf_counter() - self.begin
                yield samples
            well = True
        except (Aborted, GeneratorExit):
            self._ledger.aborted()
            raise
        finally:
            self.seconds = time.perf_counter() - self.begin
            self._ledger.end(self.seconds, self.duration, first, well=well)

    def _shaped(self, on_stop: OnStop) -> Iterator[Samples]:
        order = self.order
        pieces = self._higgs.pieces(
            order.text, self._voices(), order.sampling, order.delivery, on_stop=on_stop
        )
        for piece in pieces:
            self._note(piece)
            yield self._shape.feed(piece.samples)
        yield self._shape.finish()

    def _voices(self) -> str | list[Voice] | None:
        order = self.order
        if order.clips:
            return [self._clones.voice(clip) for clip in order.clips]
        if order.described:
            return [Voice("described", description=order.described)]
        return cast(order.voice, self._higgs)

    def _note(self, piece: Piece) -> None:
        if not self.voice:
            names = dict.fromkeys(voice.name for voice in piece.utterance.setting.voices)
            self.voice = ", ".join(names) or "chosen by the model"
        if piece.result is None:
            return
        self.ends.append(piece)
        self.utterances += 1
        self.input_tokens += piece.result.prompt_tokens
        codes = piece.codes
        self.output_tokens += 0 if codes is None else int(codes.shape[1])
        finish = piece.result.finish.value
        if finish != "stop" and self.finish in GOOD_ENDS:
            self.finish = finish


def cast(wanted: str | None, higgs: Higgs) -> str | None:
    """Names of voices that are there, for names as clients write them. Raises VoiceNotFound."""
    if wanted is None:
        return None
    known = {files.name: files.name for files in higgs.voices.list()}
    lower = {name.lower(): name for name in known}
    own = higgs.manners.voices
    found: list[str] = []
    for name in (part.strip() for part in wanted.split(",")):
        one = known.get(name) or lower.get(name.lower())
        if one is None and name.lower() in OPENAI_VOICES:
            if not own:
                return None  # the model chooses
            one = own[OPENAI_VOICES.index(name.lower()) % len(own)]
        found.append(one or name)
    for name in found:
        if name not in known and not name.startswith("profile:"):
            raise VoiceNotFound(
                f"There is no voice '{name}'; GET /v1/audio/voices lists those there are."
            )
    return ",".join(found)
