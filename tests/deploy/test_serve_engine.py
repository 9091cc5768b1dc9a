"""`higgs serve --engine`: settings and flags; and once for real, one server before another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faster_higgs.cli.main import main
from faster_higgs.cli.serve import ServeFlags, settings_of
from faster_higgs.deploy.upstream import Upstream
from faster_higgs.errors import SettingError
from tests.project.source import ROOT
from tests.server.conftest import Live, seconds


class TestSettings:
    @pytest.mark.parametrize(
        ("environment", "flags", "engine"),
        [
            ({}, {}, None),
            ({"VLLM_URL": "http://a:1"}, {}, "http://a:1"),
            ({"VLLM_URL": "http://a:1", "HIGGS_ENGINE": "http://b:1"}, {}, "http://b:1"),
            ({"HIGGS_ENGINE": "http://b:1"}, {"engine": "http://c:1"}, "http://c:1"),
        ],
    )
    def test_the_flag_goes_before_the_environment(self, environment, flags, engine):
        assert settings_of(ServeFlags(**flags), environment).engine == engine

    @pytest.mark.parametrize("url", ["http://a:8000/v1/", "http://a:8000/", " http://a:8000/v1"])
    def test_an_address_may_end_in_v1(self, url):
        assert Upstream.at(url).url == "http://a:8000"

    @pytest.mark.parametrize(
        "url", ["a:8000", "ftp://a", "http://", "http://me:key@a", "http://a:99999", "http://a?b=c"]
    )
    def test_what_is_no_address_is_refused(self, url):
        with pytest.raises(SettingError, match="engine is"):
            Upstream.at(url)

    def test_a_key_is_not_shown(self):
        assert "secret" not in repr(Upstream.at("http://a", "secret"))

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--model", "x"], "--model belongs to a model here"),
            (["--precision", "int8"], "--precision belongs"),
            (["--engine-dialect", "klingon"], "use one of faster-higgs, vllm-omni, boson, openai"),
        ],
    )
    def test_contradictions_are_refused(self, capsys, words, told):
        assert (
            main(
                ["serve", "--port", "0", "--ui-port", "0", "--engine", "http://127.0.0.1:9", *words]
            )
            == 2
        )
        assert told in capsys.readouterr().err

    def test_a_dialect_needs_an_engine(self, capsys):
        assert main(["serve", "--port", "0", "--ui-port", "0", "--engine-dialect", "boson"]) == 2
        assert "--engine" in capsys.readouterr().err


@contextmanager
def served(voices: Path, *words: str) -> Iterator[tuple[Live, subprocess.Popen[str]]]:
    """`higgs serve`, as people start it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faster_higgs", "serve", "--port", "0", "--ui-port", "0", *words],
        cwd=ROOT,
        env=os.environ | {"HIGGS_VOICES": str(voices), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+);", process.stdout.readline())
        assert found, process.communicate()[1]
        yield Live(int(found[1]), None, None), process  # type: ignore[arg-type]
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_one_server_before_another(tmp_path):
    """pico behind a second server that loads nothing: the same bytes, a clone, and its end."""
    text = "Good morning to everyone here."
    asked = {"seed": 1, "response_format": "wav", "stream": False}
    with (
        served(tmp_path / "there") as (behind, process),
        served(tmp_path / "here", "--engine", behind.url) as (live, _),
    ):
        there = behind.speak(text, voice="alloy", **asked)
        here = live.speak(text, voice=there.headers["x-voice"], **asked)
        assert here.status == there.status == 200 and here.body == there.body
        assert 0.5 < seconds(here.body) < 10
        assert live.speak(text, voice="alloy", **asked).status == 200

        clip = tmp_path / "clip.wav"
        clip.write_bytes(here.body)
        fields = {"name": "mine", "ref_text": text}
        assert live.form("/v1/audio/voices", fields, clip).status == 200
        cloned = live.speak("The rain has stopped.", voice="mine", response_format="mp3")
        assert cloned.status == 200 and 0.3 < seconds(cloned.body) < 10
        assert not list((tmp_path / "there").glob("*"))

        assert live.ask("/health").json["engine"] == "faster-higgs"
        process.terminate()
        process.communicate(timeout=30)
        assert live.speak(text).error["code"] == "upstream_failed"
