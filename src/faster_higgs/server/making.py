"""An order made into bytes, in the thread of a take, and what becomes known on the way.

Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from faster_higgs.audio.encode import encode, encoder_for
from faster_higgs.audio.files import FROM_STRANGERS, read
from faster_higgs.audio.levels import Samples
from faster_higgs.audio.reference import fit_for_a_voice
from faster_higgs.audio.shape import Shape
from faster_higgs.errors import Aborted, DeadlinePassed, HiggsError, VoiceNotFound
from faster_higgs.fetch import Elsewhere
from faster_higgs.prompt.voices import (
    OPENAI_NAME,
    OPENAI_VOICES,
    PROFILES,
    Voice,
    VoiceFiles,
    VoiceStore,
)
from faster_higgs.server.accounts import asker
from faster_higgs.server.clips import Clip
from faster_higgs.server.desk import OnStop
from faster_higgs.server.engine import Admit, Engine, as_asked
from faster_higgs.server.errors import Refusal, bad, refusal
from faster_higgs.server.ledger import Ledger, Playback
from faster_higgs.server.order import Order, Role, Told
from faster_higgs.server.takes import Takes
from faster_higgs.spoken import Part, Piece
from faster_higgs.text.tags import SPEAKER

GOOD_ENDS = ("stop", "silence")
KEPT_CLIPS = 64


def overshadowed(files: VoiceFiles) -> bool:
    """Whether a user's voice has an OpenAI name that was not given to it on purpose."""
    named = files.own and files.name.lower() in OPENAI_VOICES
    return named and not files.about().get(OPENAI_NAME)


class Clones:
    """Voices of clips that were sent; the latest are kept, as codes only."""

    def __init__(self, higgs: Engine, ledger: Ledger, elsewhere: Elsewhere, longest: float) -> None:
        """`longest`: seconds that a clip may have."""
        self._higgs, self._ledger = higgs, ledger
        self._elsewhere, self._longest = elsewhere, longest
        self._kept: OrderedDict[str, Voice] = OrderedDict()
        self._lock = threading.Lock()  # one clip is encoded at a time

    def voice(self, clip: Clip) -> Voice:
        """Raises Refusal, AudioError, VoiceError."""
        data = clip.data(self._elsewhere)
        key = hashlib.sha256(data + b"\0" + clip.text.encode()).hexdigest()
        with self._lock:
            self._ledger.reference(known=key in self._kept)
            if key not in self._kept:
                self._kept[key] = self._made(data, clip.text)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_CLIPS:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _made(self, data: bytes, text: str) -> Voice:
        samples = read(
            data, rate=self._higgs.rate, max_seconds=self._longest, bounds=FROM_STRANGERS
        )
        codes = self._higgs.encode(fit_for_a_voice(samples, self._higgs.rate))
        return Voice("reference", codes, text)


@dataclass(frozen=True)
class Begun:
    """An utterance is about to be heard, at a second of the sound as it is told."""

    index: int
    text: str
    begin: float
    speaker: str | None


@dataclass(frozen=True)
class Ended(Part):
    """An utterance was heard."""

    index: int = 0


News = Begun | Ended


class Making:
    """One speech: its bytes, and the facts that its headers and its last words tell."""

    def __init__(
        self,
        higgs: Engine,
        order: Order,
        clones: Clones,
        ledger: Ledger,
        takes: Takes,
        *,
        admit: Admit = as_asked,
        note: str = "",
    ) -> None:
        """The `note` is kept in the file, where it has a place for one."""
        self._file_note = note
        self._higgs, self.order, self._clones = higgs, order, clones
        self._ledger, self._takes = ledger, takes
        self._account, self._admit = asker(), admit
        self.rate = order.rate or higgs.rate
        self.take = f"take_{secrets.token_hex(8)}"
        self.kept = False  # whether the take can become a voice
        self.voice = ""  # who speaks, in words
        self.parts: list[Ended] = []  # utterances that were heard
        self.input_tokens = 0
        self.heard_tokens = 0  # of them
        self.output_tokens = 0
        self.samples = 0
        self.ends: list[Piece] = []  # the last of each utterance
        self.finish = "stop"
        self.created = int(time.time())
        self.begin = time.perf_counter()
        self.seconds = 0.0  # of making

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return self.samples / self.rate

    @property
    def utterances(self) -> int:
        """How many were heard."""
        return len(self.parts)

    def streamed(self, on_stop: OnStop) -> Generator[bytes]:
        """The pieces of one file, the first when something is to be heard."""
        with closing(self.told(on_stop)) as told:
            for one in told:
                if isinstance(one, bytes):
                    yield one

    def told(self, on_stop: OnStop) -> Generator[bytes | News]:
        """The same, and which utterance begins and ends between them."""
        encoder = encoder_for(self.order.format, self.rate, self._file_note)
        with closing(self._sound(on_stop)) as sound:
            for one in sound:
                if not isinstance(one, np.ndarray):
                    yield one
                elif data := encoder.encode(one):
                    yield data
        yield encoder.finish()

    def whole(self, on_stop: OnStop) -> Generator[bytes]:
        """The file at once, with exact lengths in its header."""
        with closing(self._sound(on_stop)) as sound:
            heard = [one for one in sound if isinstance(one, np.ndarray)]
        samples = np.concatenate([np.zeros(0, np.float32), *heard])
        yield encode(samples, self.order.format, self.rate, self._file_note)

    def _sound(self, on_stop: OnStop) -> Generator[Samples | News]:
        """Samples as they are told, and news; counted, whatever the end."""
        first: float | None = None
        well, playback = False, Playback()
        self._ledger.begin()
        try:
            for one in self._shaped(on_stop):
                if isinstance(one, np.ndarray):
                    self._account.heard(one.size / self.rate)
                    self._ledger.made(0, one.size)
                    playback.heard(one.size / self.rate, time.perf_counter())
                if isinstance(one, np.ndarray) and one.size and first is None:
                    first = time.perf_counter() - self.begin
                yield one
            well = True
            if self.order.mode != "whole":
                self._ledger.streamed(playback)
            if self.finish == "deadline":
                self._ledger.late()
        except DeadlinePassed:
            self._ledger.late()
            raise
        except (Aborted, GeneratorExit):
            self._ledger.aborted()
            raise
        finally:
            self.seconds = time.perf_counter() - self.begin
            self._ledger.end(self.seconds, self.duration, first, well=well)

    def _shaped(self, on_stop: OnStop) -> Iterator[Samples | News]:
        """Each utterance is shaped for itself: so its times are exact, and pauses stay as long."""
        order = self.order = self._admit(self.order)
        ends = list[Piece]()
        shape: Shape | None = None
        begin = 0
        pieces = self._higgs.pieces(
            order.text, self.voices(), order.sampling, order.delivery, on_stop=on_stop
        )
        for piece in pieces:
            self._note(piece)
            if piece.is_pause:
                length = round(len(piece.samples) * self.rate / self._higgs.rate)
                yield self._counted(np.zeros(length, np.float32))
                continue
            if shape is None:
                shape = Shape(self._higgs.rate, speed=order.speed, to=order.rate)
                begin = self.samples
                yield Begun(len(self.parts), *self._who(piece, begin))
            yield self._counted(shape.feed(piece.samples))
            if piece.result is not None:
                yield self._counted(shape.finish())
                yield self._ended(piece, begin)
                ends.append(piece)
                shape = None
        self.kept = self._takes.keep(self.take, ends)

    def _ended(self, piece: Piece, begin: int) -> Ended:
        assert piece.result is not None
        text, start, speaker = self._who(piece, begin)
        end, finish = self.duration, piece.result.finish
        self.parts.append(Ended(text, start, end, finish, speaker, len(self.parts)))
        return self.parts[-1]

    def _counted(self, samples: Samples) -> Samples:
        self.samples += samples.size
        return samples

    def _who(self, piece: Piece, begin: int) -> tuple[str, float, str | None]:
        """What is said, from when, and by whom, under the names that were given."""
        names, text, tag = self.order.names, piece.utterance.text, piece.utterance.speaker
        if tag is not None:
            return SPEAKER.sub("", text).strip(), begin / self.rate, names.get(tag, tag)
        text = SPEAKER.sub(lambda found: f"{names.get(found[1], found[1])}:", text)
        return text, begin / self.rate, None

    def voices(self) -> str | list[Voice] | None:
        """Who speaks: names that are there, voices of clips or words, or whom the model wants."""
        order = self.order
        if order.cast:
            return self._company()
        if order.clips:
            return [self._clones.voice(clip) for clip in order.clips]
        if order.described:
            return [Voice("described", description=order.described)]
        return cast(order.voice, self._higgs)

    def _company(self) -> list[Voice] | None:
        """The voices of a dialogue. Raises Refusal for a speaker who has none, by name."""
        found: list[Voice | None] = []
        for name, role in zip(self.order.names.values(), self.order.cast, strict=True):
            try:
                found.append(self._played(role))
            except (HiggsError, Refusal) as error:
                refused = refusal(error)
                refused.param = f"speakers.{name}.{refused.param}"
                raise refused from None
        if not any(found):
            return None  # the model chooses
        if None in found:
            name = [*self.order.names.values()][found.index(None)]
            raise bad(
                "This model has no voices of its own for OpenAI's names to mean; name another.",
                f"speakers.{name}.voice",
                "invalid_voice",
            )
        voices = [voice for voice in found if voice is not None]
        self.voice = ", ".join(dict.fromkeys(voice.name for voice in voices))
        return voices

    def _played(self, role: Role) -> Voice | None:
        if isinstance(role, Voice):
            return role
        if isinstance(role, Clip):
            return self._clones.voice(role)
        if isinstance(role, Told):
            return Voice("described", description=role.words)
        name = cast(role, self._higgs)
        return None if name is None else self._higgs.voices.load(name)

    def _note(self, piece: Piece) -> None:
        if not self.voice:
            names = dict.fromkeys(voice.name for voice in piece.utterance.setting.voices)
            self.voice = ", ".join(names) or "chosen by the model"
        if piece.result is None:
            return
        self.ends.append(piece)
        self.input_tokens += piece.result.prompt_tokens
        self.heard_tokens += piece.heard
        codes = piece.codes
        frames = 0 if codes is None else int(codes.shape[1])
        self.output_tokens += frames
        self._ledger.made(frames, 0)
        finish = piece.result.finish.value
        if finish != "stop" and self.finish in GOOD_ENDS:
            self.finish = finish


def cast(wanted: str | None, higgs: Engine) -> str | None:
    """Names of voices that are there, for names as clients write them. Raises VoiceNotFound."""
    return None if wanted is None else casting(wanted, higgs.voices, higgs.manners.voices)


def casting(wanted: str, store: VoiceStore, own: Sequence[str]) -> str | None:
    """The same, where `own` are the model's voices and None leaves it to the model."""
    known = {files.name for files in store.list() if not overshadowed(files)}
    lower = {name.lower(): name for name in known}
    found: list[str] = []
    for name in (part.strip() for part in wanted.split(",")):
        if not name:
            raise VoiceNotFound(
                "A name is missing in voice; write one before and after each comma."
            )
        one = name if name in known else lower.get(name.lower())
        if one is None and name.lower() in OPENAI_VOICES:
            if not own:
                return None  # the model chooses
            one = own[OPENAI_VOICES.index(name.lower()) % len(own)]
        found.append(one or name)
    profiles = {f"profile:{name}" for name in (*PROFILES, *known)}
    for name in found:
        if name not in known and name not in profiles:
            raise VoiceNotFound(
                f"There is no voice '{name}'; GET /v1/audio/voices lists those there are."
            )
    return ",".join(found)
