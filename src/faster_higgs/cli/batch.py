"""`higgs batch`: many texts to sound files, spoken side by side. Does not know how one is made."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faster_higgs.cli import flags as said
from faster_higgs.cli.command import Command, argument, as_command, flag, verbose
from faster_higgs.cli.flags import SayFlags
from faster_higgs.cli.items import Item, items
from faster_higgs.errors import GenerationError, HiggsError, OutputError, SettingError, unwritten

if TYPE_CHECKING:
    from faster_higgs.cli.manifest import Manifest, Row
    from faster_higgs.cli.request import Request
    from faster_higgs.prompt.voices import Voice
    from faster_higgs.speech import Higgs

TOGETHER, MOST = 16, 64
SEED = 0

_files = partial(flag, "Files")


def _same(name: str) -> Any:
    """The flag that `higgs say` has under this name."""
    (one,) = (one for one in fields(SayFlags) if one.name == name)
    return field(default=one.default, metadata=one.metadata)


@dataclass(frozen=True)
class BatchFlags:
    """What stands on the command line."""

    source: Path = argument(
        "INPUT",
        "A folder of .txt files; a .jsonl, .csv or .tsv file with id, text, voice, seed (all but "
        "the text may be left out); or any other file, one text a line.",
    )
    out: Path = _files(
        "--out -o --out-dir", "FOLDER", "Where the sound goes, as ID.FORMAT.", MISSING
    )
    format: str = _files("--format", "FORMAT", "The kind of sound file.", "wav")
    overwrite: bool = _files("--overwrite", None, "Make also what is there already.")
    batch_size: int = _files(
        "--batch-size", "N", f"How many are spoken side by side. [default: {TOGETHER}]", TOGETHER
    )
    quiet: bool = _files("--quiet -q", None, "Print nothing but errors.")

    voice: str | None = _same("voice")
    ref_text: list[str] | None = _same("ref_text")
    ref_audio_in_system_message: bool = _same("ref_audio_in_system_message")
    scene_prompt: str | None = _same("scene_prompt")
    system_prompt: str | None = _same("system_prompt")
    voices_dir: Path | None = _same("voices_dir")
    normalization: str | None = _same("normalization")
    language: str | None = _same("language")
    model: str | None = _same("model")
    audio_tokenizer: str | None = _same("audio_tokenizer")
    revision: str | None = _same("revision")
    adapter: list[str] | None = _same("adapter")
    device: str = _same("device")
    device_id: int | None = _same("device_id")
    precision: str | None = _same("precision")
    text_precision: str | None = _same("text_precision")
    max_memory: str | None = _same("max_memory")
    context: int | None = _same("context")
    temperature: float | None = _same("temperature")
    top_k: int | None = _same("top_k")
    top_p: float | None = _same("top_p")
    min_p: float | None = _same("min_p")
    seed: int | None = said.sampling_flag(
        "--seed", "N", f"Every text has a seed of its own, from this and its id. [default: {SEED}]"
    )
    ras_win_len: int | None = _same("ras_win_len")
    ras_win_max_num_repeat: int | None = _same("ras_win_max_num_repeat")
    max_new_tokens: int | None = _same("max_new_tokens")
    rules: str | None = _same("rules")
    chunk_method: str | None = _same("chunk_method")
    chunk_max_word_num: int | None = _same("chunk_max_word_num")
    chunk_max_num_turns: int | None = _same("chunk_max_num_turns")
    generation_chunk_buffer_size: int | None = _same("generation_chunk_buffer_size")
    verbose: bool = verbose()

    def as_say(self) -> SayFlags:
        """What it has in common with `higgs say`."""
        names = {one.name for one in fields(SayFlags)} & {one.name for one in fields(self)}
        return SayFlags(**{name: getattr(self, name) for name in names})


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(BatchFlags, run, name, help, facts)


def facts() -> Mapping[str, str]:
    """Defaults and choices for the help page."""
    return {name: told for name, told in said.facts().items() if name != "seed"}


def run(flags: BatchFlags) -> None:
    """Speak what is not there yet; status 1 when a text could not be spoken."""
    from faster_higgs.audio.encode import checked_format
    from faster_higgs.cli.manifest import Manifest

    if not 1 <= flags.batch_size <= MOST:
        raise SettingError(f"--batch-size is {flags.batch_size}; use 1 to {MOST}.")
    checked_format(flags.format, 24_000)
    found = items(flags.source)
    asked = _asked(flags, found)
    _make_folder(flags.out)
    run = Run(flags, asked, found, Manifest(flags.out))
    try:
        begin = time.monotonic()
        run.speak()
        run.tell(run.summary(time.monotonic() - begin))
    finally:
        run.manifest.finish(item.id for item in found)
    if run.failed:
        raise GenerationError(
            f"{run.failed} of {len(found)} texts could not be spoken; why is said above."
        )


def _asked(flags: BatchFlags, found: Sequence[Item]) -> Request:
    """What holds for all texts, checked as far as it can be without a model."""
    from faster_higgs.cli import request

    say = flags.as_say()
    wish = request.wish_of(say)
    voices = request.voices_of(say.voice, say.ref_text or [])
    clips = any(isinstance(voice, request.ClipFile) for voice in voices)
    clones = clips or any(item.voice is not None for item in found)
    return request.Request(
        "",
        voices,
        request.sampling_of(say),
        request.delivery_of(say),
        request.device_of(say.device, say.device_id),
        replace(wish, clones=clones, listeners=min(flags.batch_size, len(found))),
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(f"The folder '{folder}' cannot be made: {error.strerror}.", error) from None


class Run:
    """One run of the command."""

    def __init__(
        self, flags: BatchFlags, asked: Request, found: Sequence[Item], manifest: Manifest
    ) -> None:
        self.flags, self.asked, self.items, self.manifest = flags, asked, found, manifest
        self.done = self.kept = self.failed = 0
        self.seconds = 0.0
        self._voices: dict[str | None, list[Voice] | None] = {}
        self._lock = threading.Lock()  # of the voices: each is encoded once

    def speak(self) -> None:
        """All that is to be done, several at once."""
        waiting = [item for item in self.items if self._wanted(item)]
        if not waiting:
            return
        from faster_higgs.cli.say import loaded

        pool = ThreadPoolExecutor(min(self.flags.batch_size, len(waiting)))
        try:
            with loaded(self.flags.as_say(), self.asked, self.tell) as higgs:
                self._speak(pool, higgs, waiting)
        finally:
            pool.shutdown()  # what still ran has ended with the model

    def _speak(self, pool: ThreadPoolExecutor, higgs: Higgs, waiting: Sequence[Item]) -> None:
        jobs = {pool.submit(self._make, higgs, item): item for item in waiting}
        try:
            with self._bar() as progress:
                for number, job in enumerate(as_completed(jobs), 1):
                    self._count(jobs[job], job)
                    if progress is not None:
                        progress(number, len(jobs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def tell(self, message: str) -> None:
        if not self.flags.quiet:
            print(message, file=sys.stderr)

    def summary(self, elapsed: float) -> str:
        """What was done, in a line."""
        told = f"{self.done} spoken, {self.kept} kept, {self.failed} failed"
        if self.seconds:
            told += f"; {self.seconds:.1f} s of sound in {elapsed:.1f} s"
        return f"{told}. {self.flags.out}"

    def _wanted(self, item: Item) -> bool:
        """Whether it is to be spoken; faults and finished files are counted here."""
        row = self.manifest.rows.get(item.id)
        if item.fault is not None:
            self._fail(item, item.fault)
        elif not self._path(item).exists() or self.flags.overwrite:
            return True
        elif row is not None and (row["status"], row["key"]) == ("ok", self._key(item)):
            self.kept += 1
        else:
            self._told(
                item,
                f"{self._path(item)} is there and is not this text as it is asked for; "
                "use --overwrite, or another folder.",
            )
        return False

    def _make(self, higgs: Higgs, item: Item) -> Row:
        """Speak one text and save it; its row is written down before its file appears."""
        from faster_higgs.audio.checks import examine

        sampling = replace(self.asked.sampling, seed=self._seed(item))
        voices = self._cast(higgs, item.voice)
        speech = higgs.speak(item.text, voices, sampling, self.asked.delivery)
        finish = speech.finish.value
        report = examine(speech.said, speech.rate, finish, item.text)
        row = {
            **self._row(item),
            "status": "ok",
            "file": self._path(item).name,
            "seconds": round(speech.seconds, 3),
            "finish_reason": finish,
            "findings": [finding.message for finding in report.findings],
        }
        self._path(item).unlink(missing_ok=True)  # a row never stands for another sound
        self.manifest.add(row)
        speech.save(self._path(item), self.flags.format)
        return row

    def _count(self, item: Item, job: Future[Row]) -> None:
        try:
            row = job.result()
        except OutputError:
            raise  # the next file would have no place either
        except HiggsError as error:
            self._fail(item, str(error))
            return
        self.done += 1
        self.seconds += row["seconds"]
        for finding in row["findings"]:
            self.tell(f"{item.id}: {finding}")

    def _told(self, item: Item, reason: str) -> None:
        self.failed += 1
        print(f"{item.id}: {reason}", file=sys.stderr)

    def _fail(self, item: Item, reason: str) -> None:
        self._told(item, reason)
        self.manifest.add({**self._row(item), "status": "failed", "error": reason})

    def _row(self, item: Item) -> Row:
        voice = item.voice or self.flags.voice
        about = {"id": item.id, "text": item.text, "voice": voice, "seed": self._seed(item)}
        return {**about, "key": self._key(item)}

    def _cast(self, higgs: Higgs, voice: str | None) -> list[Voice] | None:
        from faster_higgs.cli import request
        from faster_higgs.cli.say import voices_for

        with self._lock:
            if voice not in self._voices:
                given = self.asked.voices if voice is None else request.voices_of(voice, [])
                self._voices[voice] = voices_for(higgs, given)
            return self._voices[voice]

    def _seed(self, item: Item) -> int:
        """Its own; of nothing but the run's and the id, so that no other text matters."""
        if item.seed is not None:
            return item.seed
        base = SEED if self.flags.seed is None else self.flags.seed
        return int.from_bytes(hashlib.sha256(f"{base}:{item.id}".encode()).digest()[:4], "big")

    def _key(self, item: Item) -> str:
        """What the sound depends on, as far as the command line says it."""
        flags = self.flags
        aside = ("source", "out", "overwrite", "batch_size", "quiet", "verbose", "seed")
        told = [(o.name, getattr(flags, o.name)) for o in fields(flags) if o.name not in aside]
        about = repr((item.text, item.voice, self._seed(item), told))
        return hashlib.sha256(about.encode()).hexdigest()[:16]

    def _path(self, item: Item) -> Path:
        from faster_higgs.audio.encode import FORMATS

        return self.flags.out / f"{item.id}{FORMATS[self.flags.format].suffix}"

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int, int], None] | None]:
        from faster_higgs.cli.export import progress_bar

        if self.flags.quiet:
            yield None
            return
        with progress_bar("texts", 1) as progress:
            yield progress
