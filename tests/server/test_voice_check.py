"""A clip is judged as a voice before it becomes one, and nothing of it is kept."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from faster_higgs.audio.encode import encode
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import RATE, Live, serving


def clip(seconds: float, level: float = 0.3) -> bytes:
    """Something like speech: noise in syllables, with pauses."""
    count = round(seconds * RATE)
    noise = np.random.default_rng(0).standard_normal(count) * 0.3
    syllables = np.clip(np.sin(np.arange(count) / RATE * 2 * np.pi * 3), 0, 1)
    return encode((noise * syllables * level).astype(np.float32), "wav", RATE)


def check(live: Live, tmp_path, data: bytes, **fields: str):
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    return live.form("/v1/audio/voices/check", fields, path)


def codes(reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [note["code"] for note in reply.json["notes"]]


def test_a_good_clip_is_good_and_nothing_is_kept(live, tmp_path):
    before = live.ask("/v1/audio/voices").json["voices"]
    reply = check(live, tmp_path, clip(6), ref_text="What is said in it, word for word.")
    assert reply.json == {"ok": True, "duration": 6.0, "notes": []}
    assert live.ask("/v1/audio/voices").json["voices"] == before


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (clip(0.4), "too_short"),
        (clip(70), "too_long"),
        (clip(6, level=0.0), "silent"),
        (b"no sound at all", "unreadable"),
    ],
)
def test_a_clip_that_would_be_refused_is_not_ok(live, tmp_path, data, code):
    reply = check(live, tmp_path, data)
    assert code in codes(reply) and reply.json["ok"] is False


def test_what_is_amiss_but_passes_is_told(live, tmp_path):
    with FakeHiggs() as higgs, serving(higgs, max_reference_s=50) as server:
        reply = check(server, tmp_path, clip(40))
    assert codes(reply) == ["too_long"] and reply.json["ok"] is True
    assert reply.json["notes"][0]["message"].startswith("The clip is too long: 40.0 s.")


def test_a_clip_longer_than_this_server_takes_is_not_ok(live, tmp_path):
    reply = check(live, tmp_path, clip(40))
    assert codes(reply) == ["too_long"] and reply.json["ok"] is False
    added = live.form("/v1/audio/voices", {"name": "long", "ref_text": "A."}, tmp_path / "clip.wav")
    assert added.status == 400


def test_a_clip_of_many_channels_is_not_read(live, tmp_path):
    path = tmp_path / "many.wav"
    soundfile.write(path, np.zeros((RATE, 9), np.float32), RATE)
    reply = check(live, tmp_path, path.read_bytes())
    assert codes(reply) == ["unreadable"] and "9 channels" in reply.json["notes"][0]["message"]


@pytest.mark.parametrize(
    ("text", "code"), [("word " * 200, "text_too_long"), ("Oh", "text_too_short")]
)
def test_a_text_that_cannot_be_the_clips_is_told(live, tmp_path, text, code):
    reply = check(live, tmp_path, clip(6), ref_text=text)
    assert codes(reply) == [code] and reply.json["ok"] is True


def test_fields_are_checked(live, tmp_path):
    assert check(live, tmp_path, clip(6), name="x").error["code"] == "unknown_parameter"
    reply = live.form("/v1/audio/voices/check", {"ref_text": "x"})
    assert reply.error["code"] == "missing_required_parameter"
    assert reply.error["param"] == "audio_sample"


def test_a_clip_has_a_limit(tmp_path):
    with FakeHiggs() as higgs, serving(higgs, max_upload_bytes=2000) as server:
        assert check(server, tmp_path, clip(6)).status == 413
