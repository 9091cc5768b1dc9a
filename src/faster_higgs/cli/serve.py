"""`higgs serve`: the model behind HTTP. Knows nothing of what is answered there."""

# ruff: noqa: RUF009  what is called here returns a dataclass field

from __future__ import annotations

import ctypes
import logging
import os
import re
import secrets
import socket
import sys
from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faster_higgs.cli import adapters
from faster_higgs.cli.command import Command, as_command, flag, verbose
from faster_higgs.cli.environment import completed, in_vain
from faster_higgs.cli.flags import (
    PRECISIONS,
    adapter_flag,
    codec_flag,
    memory_flag,
    model_flag,
    revision_flag,
)
from faster_higgs.cli.ports import EVERYWHERE, PORTS, lines, sockets_of
from faster_higgs.errors import MissingExtra, SettingError, VoiceNotFound

if TYPE_CHECKING:
    from faster_higgs.checkpoint.choice import Plan
    from faster_higgs.checkpoint.files import DefaultModel
    from faster_higgs.server.settings import ServerSettings

ARENAS = -8  # glibc's M_ARENA_MAX
_OF_A_MODEL = (
    *("model", "audio_tokenizer", "revision", "adapter"),
    *("device", "precision", "max_memory", "context"),
)
EXTRA = ("fastapi", "uvicorn", "websockets", "python_multipart", "prometheus_client")
SLOTS = 16  # speeches whose sound is decoded at the same time, as memory is planned
_listen = partial(flag, "Where it listens")
_model = partial(flag, "Model and machine")


@dataclass(frozen=True)
class ServeFlags:
    """What stands on the command line."""

    host: str | None = _listen("--host", "ADDRESS", "The address it listens at.")
    port: int | None = _listen("--port", "N", "The port; 0 takes a free one.")
    ui_port: int | None = _listen(
        "--ui-port", "N", "A second port for the page, with the same answers; 0 for none."
    )
    compat_port: int | None = _listen(
        "--compat-port", "N", "A second port with the same answers, such as 8888. [default: none]"
    )
    lan: bool = _listen(
        "--lan", None, "Listen on all addresses. Without keys of yours, one is made and printed."
    )
    api_key_file: Path | None = _listen(
        "--api-key-file",
        "FILE",
        "Keys that clients must send, one a line. [default: HIGGS_API_KEYS]",
    )
    insecure_no_auth: bool = _listen(
        "--insecure-no-auth", None, "Let everyone who reaches the address ask without a key."
    )

    engine: str | None = _model(
        "--engine",
        "URL",
        "A server that speaks in place of a model here: another Faster Higgs, vLLM-Omni, Boson's "
        "vLLM image, or one with OpenAI's interface. [default: HIGGS_ENGINE, VLLM_URL]",
    )
    engine_dialect: str | None = _model(
        "--engine-dialect",
        "NAME",
        "faster-higgs, vllm-omni, boson or openai. [default: it is asked]",
    )
    model: str | None = model_flag()
    audio_tokenizer: str | None = codec_flag()
    revision: str | None = revision_flag()
    adapter: list[str] | None = adapter_flag()
    device: str = _model(
        "--device", "DEVICE", "auto, cpu, cuda, cuda:N or mps. [default: auto]", default="auto"
    )
    precision: str | None = _model(
        "--precision", "PRECISION", "How the weights are held. [default: as in the files]"
    )
    max_memory: str | None = memory_flag()
    context: int | None = _model(
        "--context", "N", "Positions of the cache, shared by all who speak; 25 make a second."
    )
    voices_dir: Path | None = _model(
        "--voices-dir",
        "FOLDER",
        "Where voices are, and new ones are kept. [default: HIGGS_VOICES, or your data folder]",
    )
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(ServeFlags, run, name, help, facts)


def facts() -> Mapping[str, str]:
    """Defaults and choices for the help page, read from where they are written."""
    from faster_higgs.server.settings import ServerSettings

    own = ServerSettings()
    return {
        "precision": ", ".join(PRECISIONS),
        "host": f"default: {own.host}",
        "port": f"default: {own.port}",
        "ui_port": f"default: {own.ui_port}",
    }


def run(flags: ServeFlags, tell: Callable[[str], None] = print) -> None:
    """Take the ports, load the model, answer until told to stop, then finish what was begun."""
    _check_extra()
    from faster_higgs.server.order import check_defaults

    _few_heaps()
    settings = settings_of(flags, os.environ)
    for note in in_vain(os.environ):
        print(note, file=sys.stderr)
    flags = completed(flags, os.environ)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(message)s")
    check_defaults(settings)
    _check_folder(flags.voices_dir)
    for note in _warnings(settings, flags):
        tell(note)
    sockets = sockets_of(settings)
    try:
        _serve(flags, settings, sockets, tell)
    finally:
        for one in sockets.values():
            one.close()


def settings_of(flags: ServeFlags, environment: Mapping[str, str]) -> ServerSettings:
    """Flags before the environment before the defaults. Raises SettingError."""
    from faster_higgs.cli.loading import data_folder
    from faster_higgs.server.settings import ServerSettings

    given: dict[str, Any] = {"jobs_dir": str(data_folder(environment) / "jobs")}
    given |= ServerSettings.given(environment)
    if environment.get("VLLM_URL"):
        given.setdefault("engine", environment["VLLM_URL"])
    named = ("host", *PORTS, "engine", "engine_dialect")
    told = {name: getattr(flags, name, None) for name in named}
    if flags.lan:
        if flags.host not in (None, EVERYWHERE):
            raise SettingError(f"--lan and --host {flags.host} were given; leave one of them out.")
        told["host"] = EVERYWHERE
    if flags.api_key_file is not None:
        given["api_keys"] = _keys(flags.api_key_file)
    given |= {name: value for name, value in told.items() if value is not None}
    settings = ServerSettings(**given)
    if flags.insecure_no_auth and settings.api_keys:
        raise SettingError("--insecure-no-auth and API keys were given; leave one of them out.")
    if not settings.local and not settings.api_keys and not flags.insecure_no_auth:
        settings = replace(settings, api_keys=(secrets.token_urlsafe(24),))
    return settings


def _check_extra() -> None:
    for module in EXTRA:
        if find_spec(module) is None:
            raise MissingExtra(
                f"Serving needs {module}; install it with: pip install 'faster-higgs[serve]'."
            )


def _few_heaps() -> None:
    """Two heaps for all threads. glibc would give each thread one and keep what is freed in it;
    with a thread for each speech that is hundreds of megabytes. Other systems have no such call."""
    if sys.platform == "linux" and hasattr(system := ctypes.CDLL(None), "mallopt"):
        system.mallopt(ARENAS, 2)


def _warnings(settings: ServerSettings, flags: ServeFlags) -> list[str]:
    if settings.local:
        return []
    if flags.insecure_no_auth:
        return ["Warning: everyone who reaches this address can use this server, without a key."]
    if flags.api_key_file is None and not settings.given(os.environ).get("api_keys"):
        return [f"API key of this run: {settings.api_keys[0]}"]
    return []


def _keys(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"{path} cannot be read: {reason}.") from None
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise SettingError(f"{path} holds no key; write one a line.")
    return keys


def _serve(
    flags: ServeFlags,
    settings: ServerSettings,
    sockets: Mapping[str, socket.socket],
    tell: Callable[[str], None],
) -> None:
    with ExitStack() as stack:
        remote = settings.engine is not None
        app = _elsewhere(flags, settings) if remote else _here(flags, settings, stack)
        for line in lines(sockets):
            tell(line)
        sys.stdout.flush()
        _answer(app, settings, [*sockets.values()], tell)
    tell("Stopped.")


def _here(flags: ServeFlags, settings: ServerSettings, stack: ExitStack) -> Any:
    """The application over a model in this process."""
    from faster_higgs.cli.loading import PICO_NOTE, model_folder, voice_folders
    from faster_higgs.server.app import create_app
    from faster_higgs.server.starting import settle
    from faster_higgs.speech import Higgs

    base = adapters.base_of(adapters.read(flags.adapter))
    model = model_folder(flags.model or base, flags.revision)
    own, codec = voice_folders(flags.voices_dir), flags.audio_tokenizer
    notes = _check_voices(model.folder, own, settings)
    if model.packaged:
        notes.append(PICO_NOTE)
    changes = adapters.named(flags.adapter)
    plan = _plan(flags, model, settings)
    for note in (*notes, *plan.notes):
        print(note, file=sys.stderr)
    load = partial(Higgs.load, model.folder, codec=codec, device=plan, voices=own, adapters=changes)
    facts, higgs = _machine(plan), stack.enter_context(load())
    return create_app(higgs, settings, model=model_id(model), facts=facts, load=load, settle=settle)


def _elsewhere(flags: ServeFlags, settings: ServerSettings) -> Any:
    """The application over a server elsewhere. Raises SettingError."""
    from faster_higgs.cli.loading import voice_folders
    from faster_higgs.deploy.remote import Remote, model_behind
    from faster_higgs.deploy.upstream import Upstream
    from faster_higgs.server.app import create_app
    from faster_higgs.server.starting import settle

    for name in _OF_A_MODEL:
        if getattr(flags, name) not in (None, "auto"):
            flag = "--" + name.replace("_", "-")
            raise SettingError(f"{flag} belongs to a model here, not to --engine; leave one out.")
    upstream = Upstream.at(settings.engine or "", settings.engine_key, settings.engine_timeout_s)
    remote = Remote(
        upstream,
        dialect=settings.engine_dialect,
        model=settings.engine_model,
        voices=voice_folders(flags.voices_dir),
    )
    model, note = model_behind(remote)
    print(note, file=sys.stderr)
    return create_app(
        remote,
        replace(settings, warmup=False, jobs_dir=None),  # jobs are made where the model is
        model=model,
        facts=remote.facts,
        admit=remote.admit,
        settle=settle,
    )


def _answer(
    app: Any,
    settings: ServerSettings,
    sockets: Sequence[socket.socket],
    tell: Callable[[str], None],
) -> None:
    """Until a signal; then nothing new is taken, and what was begun comes to its end."""
    import uvicorn

    from faster_higgs.server.ending import Ending

    config = uvicorn.Config(
        app,
        log_level=settings.log_level,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws_max_size=max(settings.max_socket_config_bytes, settings.max_socket_text_bytes),
        ws_per_message_deflate=False,  # sound does not get smaller
    )
    logging.getLogger("uvicorn.error").addFilter(_is_fault)
    server = Ending(config, app.inner.state.service, tell)
    with suppress(SystemExit, KeyboardInterrupt):  # the signal, raised again once all is over
        server.run(sockets=list(sockets))


def _is_fault(record: logging.LogRecord) -> bool:
    """Not what a second Ctrl-C, or the end of patience, ends in the middle."""
    error = record.exc_info[1] if record.exc_info else None
    message = record.getMessage().rstrip()
    ended = isinstance(error, CancelledError) or message.endswith("CancelledError")
    return not ended and not message.endswith("timeout graceful shutdown exceeded")


def _check_voices(model: Path, own: Sequence[Path], settings: ServerSettings) -> list[str]:
    """What is to be said of the voices. Raises SettingError, before anything slow is done."""
    from faster_higgs.cli.loading import named_voices
    from faster_higgs.server.making import casting, overshadowed
    from faster_higgs.spoken import Manners

    store, wanted = named_voices(model, own), settings.default_voice
    try:
        if wanted is not None:
            casting(wanted, store, Manners.load(model).voices)
    except VoiceNotFound:
        raise SettingError(
            f"HIGGS_DEFAULT_VOICE is '{wanted}', and there is no such voice; "
            "`higgs voices list` shows those there are."
        ) from None
    return [
        f"The voice '{files.name}' is not spoken with: OpenAI's clients mean another. Add it again "
        "with --openai-name, or under another name."
        for files in store.list()
        if overshadowed(files)
    ]


def _check_folder(folder: Path | None) -> None:
    """Make the folder of --voices-dir, if need be. Raises SettingError."""
    try:
        if folder is not None:
            folder.mkdir(exist_ok=True)
            next(folder.iterdir(), None)
    except OSError as error:
        raise SettingError(
            f"--voices-dir {folder} cannot be used: {error.strerror}. Name a folder."
        ) from None


def _plan(flags: ServeFlags, model: DefaultModel, settings: ServerSettings) -> Plan:
    from faster_higgs.cli.loading import plan_for
    from faster_higgs.cli.precision import wished
    from faster_higgs.cli.request import device_of

    asked = wished(flags.precision, None, flags.context, flags.max_memory)
    wish = replace(asked, clones=True, listeners=min(SLOTS, settings.max_running))
    return plan_for(model.folder, flags.audio_tokenizer, device_of(flags.device, None), wish)


def model_id(model: DefaultModel) -> str:
    """The id a model goes by: pico, its id on the hub, or the name of its folder."""
    if model.packaged:
        return "pico"
    for part in reversed(model.folder.parts):
        if found := re.fullmatch(r"models--(.+?)--(.+)", part):
            return f"{found[1]}/{found[2]}"
    return model.folder.name


def _machine(plan: Plan) -> Callable[[], Mapping[str, Any]]:
    """What /health tells of the machine, asked anew each time."""

    def told() -> Mapping[str, Any]:
        facts: dict[str, Any] = {"device": plan.device, "precision": plan.reason}
        if plan.device.startswith("cuda"):
            from faster_higgs.device import busy, in_use, named

            facts["gpu_name"] = next(named(plan.device)).model
            if (told := in_use(plan.device)) is not None:
                used, total = (round(size / 1e9, 2) for size in told)
                facts |= {"gpu_memory_total_gb": total, "gpu_memory_used_gb": used}
            if (share := busy(plan.device)) is not None:
                facts["gpu_utilization"] = share
        return facts

    return told
