"""What a RunPod job may hold: every field and alias of the worker that this one stands in for.

It becomes the same order as a body of /v1/audio/speech, and is refused in the same words. Knows
nothing of RunPod.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, ValidationError, field_validator

from faster_higgs.delivery import Normalization
from faster_higgs.errors import SettingError
from faster_higgs.fetch import Elsewhere, is_web
from faster_higgs.prompt.tokens import SCENE_END, SCENE_START
from faster_higgs.server.body import Drawing, Reference, SpeechBody, Strict, invalid
from faster_higgs.server.errors import bad
from faster_higgs.server.limits import check_length
from faster_higgs.server.order import Order, order_of
from faster_higgs.server.settings import ServerSettings
from faster_higgs.text.dialogue import by_number, speakers
from faster_higgs.text.tags import SPEAKER

Names = Mapping[str, tuple[str, ...]]
OF_JOB: Names = {
    "script": ("script", "prompt", "transcript"),
    "reference_audio_urls": ("reference_audio_urls", "reference_audio_url", "reference_audio"),
    "reference_audio_base64": ("reference_audio_base64", "reference_audio_b64"),
    "reference_audio_paths": ("reference_audio_paths", "reference_audio_path"),
    "reference_transcripts": ("reference_transcripts", "reference_transcript"),
    "reference_speaker_tags": ("reference_speaker_tags", "reference_speaker_tag"),
    "reference_file_extensions": ("reference_file_extensions", "reference_file_extension"),
}
OF_REFERENCE: Names = {
    "audio_url": ("audio_url", "url"),
    "audio_base64": ("audio_base64", "base64", "raw_audio"),
    "path": ("path", "audio_path"),
    "transcript": ("transcript", "text", "prompt"),
    "speaker_tag": ("speaker_tag", "speaker"),
    "file_extension": ("file_extension", "extension"),
}
_OF_LISTS = {
    "reference_audio_urls": "audio_url",
    "reference_audio_base64": "audio_base64",
    "reference_audio_paths": "path",
    "reference_transcripts": "transcript",
    "reference_speaker_tags": "speaker_tag",
    "reference_file_extensions": "file_extension",
}
# Given as nothing, they are off.
_OFF = {"top_k": None, "ras_win_len": 0}
_PASSED = ("voice", "language", "normalization", "speed", "sample_rate", "timeout")


class TextPart(Strict):
    """A piece of a message."""

    text: str
    type: str = "text"


class MessageBody(Strict):
    """A turn of a conversation."""

    role: str
    content: str | TextPart | list[str | TextPart]

    @property
    def words(self) -> str:
        """All of its text."""
        parts = self.content if isinstance(self.content, list) else [self.content]
        return "".join(part if isinstance(part, str) else part.text for part in parts)


class ReferenceBody(Strict):
    """A clip to speak like."""

    audio_url: str | None = None
    audio_base64: str | None = None
    path: str | None = None
    transcript: str | None = None
    speaker_tag: str | None = None
    file_extension: str | None = None


class JobBody(Drawing):
    """A job's input, each field under its first name."""

    script: str | None = None
    messages: list[MessageBody] = Field(default_factory=list)
    system_prompt: str | None = None
    scene_prompt: str | None = None
    script_speaker_tag: str | None = None
    references: list[ReferenceBody] = Field(default_factory=list)
    reference_audio_urls: list[str | None] = Field(default_factory=list)
    reference_audio_base64: list[str | None] = Field(default_factory=list)
    reference_audio_paths: list[str | None] = Field(default_factory=list)
    reference_transcripts: list[str | None] = Field(default_factory=list)
    reference_speaker_tags: list[str | None] = Field(default_factory=list)
    reference_file_extensions: list[str | None] = Field(default_factory=list)
    stop_strings: str | list[str] | None = None
    force_audio_gen: bool | None = None
    response_format: str | None = None
    download_timeout: float | None = None
    return_audio_tokens: bool = False
    return_text_tokens: bool = False
    stream: bool = False
    voice: str | None = None
    language: str | None = None
    normalization: Normalization | None = None
    speed: float | None = None
    sample_rate: int | None = None
    timeout: float | None = None

    @field_validator("references", *_OF_LISTS, mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Defaults:
    """What holds for jobs that do not say otherwise, and where their clips may lie."""

    server: ServerSettings
    rules: Elsewhere | None = None  # None: the server's

    @property
    def elsewhere(self) -> Elsewhere:
        """Where clips may be fetched."""
        return self.rules or self.server.elsewhere


@dataclass(frozen=True)
class Asked:
    """A job that can be done."""

    order: Order
    body: JobBody
    transcripts: tuple[str, ...]
    ignored: tuple[str, ...]


def asked_of(given: Any, defaults: Defaults) -> Asked:
    """What a job's input asks for; fetches its clips. Raises Refusal, SettingError, AudioError."""
    body = _body(given)
    if not (body.script and body.script.strip()) and not body.messages:
        raise bad("The input must hold a 'script' (or 'prompt', 'transcript') or 'messages'.")
    if body.force_audio_gen is False:
        raise bad("force_audio_gen is false; this worker always speaks.", "force_audio_gen")
    system, earlier, script = _conversation(body)
    script = _tagged(script, body.script_speaker_tag)
    check_length(script, "script", defaults.server)
    _check_count(body, defaults.server)
    found, elsewhere = _in_order(_references(body), script), _elsewhere(body, defaults)
    speech = SpeechBody(
        input=script,
        stream=None if body.stream else False,
        response_format=body.response_format,
        references=[_sent(reference, number, elsewhere) for number, reference in found],
        stop=body.stop_strings,
        **{name: getattr(body, name) for name in _PASSED},
        **_drawing(body),
        **_prompts(system or defaults.server.default_system_prompt, body.scene_prompt),
    )
    order = order_of(speech, defaults.server)
    for _, words in earlier:
        check_length(words, "messages", defaults.server)
    order = replace(order, delivery=replace(order.delivery, earlier=earlier))
    transcripts = tuple(reference.transcript or "" for _, reference in found)
    return Asked(order, body, transcripts, (*order.ignored, *_without_effect(body, found)))


def _body(given: Any) -> JobBody:
    if not isinstance(given, Mapping):
        raise bad('The job has no input; send {"input": {"script": ...}}.')
    named = _named(given, OF_JOB, "")
    if (messages := named.get("messages")) is not None and not isinstance(messages, list):
        raise bad("'messages' must be an array of message objects.", "messages")
    _refuse_sound(named.get("messages") or [])
    if isinstance(named.get("references"), Mapping):
        named["references"] = [named["references"]]
    if isinstance(named.get("references"), list):
        named["references"] = [
            _named(one, OF_REFERENCE, f"references.{i}.") if isinstance(one, Mapping) else one
            for i, one in enumerate(named["references"])
        ]
    try:
        return JobBody.model_validate(named)
    except ValidationError as error:
        raise invalid(error.errors()) from None


def _named(given: Mapping[str, Any], names: Names, where: str) -> dict[str, Any]:
    """The same fields, each under its first name. Raises Refusal where two of them differ."""
    nothing = (None, "")
    known = {alias for aliases in names.values() for alias in aliases}
    found = {
        name: value
        for name, value in given.items()
        if name not in known and (value not in nothing or name in _OFF)
    }
    for name, aliases in names.items():
        values = {alias: given[alias] for alias in aliases if given.get(alias) not in nothing}
        first, *others = values or [""]
        for other in others:
            if values[other] != values[first]:
                raise bad(f"{where}{first} and {where}{other} differ; give one of them.", other)
        if values:
            found[name] = values[first]
    return found | {name: off for name, off in _OFF.items() if given.get(name, 1) in nothing}


def _refuse_sound(messages: Sequence[Any]) -> None:
    """Raises Refusal for what a message cannot hold, in words that say where it belongs."""
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise bad("'messages' must be an array of message objects.", "messages")
        if "role" not in message:
            raise bad(f"Message {i} has no 'role'.", "messages")
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, Mapping) and part.get("type", "text") != "text":
                raise bad(
                    f"Message {i} holds a part of type '{part['type']}'; messages are text, "
                    "clips belong into 'references'.",
                    "messages",
                )


def _conversation(body: JobBody) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    """The system message, the turns before, and what is to be spoken."""
    turns = [(message.role, message.words) for message in body.messages]
    system = body.system_prompt
    if turns and turns[0][0] == "system":
        if system:
            raise bad("system_prompt and a system message were given; leave one of them out.")
        system = turns.pop(0)[1]
    if wrong := [role for role, _ in turns if role not in ("user", "assistant")]:
        raise bad(
            f"A message has the role '{wrong[0]}'; use user and assistant, "
            "and one system message at the beginning.",
            "messages",
        )
    if body.script:
        return system, tuple(turns), body.script
    if not turns or turns[-1][0] != "user":
        raise bad("The last message must be a user's: it is what is spoken.", "messages")
    return system, tuple(turns[:-1]), turns[-1][1]


def _prompts(system: str | None, scene: str | None) -> dict[str, Any]:
    """The scene stands inside a system prompt, in place of one that is there."""
    if not (system and scene):
        return {"system_prompt": system, "scene_prompt": scene}
    block = f"{SCENE_START}\n{scene.strip()}\n{SCENE_END}"
    before, mark, rest = system.partition(SCENE_START)
    if not mark:
        return {"system_prompt": f"{system}\n\n{block}"}
    return {"system_prompt": before + block + rest.partition(SCENE_END)[2]}


def _tagged(script: str, tag: str | None) -> str:
    if not tag:
        return script
    return f"{_tag(tag, 'script_speaker_tag')} {script}"


def _tag(tag: str, param: str) -> str:
    """A speaker's tag in brackets. Raises Refusal."""
    bracketed = f"[{tag.strip().strip('[]')}]"
    if not SPEAKER.fullmatch(bracketed):
        raise bad(f"{param} is '{tag[:50]}'; use SPEAKER0, SPEAKER1 and so on.", param)
    return bracketed


def _references(body: JobBody) -> list[ReferenceBody]:
    """From either of the two places they may stand in."""
    lists = {one: getattr(body, many) for many, one in _OF_LISTS.items()}
    count = max(map(len, lists.values()))
    if body.references and count:
        raise bad("references and reference_... were given; leave one of them out.", "references")
    rows = [
        ReferenceBody(**{one: many[i] for one, many in lists.items() if i < len(many)})
        for i in range(count)
    ]
    return body.references or rows


def _check_count(body: JobBody, settings: ServerSettings) -> None:
    """Raises Refusal for more clips than are read, before any is fetched."""
    count, most = len(_references(body)), settings.max_references
    if count > most:
        raise bad(f"There are {count} references; at most {most} are read.", "references")


def _in_order(references: Sequence[ReferenceBody], script: str) -> list[tuple[int, ReferenceBody]]:
    """References with their numbers, in the order of the text's speakers where they have tags."""
    found = list(enumerate(references))
    tags = [_tag(one.speaker_tag, "speaker_tag") for one in references if one.speaker_tag]
    if not tags:
        return found
    if len(tags) < len(references) or len({*tags}) < len(tags):
        raise bad("Give every reference a speaker_tag of its own, or none.", "speaker_tag")
    wanted = [f"[{tag}]" for tag in by_number(speakers(script))] or tags
    if {*wanted} != {*tags} or (len(tags) > 1 and not speakers(script)):
        raise bad(
            f"The references are tagged {', '.join(tags)}; "
            f"the script has {', '.join(f'[{tag}]' for tag in speakers(script)) or 'no tags'}.",
            "speaker_tag",
        )
    return [found[tags.index(tag)] for tag in wanted]


def _sent(reference: ReferenceBody, number: int, elsewhere: Elsewhere) -> Reference:
    """As the HTTP API has it, fetched if it lies elsewhere. Raises Refusal, AudioError."""
    place, sound = reference.audio_url or reference.path, reference.audio_base64
    given = [reference.audio_url, reference.path, sound]
    if sum(one is not None for one in given) != 1:
        raise bad(
            f"Reference {number + 1} needs one of audio_url, audio_base64 and path.", "references"
        )
    if not (reference.transcript or "").strip():
        raise bad(
            f"Reference {number + 1} has no transcript; write what is said in it, word for word.",
            "transcript",
            "missing_required_parameter",
        )
    if place is not None:
        if is_web(place) is not (reference.audio_url is not None):
            raise bad("audio_url is for addresses, path for files.", "references")
        sound = base64.b64encode(elsewhere.read(place)).decode()
    return Reference(audio_path=sound or "", text=reference.transcript or "")


def _elsewhere(body: JobBody, defaults: Defaults) -> Elsewhere:
    """What may be fetched, within the time that the job gives it."""
    seconds, most = body.download_timeout, defaults.server.request_timeout_s
    if seconds is None:
        return defaults.elsewhere
    if not 0 < seconds <= most:
        raise SettingError(f"download_timeout is {seconds}; use more than 0 and at most {most:g}.")
    return replace(defaults.elsewhere, seconds=seconds)


def _drawing(body: JobBody) -> dict[str, Any]:
    """How codes are drawn, as far as the job says."""
    given = {name: getattr(body, name) for name in Drawing.model_fields}
    return {name: value for name, value in given.items() if name in body.model_fields_set}


def _without_effect(body: JobBody, found: Sequence[tuple[int, ReferenceBody]]) -> tuple[str, ...]:
    """Fields that were given and change nothing."""
    timed = body.download_timeout is not None and not any(one.audio_url for _, one in found)
    named = any(one.file_extension for _, one in found)  # a clip's bytes say what it is
    return (*(["download_timeout"] if timed else []), *(["file_extension"] if named else []))
