"""Another server in the place of a model: the same texts, voices and pieces, spoken elsewhere.

What stands for codes here is the sound itself, [960, F]: a column of 16-bit samples for each 40 ms.
Knows nothing of HTTP's errors, nor how the servers differ.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faster_higgs.audio.encode import to_int16
from faster_higgs.audio.levels import Samples
from faster_higgs.audio.reference import read_clip
from faster_higgs.delivery import Delivery, Utterance, utterances
from faster_higgs.deploy.dialects import (
    BOSON_NAMED,
    DIALECTS,
    FRAME,
    RATE,
    SPEECH,
    Dialect,
    Telling,
    model_names,
    recognised,
    request,
    sound,
    sound_of,
    whole_body,
)
from faster_higgs.deploy.upstream import OnStop, Upstream, voice_names
from faster_higgs.engine.engine import Stats
from faster_higgs.errors import (
    DeadlinePassed,
    EngineError,
    NoAudio,
    SettingError,
    UpstreamError,
    VoiceError,
)
from faster_higgs.prompt.conversation import Conversation, Setting
from faster_higgs.prompt.voices import OPENAI_VOICES, Voice, VoiceFiles, VoiceStore
from faster_higgs.sampling import Sampling
from faster_higgs.server.errors import bad
from faster_higgs.server.order import Order
from faster_higgs.speech import Voices
from faster_higgs.spoken import Manners, Piece, last_piece, pause

LONGEST = 4096  # characters that a Faster Higgs takes at once
SOON = 5.0  # seconds to answer whether it is well
_FRESH = 2.0  # seconds that an answer about health holds
_KNOWN = 10.0  # seconds that a list of voices holds

# Other names of fields, and of settings where they differ from the field.
_FIELDS = {"max_tokens": "max_new_tokens", "reference_audio_base64": "ref_audio"}
_FIELDS |= {"references": "ref_audio", "ref_text": "ref_audio"}
_SETTINGS = {"ras_window": "ras_win_len", "ras_repeats": "ras_win_max_num_repeat"}


class Remote:
    """A server elsewhere that speaks in the place of a `Higgs`."""

    rate = RATE

    def __init__(
        self,
        upstream: Upstream,
        *,
        dialect: str | None = None,
        model: str | None = None,
        voices: Sequence[Path] = (),
    ) -> None:
        """`voices` are folders of clips here; they are sent where they are asked for.

        Raises SettingError.
        """
        if dialect is not None and dialect not in DIALECTS:
            raise SettingError(f"engine_dialect is '{dialect}'; use one of {', '.join(DIALECTS)}.")
        self.upstream = upstream
        self.voices = RemoteVoices(voices, self)
        self._dialect, self._model = dialect, model
        self._names: list[str] = []
        self._named_at = self._well_at = -1e9
        self._well = False
        self._listing, self._looking = threading.Lock(), threading.Lock()

    @property
    def dialect(self) -> Dialect:
        """Which kind of server it is; it is asked once. Raises EngineError."""
        if self._dialect is None:
            self._dialect = recognised(self._ask("/v1/models"), self._ask("/v1/audio/voices"))
        return DIALECTS[self._dialect]

    @property
    def model(self) -> str:
        """The name of its model. Raises EngineError."""
        if self._model is None:
            names = model_names(self._ask("/v1/models"))
            if not names:
                raise UpstreamError("The upstream lists no model; name it with HIGGS_ENGINE_MODEL.")
            self._model = names[0]
        return self._model

    @property
    def manners(self) -> Manners:
        """Its voices stand for the names that clients send without asking."""
        return Manners(tuple(n for n in self.names() if not n.startswith("profile:")))

    def names(self) -> list[str]:
        """The voices it knows by name; OpenAI's where it lists none. Raises EngineError."""
        with self._listing:
            if time.monotonic() - self._named_at > _KNOWN:
                names = voice_names(self._ask("/v1/audio/voices"))
                plain = not names and self.dialect.name == "openai"
                self._names = list(OPENAI_VOICES) if plain else names
                self._named_at = time.monotonic()
            return self._names

    def admit(self, order: Order) -> Order:
        """The order. Raises Refusal for a field that the upstream cannot follow."""
        dialect = self.dialect
        if dialect.name == "boson" and self._is_named(order):
            dialect = BOSON_NAMED
        asked = _asked_for(order)
        for name in asked:
            if reason := dialect.refused.get(_FIELDS.get(name, name)):
                raise bad(f"{name} cannot be followed: {reason}.", name, "unsupported_parameter")
        if order.described and not dialect.scenes:
            raise bad(
                "task_type cannot be 'VoiceDesign': the upstream does not understand descriptions.",
                "task_type",
                "unsupported_parameter",
            )
        sampling = order.sampling
        if not dialect.seeds:
            sampling = replace(sampling, seed=None)
        if dialect.temperature is not None and "temperature" not in asked:
            sampling = replace(sampling, temperature=dialect.temperature)
        return replace(order, sampling=sampling)

    def pieces(
        self,
        text: str,
        voice: Voices = None,
        sampling: Sampling = Sampling(),
        delivery: Delivery = Delivery(),
        *,
        on_stop: OnStop | None = None,
    ) -> Iterator[Piece]:
        """Speech as samples while it is made elsewhere; as `Higgs.pieces`. Raises EngineError, too,
        and SettingError for what the upstream cannot do."""
        patience = delivery.deadline
        urgency = {
            "deadline": None if patience is None else time.monotonic() + patience,
            "on_stop": on_stop,
        }
        talk: Conversation | None = None
        plan = self._plan(text, self._cast(voice), delivery)
        whole = self._takes_whole(text, delivery)
        if not whole:  # it is in words already
            delivery = replace(delivery, normalization="off")
        for number, utterance in enumerate(plan):
            if talk is None or utterance.fresh or talk.setting != utterance.setting:
                talk = Conversation(utterance.setting, utterance.tags)
            limited = sampling
            if not whole:
                limited = _limited(sampling, utterance, number, self.dialect.steps)
            asked = self._request(utterance, talk, limited, delivery)
            yield from pause(utterance, utterance.before, self.rate)
            for piece in self._spoken(utterance, asked, limited, urgency, first=not number):
                if piece.remembered is not None and self.dialect.clones:
                    talk.heard(utterance.text, piece.remembered)
                yield piece
                if piece.result is not None and piece.result.finish.value == "deadline":
                    return
            yield from pause(utterance, utterance.after, self.rate)

    def encode(self, clip: Path | Samples) -> Tensor:
        """What stands for codes: the sound. Raises AudioError, VoiceError."""
        if not self.dialect.clones:
            raise VoiceError("The upstream cannot speak like a clip; name one of its voices.")
        samples = read_clip(clip, RATE) if isinstance(clip, Path) else clip
        return _columns([samples])

    def decode(self, codes: Tensor) -> Samples:
        """The sound again."""
        return sound_of(codes)

    def facts(self) -> Mapping[str, Any]:
        """What /health tells of it."""
        well = self.is_well()
        return {
            "status": "ok" if well else "degraded",
            "model_loaded": well,
            "vllm_backend": self.upstream.url,
            "vllm_healthy": well,
            "engine": self._dialect or "unknown",
        }

    def is_well(self) -> bool:
        """Whether it says so; asked anew every few seconds."""
        with self._looking:
            if time.monotonic() - self._well_at > _FRESH:
                self._well = self._says_well()
                self._well_at = time.monotonic()
            return self._well

    def stats(self) -> Stats:
        """The engine is elsewhere, and counts there."""
        return Stats()

    def close(self) -> None:
        """Nothing is held."""

    def _says_well(self) -> bool:
        try:
            path = "/v1/models" if self.dialect.name == "openai" else "/health"
            told = self.upstream.ask(path, patience=SOON)
        except (EngineError, SettingError):
            return False
        return not (isinstance(told, dict) and told.get("status") == "degraded")

    def _ask(self, path: str) -> Any:
        return self.upstream.ask(path, patience=SOON)

    def _cast(self, voice: Voices) -> list[Voice]:
        if voice is None:
            return []
        names: Sequence[str | Voice] = [voice] if isinstance(voice, Voice) else voice
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",")]
        return [self.voices.load(one) if isinstance(one, str) else one for one in names]

    def _plan(self, text: str, voices: Sequence[Voice], delivery: Delivery) -> list[Utterance]:
        """What is asked for at once: of another Faster Higgs everything, it cuts texts itself."""
        if self._takes_whole(text, delivery):
            setting = Setting(tuple(voices), delivery.scene, delivery.system)
            return [Utterance(text, setting)]
        past = replace(delivery, history=1) if delivery.history is None else delivery
        return utterances(text, past, voices, self.dialect.words)

    def _takes_whole(self, text: str, delivery: Delivery) -> bool:
        usual = Delivery()
        ours = ("chunk_method", "max_words", "history", "voices_in_system")
        plain = all(getattr(delivery, name) == getattr(usual, name) for name in ours)
        return self.dialect.whole and plain and len(text) <= LONGEST

    def _request(
        self, utterance: Utterance, talk: Conversation, sampling: Sampling, delivery: Delivery
    ) -> tuple[str, dict[str, Any]]:
        """Path and body. Raises SettingError."""
        if not self.dialect.whole:
            asked = talk.ask(utterance.text)
            return request(self.dialect, utterance, asked, sampling, self.model)
        return SPEECH, whole_body(utterance, sampling, delivery, self.model)

    def _is_named(self, order: Order) -> bool:
        """Whether the upstream's own voices are asked for."""
        if order.voice is None or order.clips or order.described:
            return False
        wanted = {name.strip() for name in order.voice.split(",")}
        return any(not one.startswith("profile:") for one in wanted - {*self.voices.here()})

    def _spoken(
        self,
        utterance: Utterance,
        asked: tuple[str, Mapping[str, Any]],
        sampling: Sampling,
        urgency: Mapping[str, Any],
        *,
        first: bool = True,
    ) -> Iterator[Piece]:
        """The pieces of one answer. Raises NoAudio, DeadlinePassed, EngineError."""
        (path, body), telling, heard = asked, Telling(), list[Samples]()
        try:
            with self.upstream.post(path, body, **urgency) as call:
                _check_rate(call.header("X-Sample-Rate"))
                kind = call.header("Content-Type").lower()
                for samples in sound(call.pieces(), path, kind, telling):
                    heard.append(samples)
                    yield Piece(utterance, samples)
        except DeadlinePassed:
            if first and not heard:
                raise
            telling.finish = "deadline"
        if not heard and telling.finish != "deadline":
            raise NoAudio("The upstream answered without any sound; try another seed or text.")
        yield last_piece(
            utterance,
            np.zeros(0, np.float32),
            _columns(heard),
            finish=telling.finish,
            seed=sampling.seed,
            prompt_tokens=telling.prompt_tokens,
        )


def model_behind(remote: Remote) -> tuple[str, str]:
    """The name of its model, and a sentence about it; it need not be there yet."""
    try:
        name, kind = remote.model, remote.dialect.name
        return name, f"{remote.upstream.url} ({kind}) speaks, with {name}."
    except EngineError as error:
        return "higgs-audio-v2", f"{remote.upstream.url} is not ready: {error} It is asked again."


class RemoteVoices(VoiceStore):
    """Voices whose clips are here, and those that the upstream knows by name."""

    def __init__(self, folders: Sequence[Path], remote: Remote) -> None:
        super().__init__(folders, remote.encode, "sound", writable=bool(folders))
        self._remote = remote

    def here(self) -> dict[str, VoiceFiles]:
        """Those whose clips are here, by name."""
        return {files.name: files for files in super().list()}

    def list(self) -> list[VoiceFiles]:
        """All voices, by name; those of the folders win."""
        known = self.here()
        for name in self._remote.names():
            if not name.startswith("profile:"):
                place = Path(name + ".txt")
                known.setdefault(name, VoiceFiles(name, place, None, (), own=False))
        return [known[name] for name in sorted(known)]

    def load(self, name: str) -> Voice:
        """A voice; one of the upstream is a name alone."""
        theirs = name in self._remote.names() and name not in self.here()
        if theirs or (name.startswith("profile:") and self._remote.dialect.whole):
            return Voice(name, torch.zeros(FRAME, 0, dtype=torch.int16), name)
        return super().load(name)


def _asked_for(order: Order) -> list[str]:
    """The fields an order was given, and those whose values are not the usual ones."""
    own, usual = order.sampling, Sampling()
    changed = [name for name in vars(usual) if getattr(own, name) != getattr(usual, name)]
    found, known = set(order.given), {_FIELDS.get(name, name) for name in order.given}
    found |= {_SETTINGS.get(name, name) for name in changed if name != "seed"} - known
    if order.clips and "ref_audio" not in known:
        found.add("ref_audio")
    if not (own.ras_window and own.ras_repeats):  # off, which every upstream can do
        found -= set(_SETTINGS.values())
    return sorted(found)


def _limited(sampling: Sampling, utterance: Utterance, number: int, most: int | None) -> Sampling:
    """The settings of one utterance: its own random numbers, only steps it can need."""
    steps = min(sampling.max_new_tokens, utterance.steps, most or utterance.steps)
    return replace(sampling.of_utterance(number), max_new_tokens=steps)


def _columns(sounds: Sequence[Samples]) -> Tensor:
    """Sound as columns [960, F], the last filled up with silence."""
    samples = to_int16(np.concatenate([np.zeros(0, np.float32), *sounds]))
    filled = np.pad(samples, (0, -len(samples) % FRAME))
    return torch.from_numpy(np.ascontiguousarray(filled.reshape(-1, FRAME).T))


def _check_rate(told: str) -> None:
    if told and told != str(RATE):
        raise UpstreamError(f"The upstream speaks at {told[:20]} Hz; {RATE} are needed.")
