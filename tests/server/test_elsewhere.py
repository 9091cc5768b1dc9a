"""Clips that are named by their place: refused, unless the operator said from where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.fetch import Elsewhere
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import serving
from tests.test_fetch import answering
from tests.test_fetch import serving as fetching

SAID = "Somebody says a whole sentence for the test."
CLIP = encode(tones(spoken(SAID)).astype(np.float32), "wav")


@pytest.fixture(scope="module")
def closed():
    with FakeHiggs() as higgs, serving(higgs, warmup=False) as live:
        yield live


@pytest.mark.parametrize(
    "place",
    [
        *("http://a.example/x.wav", "HTTPS://a.example/x", "file:///etc/passwd", "/etc/passwd.wav"),
        *("../x.wav", "ftp://a/x.wav", "file:x", "x.wav", "gopher://127.0.0.1:1/x"),
    ],
)
def test_nothing_is_fetched_or_read_unless_it_was_allowed(closed, place, monkeypatch):
    monkeypatch.setattr(Elsewhere, "read", lambda *_: pytest.fail("it was looked for"))
    bodies = [
        {"ref_audio": place, "ref_text": SAID},
        {"references": [{"audio_path": place, "text": SAID}]},
    ]
    for body in bodies:
        reply = closed.speak(**body)
        assert (reply.status, reply.error["code"]) == (400, "reference_not_sent")
    reply = closed.ask("/generate", {"text": "Hi.", "voice_url": place, "reference_text": SAID})
    assert reply.status == 400 and "a.example" not in reply.json["detail"]


@pytest.fixture(scope="module")
def open_():
    told = {"allow_url_references": True, "allowed_media_hosts": ("a.example", "in.example")}
    with (
        fetching(answering(CLIP), **{"in.example": ["127.0.0.1"]}) as net,
        FakeHiggs() as higgs,
        serving(higgs, **told, warmup=False) as live,
    ):
        clones = live.service.clones
        clones._elsewhere = replace(clones._elsewhere, resolve=net.resolve, dial=net.dial)
        yield live


class TestAddresses:
    @pytest.mark.parametrize(
        "body",
        [
            {"ref_audio": "http://a.example/x.wav", "ref_text": SAID},
            {"references": [{"audio_path": "http://a.example/x", "text": SAID}]},
        ],
    )
    def test_a_clip_from_there_is_a_voice(self, open_, body):
        reply = open_.speak(**body)
        assert reply.status == 200 and reply.headers["x-voice"] == "reference"

    def test_the_seeds_name_it_voice_url(self, open_):
        body = {"text": "Hi.", "voice_url": "http://a.example/x.wav", "voice_id": "anna"}
        assert "What is said" in open_.ask("/generate", body).json["detail"]
        reply = open_.ask("/generate", body | {"reference_text": SAID})
        assert reply.status == 200 and reply.headers["x-has-voice-clone"] == "true"
        assert reply.headers["x-ignored-params"] == "voice_id"

    @pytest.mark.parametrize(
        ("place", "why"),
        [
            ("http://in.example/x", "not a public address"),
            ("http://c.example/x", "not allowed"),
            ("http://user:pass@a.example/x", "passwords are not sent"),
            ("http://127.0.0.1/x", "not allowed"),
        ],
    )
    def test_other_places_are_refused_and_told(self, open_, place, why):
        reply = open_.speak(ref_audio=place, ref_text=SAID)
        assert (reply.status, reply.error["param"]) == (400, "ref_audio")
        assert why in reply.error["message"]

    def test_files_are_still_not_read(self, open_):
        reply = open_.speak(ref_audio="x.wav", ref_text=SAID)
        assert reply.error["code"] == "reference_not_sent"


def test_files_of_one_folder(tmp_path):
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.wav").write_bytes(CLIP)
    (tmp_path / "b.wav").write_bytes(CLIP)
    told = {"allowed_media_path": str(media), "warmup": False}
    with FakeHiggs() as higgs, serving(higgs, **told) as live:
        for place in ("a.wav", str(media / "a.wav")):
            assert live.speak(ref_audio=place, ref_text=SAID).headers["x-voice"] == "reference"
        for place in ("../b.wav", str(tmp_path / "b.wav"), "no.wav"):
            reply = live.speak(ref_audio=place, ref_text=SAID)
            assert reply.status == 400 and str(tmp_path) not in reply.error["message"]
        for place in ("file:a.wav", f"file://{media}/a.wav", "http://a.example/x.wav"):
            assert live.speak(ref_audio=place, ref_text=SAID).error["code"] == "reference_not_sent"


def test_a_clip_that_was_known_is_counted(tmp_path):
    (tmp_path / "a.wav").write_bytes(CLIP)
    with (
        FakeHiggs() as higgs,
        serving(higgs, allowed_media_path=str(tmp_path), warmup=False) as live,
    ):
        for _ in range(3):
            live.speak(ref_audio="a.wav", ref_text=SAID)
        text = live.ask("/metrics").body
        assert b'higgs_reference_cache_total{result="hit"} 2.0' in text
        assert b'higgs_reference_cache_total{result="miss"} 1.0' in text
