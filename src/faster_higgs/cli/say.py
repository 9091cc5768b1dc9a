"""`higgs say`: a text into a sound file. Knows nothing of how speech is made; `Higgs` does that."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from faster_higgs.cli.command import Command, as_command
from faster_higgs.cli.flags import SayFlags, facts
from faster_higgs.errors import GenerationError, SettingError

if TYPE_CHECKING:
    from faster_higgs.cli.request import ClipFile, Request
    from faster_higgs.cli.take import Take
    from faster_higgs.prompt.voices import Voice
    from faster_higgs.speech import Higgs

Tell = Callable[[str], None]


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    say = as_command(SayFlags, run, name, help, facts)
    say.value_if_none = {"--use-static-kv-cache": "1"}
    return say


def run(flags: SayFlags) -> None:
    """Check everything that needs no model, then load it, speak, report."""
    from faster_higgs.cli.output import STANDARD_OUTPUT
    from faster_higgs.cli.request import request

    if flags.json and flags.output == STANDARD_OUTPUT:
        raise SettingError("--json and -o - both want standard output; give -o a file.")
    asked = request(flags)
    if flags.show_text:
        _show_text(flags, asked)
        return
    _check_extras(flags)
    warn: Tell = _silent if flags.quiet else _on_stderr
    take = _speak(flags, asked, warn)
    if flags.captions:
        from faster_higgs.cli.captions import save_captions

        save_captions(flags.captions, take.speech.parts)
    if flags.plot:
        from faster_higgs.cli.plot import plot

        plot(flags.plot, take.speech.samples, take.rate)
    _report(flags, take, warn if flags.quiet or flags.output == STANDARD_OUTPUT else print)
    if flags.play:
        from faster_higgs.cli.player import play

        play(take.speech.samples, take.rate)
    if flags.strict and not take.report.passed:
        raise GenerationError(" ".join(finding.message for finding in take.report.findings))


def _show_text(flags: SayFlags, asked: Request) -> None:
    from faster_higgs.cli.loading import model_folder, shipped_model
    from faster_higgs.cli.show_text import show_text

    show_text(
        asked, model_folder(flags.model, flags.revision).folder if flags.model else shipped_model()
    )


def _check_extras(flags: SayFlags) -> None:
    """What can be missing for later steps is told before the long one."""
    if flags.play:
        from faster_higgs.cli.player import find_player

        find_player()
    if flags.captions:
        from faster_higgs.cli.captions import check_captions

        check_captions(flags.captions)
    if flags.plot:
        from faster_higgs.cli.plot import check_plot

        check_plot(flags.plot)


def _speak(flags: SayFlags, asked: Request, warn: Tell) -> Take:
    from faster_higgs.cli.output import writer
    from faster_higgs.cli.progress import Bar
    from faster_higgs.cli.request import planned
    from faster_higgs.cli.take import Take

    write = writer(flags.output, flags.format)
    tell: Tell = warn if flags.verbose else _silent
    with loaded(flags, asked, warn, lambda model: planned(asked, model)) as higgs:
        voices = voices_for(higgs, asked.voices)
        cuts = higgs.plan(asked.text, voices, asked.delivery)
        seed = asked.sampling.seed
        take = Take(higgs.rate, secrets.randbits(32) if seed is None else seed, cuts, tell)
        sampling = replace(asked.sampling, seed=take.seed)
        with Bar([u.text for u in cuts], hidden=flags.quiet) as bar:
            pieces = higgs.pieces(asked.text, voices, sampling, asked.delivery)
            write(take.listen(pieces, bar), higgs.rate)
    tell(f"Real-time factor: {take.real_time_factor:.2f} ({take.elapsed:.1f} s of work)")
    return take


def loaded(
    flags: SayFlags, asked: Request, warn: Tell, check: Callable[[Path], object] | None = None
) -> Higgs:
    """The model that the flags name; `check` is given its folder before anything large is read.

    `warn` is told what the user should know. Raises what loading raises, and VoiceNotFound.
    """
    from faster_higgs.checkpoint.load import holds_text_head
    from faster_higgs.cli import adapters
    from faster_higgs.cli.loading import PICO_NOTE, model_folder, plan_for, voice_folders
    from faster_higgs.speech import Higgs

    own = voice_folders(flags.voices_dir)
    changes = adapters.read(flags.adapter)
    model = model_folder(flags.model or adapters.base_of(changes), flags.revision)
    _check_names(asked, model.folder, own)
    if check is not None:
        check(model.folder)
    for note in [*asked.notes, *([PICO_NOTE] if model.packaged else [])]:
        warn(note)
    adapters.warn_of(changes, model.folder, warn)
    tell: Tell = warn if flags.verbose else _silent
    tell(f"Model: {model.folder}")
    # By the original's rules the model writes text after the sound, if it can.
    head = asked.sampling.rules == "original" and holds_text_head(model.folder)
    codec = flags.audio_tokenizer
    plan = plan_for(model.folder, codec, asked.device, asked.wish, text_head=head)
    for note in plan.notes:
        warn(note)
    (warn if asked.wish.automatic else tell)(f"Precision: {plan.reason}")
    return Higgs.load(
        model.folder, codec=codec, device=plan, voices=own, text_head=head, adapters=changes
    )


def _check_names(asked: Request, model: Path, own: Sequence[Path]) -> None:
    """A wrong name is told before a large model is loaded."""
    from faster_higgs.cli.loading import named_voices

    store = named_voices(model, own)
    for name in asked.voices:
        if isinstance(name, str):
            store.load(name) if name.startswith("profile:") else store.find(name)


def voices_for(higgs: Higgs, given: Sequence[str | ClipFile]) -> list[Voice] | None:
    """Each voice loaded or cloned, once; None leaves the choice to the model."""
    found = [
        higgs.voices.load(voice)
        if isinstance(voice, str)
        else higgs.clone(voice.path, voice.transcript, voice.path.stem)
        for voice in given
    ]
    return found or None


def _report(flags: SayFlags, take: Take, tell: Tell) -> None:
    if flags.json:
        print(json.dumps({"output": flags.output, **take.to_json()}, ensure_ascii=False, indent=2))
        return
    for line in [*take.report.lines(flags.output), take.last_line()]:
        tell(line)


def _on_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def _silent(message: str) -> None:
    return
