"""The spine: text to speech in five stages. `Higgs.pieces` is the road, the rest are ways to go it.

Knows nothing of command lines, HTTP or environment variables.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faster_higgs.answers import Answer, answered, urgency_of
from faster_higgs.audio.encode import encoder_for
from faster_higgs.audio.levels import Samples
from faster_higgs.audio.quiet import Quiet, Untouched
from faster_higgs.audio.reference import read_clip
from faster_higgs.checkpoint.adapted import Choice, chosen, notes
from faster_higgs.checkpoint.adapter import Weighted
from faster_higgs.checkpoint.choice import Plan
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.files import default_model, find_codec, resolve
from faster_higgs.checkpoint.fingerprint import fingerprint as weights_of
from faster_higgs.checkpoint.fit import fit, loading, wish_for
from faster_higgs.checkpoint.load import load_model, refuse_other_codec
from faster_higgs.codec.codec import Codec
from faster_higgs.codec.stream import SharedDecoder
from faster_higgs.config import EngineConfig
from faster_higgs.delivery import Delivery, Utterance, cast, utterances
from faster_higgs.device import give_back, named
from faster_higgs.engine.engine import Engine, Stats
from faster_higgs.engine.request import Finish, FrameEvent, Result
from faster_higgs.engine.scheduler import INTERACTIVE
from faster_higgs.engine.worker import OnStop, Worker
from faster_higgs.errors import EngineError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.prompt.template import Message, Prompt, write
from faster_higgs.prompt.tokens import END_OF_TEXT, EOT, TextTokenizer
from faster_higgs.prompt.voices import Voice, VoiceStore
from faster_higgs.quant.quantization import Quantization
from faster_higgs.sampling import Sampling
from faster_higgs.spoken import Gathering, Manners, Piece, Speech, no_audio, pause

Voices = str | Voice | Sequence[str | Voice] | None
CONTEXT = 8192  # positions of a prompt with earlier chunks; the original's cache has as many


class Higgs:
    """A loaded model. Load it once; several threads may call `speak`, `stream` and `clone`."""

    _longest = CONTEXT  # positions of a prompt and its answer

    def __init__(
        self,
        model: DualFFN,
        codec: Codec,
        tokenizer: TextTokenizer,
        folder: Path,
        *,
        codec_folder: Path,
        voices: Sequence[Path],
        engine: EngineConfig = EngineConfig(),
    ) -> None:
        self.config = model.config
        self.codec = codec
        self.rate = codec.sample_rate
        self.folder = folder
        self.tokenizer = tokenizer
        self.voices = VoiceStore(
            [*voices, folder / "voices"], self.encode, fingerprint(codec), writable=bool(voices)
        )
        self.manners = Manners.load(folder)
        self._codec_folder = codec_folder
        self._longest = min(model.config.positions, engine.positions, CONTEXT)
        self._worker = Worker(Engine(model, engine))

    @classmethod
    def load(  # noqa: PLR0913  one for each thing that is loaded
        cls,
        model: str | Path | None = None,
        *,
        codec: str | Path | None = None,
        revision: str | None = None,
        device: str | Plan = "auto",
        voices: Sequence[str | Path] = (),
        text_head: bool = False,
        quantization: Quantization | None = None,
        engine: EngineConfig | None = None,
        adapters: Sequence[Choice] = (),
    ) -> Higgs:
        """A checkpoint: a folder, a hub id that is on this machine, or None for the default one.

        `voices` are folders of voices; the first may be written, the checkpoint's own never.
        Without `quantization` weights are as the files have them, without `engine` the cache is as
        large as there is room for; a plan in place of a device's name says both. `adapters` are
        folders, or pairs of a folder and how often its change counts.
        Raises CheckpointNotFound, CheckpointError, and SettingError, also where there is no room.
        """
        folder = resolve(default_model().folder if model is None else model, revision)
        codec_folder = find_codec(folder) if codec is None else resolve(codec)
        plan = device
        if isinstance(plan, str):
            wish = wish_for(quantization, engine)
            plan = fit(folder, codec_folder, named(plan), wish, text_head=text_head)
            for note in plan.notes:
                logging.getLogger(__name__).warning(note)
        tokenizer = TextTokenizer.load(folder)
        change = _chosen(folder, adapters)
        config, network = load_model(folder, text_head=text_head, adapters=change, **loading(plan))
        tokenizer.refuse_other_ids(config)
        sound = load_codec(codec_folder, device=plan.device, encoder=False)
        refuse_other_codec(config, sound.config)
        return cls(
            network.eval(),
            sound.eval(),
            tokenizer,
            folder,
            codec_folder=codec_folder,
            voices=[Path(v) for v in voices],
            engine=plan.engine,
        )

    def pieces(
        self,
        text: str,
        voice: Voices = None,
        sampling: Sampling = Sampling(),
        delivery: Delivery = Delivery(),
        *,
        said: Sequence[Tensor | None] = (),
        on_stop: OnStop | None = None,
    ) -> Generator[Piece]:
        """Speech as samples while it is made.

        `said` goes on where a speech was broken off: what its pieces `remembered`, one for each of
        the first utterances, which are not made again. `on_stop` is handed functions that end it
        from another thread, with Aborted. Raises TextError, VoiceNotFound, SettingError, NoAudio,
        DeadlinePassed.
        """
        sampling, urgency = _seeded(sampling), urgency_of(delivery, on_stop)

        def frames(prompt: Prompt, limited: Sampling) -> Generator[FrameEvent]:
            return self.frames(prompt, limited, self._ends, **urgency)

        plan = self.plan(text, voice, delivery)  # 1 text
        begun = answered(
            plan, sampling, self._talk, self._fitted, frames, said
        )  # 2 prompt, 3 engine
        with closing(begun) as answers:
            for answer in answers:
                for piece in self._sound(answer):  # 4 codec
                    if piece.remembered is not None:
                        answer.talk.heard(piece.utterance.text, piece.remembered)
                    yield piece
                    if piece.result is not None and piece.result.finish is Finish.DEADLINE:
                        return  # what follows would be late as well

    def speak(
        self,
        text: str,
        voice: Voices = None,
        sampling: Sampling = Sampling(),
        delivery: Delivery = Delivery(),
        *,
        progress: Callable[[float], None] | None = None,
    ) -> Speech:
        """The whole speech. `progress` is called with the seconds that are ready."""
        sampling, gathered = _seeded(sampling), Gathering(self.rate)
        for piece in self.pieces(text, voice, sampling, delivery):
            gathered.add(piece)
            if progress is not None:
                progress(gathered.length / self.rate)
        return gathered.speech(sampling.seed or 0)

    def stream(
        self,
        text: str,
        voice: Voices = None,
        sampling: Sampling = Sampling(),
        delivery: Delivery = Delivery(),
        *,
        format: str = "wav",
    ) -> Iterator[bytes]:
        """The speech as bytes of one sound file, the first long before the last is known."""
        encoder = encoder_for(format, self.rate)
        for piece in self.pieces(text, voice, sampling, delivery):
            yield encoder.encode(piece.samples)  # 5 audio
        yield encoder.finish()

    def clone(self, clip: str | Path, transcript: str, name: str = "clone") -> Voice:
        """A voice from a clip and what is said in it; `voices.add` keeps one.

        Raises AudioError, VoiceError.
        """
        return Voice(name, self.encode(Path(clip)), transcript)

    def encode(self, clip: Path | Samples) -> Tensor:
        """Codes [K, F] of samples [S] at the model's rate, or of a file fit to be a voice.

        Raises AudioError.
        """
        self._refuse_unloaded()
        samples = read_clip(clip, self.rate) if isinstance(clip, Path) else clip
        return self._encoder.encode(torch.from_numpy(np.ascontiguousarray(samples))).cpu()

    def decode(self, codes: Tensor) -> Samples:
        """Samples [S] of codes [K, F]."""
        self._refuse_unloaded()
        return _numpy(self.codec.decode(codes.to(self.codec.device)))

    def plan(
        self, text: str, voice: Voices = None, delivery: Delivery = Delivery()
    ) -> list[Utterance]:
        """The utterances a text is spoken in, with their voices.

        Raises TextError, VoiceNotFound, SettingError.
        """
        voices = self._cast(text, voice, delivery)
        plan = utterances(text, delivery, voices, self.manners.max_words)
        if self.config.text_input == "phonemes":
            from faster_higgs.text.pronounce import refuse_unreadable

            refuse_unreadable(" ".join(utterance.text for utterance in plan))
        return plan

    def prompt(self, messages: Sequence[Message], *, force_audio: bool = True) -> Prompt:
        """A conversation as the model reads it."""
        return write(messages, self.tokenizer, force_audio=force_audio)

    def frames(
        self,
        prompt: Prompt,
        sampling: Sampling,
        stop_ids: Sequence[int] = (),
        *,
        priority: int = INTERACTIVE,
        deadline: float | None = None,
        on_stop: OnStop | None = None,
    ) -> Generator[FrameEvent]:
        """What the model answers to a prompt: frames while they become whole, and a result.

        `deadline` is a time of `time.monotonic`; for `on_stop` see `pieces`.
        """
        return self._worker.frames(
            prompt, sampling, stop_ids, priority=priority, deadline=deadline, on_stop=on_stop
        )

    def unload(self) -> None:
        """Stop the engine and give all memory back. What is in flight ends with an EngineError."""
        self._worker.close()
        self._decoder.close()
        self.__dict__.pop("_encoder", None)
        self.codec.to_empty(device="meta")
        give_back()

    close = unload

    def revive(self, fresh: Higgs) -> None:
        """Become `fresh`, after `unload`; whoever holds this one goes on with it."""
        self.__dict__ = fresh.__dict__

    def stats(self) -> Stats:
        """How the engine is, and what it has done."""
        return self._worker.stats()

    def __enter__(self) -> Higgs:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _refuse_unloaded(self) -> None:
        if self.codec.device.type == "meta":
            raise EngineError("The model was unloaded; load it again.")

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """Text tokens that end an answer."""
        return self.tokenizer.special(EOT), self.tokenizer.special(END_OF_TEXT)

    @cached_property
    def spell(self) -> Callable[[str], str]:
        """How speech is written for this checkpoint: as it is, or in phonemes."""
        if self.config.text_input == "text":
            return str
        from faster_higgs.text.pronounce import spelling

        return spelling(self.config.text_input)

    @cached_property
    def _decoder(self) -> SharedDecoder:
        return SharedDecoder(self.codec)

    @cached_property
    def _encoder(self) -> Codec:
        return load_codec(self._codec_folder, device=self.codec.device, encoder=True).eval()

    def _cast(self, text: str, voice: Voices, delivery: Delivery) -> tuple[Voice, ...]:
        """The voices in the order of the speakers; if none is named, those the checkpoint wants."""
        names: Sequence[str | Voice]
        if voice is None:
            names = cast(text, delivery, self.manners.voices)
        elif isinstance(voice, str):
            names = [name.strip() for name in voice.split(",")]
        else:
            names = [voice] if isinstance(voice, Voice) else voice
        return tuple(self.voices.load(v) if isinstance(v, str) else v for v in names)

    def _talk(self, utterance: Utterance) -> Conversation:
        """One that has heard nothing yet."""
        return Conversation(utterance.setting, utterance.tags, self.spell)

    def _fitted(self, talk: Conversation, utterance: Utterance) -> Prompt:
        """The prompt of an utterance; it forgets the oldest chunks where there is no room."""
        room = self._longest - min(utterance.steps, self._longest // 2)
        prompt = self.prompt(talk.ask(utterance.text))
        while len(prompt) > room and talk.forget():
            prompt = self.prompt(talk.ask(utterance.text))
        return prompt

    def _sound(self, answer: Answer) -> Iterator[Piece]:
        """Samples of one utterance; guarded, without silence that nothing follows.

        Raises NoAudio, DeadlinePassed.
        """
        sampling, utterance, frames = answer.sampling, answer.utterance, list[Tensor]()
        quiet, decoded = (Quiet if sampling.rules == "guarded" else Untouched)(self.rate), 0
        with closing(answer.events), closing(self._decoder.stream()) as decoder:
            yield from pause(utterance, utterance.before, self.rate)
            for event in answer.events:
                frames.append(event.frames)
                result = event.result
                for samples in decoder.decode(event.frames, last=result is not None):
                    decoded += len(samples) // self.codec.hop
                    yield Piece(utterance, quiet.feed(_numpy(samples)))
                if quiet.too_long:
                    result = Result(Finish.SILENCE, sampling.seed or 0, len(answer.prompt), (), ())
                if result is not None:
                    codes = torch.cat(frames, dim=1)
                    cut = result.finish is Finish.DEADLINE and not answer.is_first
                    if not codes.shape[1] and not cut:
                        raise no_audio(result, len(codes))
                    kept = decoded - quiet.dropped // self.codec.hop
                    heard = answer.prompt.heard
                    yield Piece(utterance, quiet.finish(), result, codes[:, :kept], heard)
                    break
            yield from pause(utterance, utterance.after, self.rate)


def _chosen(folder: Path, adapters: Sequence[Choice]) -> list[Weighted]:
    """Adapters as they are folded in; of those that are read here it is told what is amiss."""
    found = chosen(adapters)
    read = [one for one, choice in zip(found, adapters, strict=True) if one is not choice]
    for note in notes(weights_of(folder), read) if read else ():
        logging.getLogger(__name__).warning(note)
    return found


def _seeded(sampling: Sampling) -> Sampling:
    return sampling if sampling.seed is not None else replace(sampling, seed=secrets.randbits(32))


def fingerprint(codec: Codec) -> str:
    """What the meaning of codes depends on."""
    tables = [t for name, t in codec.quantizer.state_dict().items() if name.endswith("embed")]
    meaning = hashlib.sha256(b"".join(t.cpu().float().numpy().tobytes() for t in tables))
    return meaning.hexdigest()[:16]


def _numpy(samples: Tensor) -> Samples:
    return np.asarray(samples.detach().cpu().float().numpy(), dtype=np.float32)
