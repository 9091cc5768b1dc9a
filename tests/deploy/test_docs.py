"""docs/deploy.md names every field and variable of the worker; the programs of
docs/integrations.md are answered."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from faster_higgs.deploy.payload import OF_JOB, OF_REFERENCE, JobBody
from faster_higgs.server.settings import ALIASES, ServerSettings
from tests.project.source import PACKAGE, ROOT
from tests.server.conftest import RATE, Witness, seconds, serving

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
CODE = (PACKAGE / "deploy" / "runpod.py").read_text(encoding="utf-8")
NAMES = [*JobBody.model_fields, *sum([*OF_JOB.values(), *OF_REFERENCE.values()], ())]


@pytest.mark.parametrize("name", dict.fromkeys(NAMES))
def test_a_field_is_there(name):
    assert f"`{name}`" in PAGE


def test_the_variables_are_those_of_the_code():
    told = set(re.findall(r"`HIGGS_AUDIO_([A-Z_]+)`", PAGE))
    known = set(re.findall(r'"([A-Z][A-Z_]+)"', CODE)) | set(re.findall(r"PREFIX}([A-Z_]+)", CODE))
    known |= set(re.findall(r"%s([A-Z_]+)=", CODE))
    known |= {name.removeprefix("HIGGS_AUDIO_") for name in ALIASES}
    assert told == {name for name in known if not name.startswith(("HIGGS", "INFO", "CUDA"))}


def test_what_may_be_fetched_is_there():
    names = [one.name for one in fields(ServerSettings) if one.name.startswith("allow")]
    names.remove("allowed_hosts")
    assert len(names) == 3 and all(f"`HIGGS_{name.upper()}`" in PAGE for name in names)


@pytest.fixture(scope="module")
def live():
    with Witness() as higgs, serving(higgs) as server:
        yield server


def test_sillytavern_is_answered(live):
    fields = {"model": "tts-1", "voice": "alice", "response_format": "mp3", "speed": 1}
    answer = live.speak("Good morning to you.", **fields)
    assert answer.status == 200 and seconds(answer.body) * RATE > RATE


def test_open_webui_is_answered(live):
    answer = live.speak("Good morning to you.", model="tts-1", voice="alloy")
    assert answer.status == 200 and answer.headers["content-type"] == "audio/mpeg"
    voices = live.ask("/v1/audio/voices").json["voices"]
    assert all(one["id"] and one["name"] for one in voices)
    assert all(one["id"] for one in live.ask("/v1/audio/models").json["models"])


@pytest.mark.parametrize("key", [None, "a-long-secret"])
def test_a_container_needs_a_key_or_a_name(key):
    headers = {"Host": "host.docker.internal:8000"}
    keys = (key,) if key else ()
    with Witness() as higgs, serving(higgs, api_keys=keys) as server:
        told = headers | ({"Authorization": f"Bearer {key}"} if key else {})
        assert server.ask("/v1/audio/voices", headers=told).status == (200 if key else 403)
    if not key:
        with Witness() as higgs, serving(higgs, allowed_hosts=("host.docker.internal",)) as server:
            assert server.ask("/v1/audio/voices", headers=headers).status == 200
