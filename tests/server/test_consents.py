"""/v1/audio/voice_consents by OpenAI's own client, and the voices that refer to them."""

from __future__ import annotations

import json

import numpy as np
import openai
import pytest
import soundfile

from faster_higgs.audio.save import save
from faster_higgs.prompt.consents import ConsentStore
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import RATE, serving

SAID = "Somebody says a whole sentence for the test."


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    save(path, tones(spoken(SAID)))
    return path


@pytest.fixture
def live(tmp_path):
    told = {"max_voices": 4, "max_upload_bytes": 400_000, "warmup": False}
    with FakeHiggs(voices=[tmp_path / "mine"]) as higgs, serving(higgs, **told) as server:
        yield server


@pytest.fixture
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="EMPTY", max_retries=0) as made:
        yield made


def test_a_life(client, clip, tmp_path):
    consents = client.audio.voice_consents
    made = consents.create(name="Carla agrees", language="en-US", recording=clip)
    assert made.object == "audio.voice_consent" and made.id.startswith("cons_")
    assert (made.name, made.language) == ("Carla agrees", "en-US")
    assert consents.retrieve(made.id) == made
    assert consents.update(made.id, name="Carla, 2026").name == "Carla, 2026"
    assert [one.name for one in consents.list()] == ["Carla, 2026"]
    kept = sorted(path.name for path in (tmp_path / "mine" / "consents").iterdir())
    assert kept == [f"{made.id}.json", f"{made.id}.wav"]
    assert (tmp_path / "mine" / "consents" / kept[1]).read_bytes() == clip.read_bytes()
    gone = consents.delete(made.id)
    assert gone.deleted and gone.id == made.id and gone.object == "audio.voice_consent"
    assert not any((tmp_path / "mine" / "consents").iterdir())
    with pytest.raises(openai.NotFoundError):
        consents.retrieve(made.id)


def test_pages(client, clip):
    consents = client.audio.voice_consents
    ids = {consents.create(name=f"{i}", language="en", recording=clip).id for i in range(4)}
    first = consents.list(limit=3)
    assert len(first.data) == 3 and first.has_more
    assert {one.id for one in consents.list(limit=1)} == ids  # goes from page to page
    with pytest.raises(openai.ConflictError) as caught:
        consents.create(name="one too many", language="en", recording=clip)
    assert caught.value.code == "too_many_consents"
    for limit in (0, 101):
        with pytest.raises(openai.BadRequestError) as wrong:
            consents.list(limit=limit)
        assert wrong.value.param == "limit"
    with pytest.raises(openai.NotFoundError):
        consents.list(after="cons_000000000000000000000000")


def test_a_voice_refers_to_a_consent(client, live, clip):
    made = client.audio.voice_consents.create(name="x", language="en", recording=clip)
    asked = {"name": "carla", "audio_sample": clip, "extra_body": {"ref_text": SAID}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.voices.create(**asked, consent="cons_000000000000000000000000")
    assert (caught.value.code, caught.value.param) == ("consent_not_found", "consent")
    voice = client.audio.voices.create(**asked, consent=made.id)
    assert (voice.id, voice.object) == ("carla", "audio.voice")
    assert live.ask("/v1/audio/voices/carla").json["consent"] == made.id
    with pytest.raises(openai.ConflictError) as caught:
        client.audio.voice_consents.delete(made.id)
    assert caught.value.code == "consent_in_use" and "carla" in caught.value.message
    assert client.audio.voices.delete("carla").deleted
    assert client.audio.voice_consents.delete(made.id).deleted


def test_a_voice_in_words_is_made_by_the_sdk(client):
    told = client.audio.voices.create(name="old", prompt="an old man", type="prompt")
    assert (told.id, told.type, told.prompt) == ("old", "prompt", "an old man")


def test_other_words_of_consent_are_only_kept(live, clip):
    form = {"name": "carla", "ref_text": SAID, "consent": "she said yes"}
    assert live.form("/v1/audio/voices", form, clip).json["consent"] == "she said yes"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": "  "}, "name"),
        ({"name": "x" * 5000}, "name"),
        ({"language": "english, please"}, "language"),
        ({"nosuch": "1"}, "nosuch"),
        ({"language": ""}, "language"),
    ],
)
def test_a_wrong_field_is_named(live, clip, change, param):
    fields = {"name": "x", "language": "en"} | change
    reply = live.ask("/v1/audio/voice_consents", **_form(fields, clip.read_bytes()))
    assert reply.status == 400 and reply.error["param"] == param


@pytest.mark.parametrize(("data", "status"), [(b"no sound", 400), (b"x" * 500_000, 413)])
def test_a_recording_is_judged(live, data, status):
    reply = live.ask("/v1/audio/voice_consents", **_form({"name": "x", "language": "en"}, data))
    assert (reply.status, reply.error["param"]) == (status, "recording")
    assert live.ask("/v1/audio/voice_consents").json["data"] == []


@pytest.mark.parametrize("name", [b'"\\ud800"', b"true", b'""', b"null"])
def test_a_name_is_a_text(live, clip, name):
    form = _form({"name": "x", "language": "en"}, clip.read_bytes())
    made = live.ask("/v1/audio/voice_consents", **form).json
    told = {"Content-Type": "application/json"}
    path = f"/v1/audio/voice_consents/{made['id']}"
    assert live.ask(path, b'{"name": %s}' % name, headers=told).status == 400
    assert live.ask(path).json == made


def test_a_recording_has_the_bounds_of_a_clip(live, tmp_path):
    path = tmp_path / "many.wav"
    soundfile.write(path, np.zeros((RATE // 4, 9), np.float32), RATE)
    form = _form({"name": "x", "language": "en"}, path.read_bytes())
    assert "9 channels" in live.ask("/v1/audio/voice_consents", **form).error["message"]


def test_without_a_recording_nothing_is_kept(live):
    reply = live.ask("/v1/audio/voice_consents", **_form({"name": "x", "language": "en"}, None))
    assert (reply.status, reply.error["param"]) == (400, "recording")


@pytest.mark.parametrize("id", ["..%2F..%2Fetc%2Fpasswd", "cons_1", "cons_" + "0" * 24])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_id_is_never_a_path(live, id, method):
    assert live.ask(f"/v1/audio/voice_consents/{id}", method=method).status == 404


def test_what_cannot_be_written_changes_nothing(live, clip, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "consents").touch()  # a file where the folder should be
    fields = {"name": "x", "language": "en"}
    reply = live.ask("/v1/audio/voice_consents", **_form(fields, clip.read_bytes()))
    assert (reply.status, reply.error["code"]) == (507, "not_saved")
    assert str(tmp_path) not in reply.error["message"]


def test_what_is_not_ours_in_the_folder_is_passed_by(tmp_path):
    store = ConsentStore(tmp_path)
    made = store.add("x", "en", b"sound", ".wav")
    (tmp_path / f"cons_{'0' * 24}.json").write_text("{")
    (tmp_path / f"cons_{'1' * 24}.json").write_text(json.dumps({"id": 1}))
    (tmp_path / "other.json").write_text("{}")
    assert store.list() == [made] and not list(tmp_path.glob(".adding-*"))


def _form(fields: dict[str, str], recording: bytes | None) -> dict:
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    if recording is not None:
        parts.append(b'name="recording"; filename="a.wav"\r\n\r\n' + recording)
    head = b"--limit\r\nContent-Disposition: form-data; "
    body = b"".join(head + part + b"\r\n" for part in parts) + b"--limit--\r\n"
    return {"body": body, "headers": {"Content-Type": "multipart/form-data; boundary=limit"}}
