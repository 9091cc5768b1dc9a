"""The RunPod worker: its answers with the fake model, its start with the real one."""

from __future__ import annotations

import asyncio
import base64
import inspect
import io
import json
import os
import subprocess
import sys
import wave
from importlib.util import find_spec
from pathlib import Path

import pytest

from faster_higgs.audio.files import read
from faster_higgs.cli.main import main
from faster_higgs.deploy import runpod as worker
from faster_higgs.deploy.payload import Defaults
from faster_higgs.deploy.runpod import WorkerSettings, configured, handle, stream
from faster_higgs.errors import MissingExtra, NoAudio, SettingError
from faster_higgs.fetch import Elsewhere
from faster_higgs.server.service import Service
from faster_higgs.server.settings import ServerSettings
from tests.project.source import ROOT
from tests.server.conftest import Slow, Witness, until

TEXT = "Hello to everyone."
DEFAULTS = Defaults(ServerSettings(default_response_format="wav", max_running=4))


def service_of(higgs) -> Service:
    return Service(higgs, DEFAULTS.server, ("fake-higgs",))


@pytest.fixture
def witness():
    with Witness() as higgs:
        yield higgs


def done(higgs, **given):
    """A job's output."""
    return asyncio.run(handle({"id": "1", "input": given}, service_of(higgs), DEFAULTS))


def parts(higgs, **given):
    async def all_of_them():
        job = {"id": "1", "input": given}
        return [part async for part in stream(job, service_of(higgs), DEFAULTS)]

    return asyncio.run(all_of_them())


def prompt(higgs) -> str:
    """What the model read last."""
    return higgs.tokenizer.decode(list(higgs.prompts[-1].ids))


def clip() -> str:
    with wave.open(made := io.BytesIO(), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        tone = [
            (10_000 if i // 40 % 2 else -10_000).to_bytes(2, "little", signed=True)
            for i in range(72_000)
        ]
        file.writeframes(b"".join(tone))
    return base64.b64encode(made.getvalue()).decode()


class TestHandle:
    @pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac", "pcm"])
    def test_the_output_has_what_clients_read(self, witness, format):
        found = done(witness, script=TEXT, seed=5, response_format=format)
        assert {*found} == {
            *("audio_base64", "audio_format", "mime_type", "sampling_rate", "generated_text"),
            *("usage", "model", "seed", "duration", "finish_reason", "prompt"),
        }
        assert found["audio_format"] == format and found["mime_type"].startswith("audio/")
        assert (found["sampling_rate"], found["model"], found["seed"]) == (24_000, "fake-higgs", 5)
        assert found["prompt"] == TEXT and found["generated_text"] == ""
        usage = found["usage"]
        assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"] > 0
        data = base64.b64decode(found["audio_base64"])
        seconds = len(data) / 48_000 if format == "pcm" else len(read(data)) / 24_000
        assert seconds == pytest.approx(found["duration"], abs=0.15)
        json.dumps(found)

    def test_a_scene_reaches_the_model_in_place_of_the_usual_one(self, witness):
        done(witness, script=TEXT, scene_prompt="A crowded market.")
        assert "A crowded market." in prompt(witness)
        assert "quiet room" not in prompt(witness)

    def test_a_conversation_reaches_the_model_in_its_order(self, witness):
        found = done(
            witness,
            messages=[
                {"role": "system", "content": "Speak well."},
                {"role": "user", "content": "Said before."},
                {"role": "assistant", "content": "Answered."},
                {"role": "user", "content": TEXT},
            ],
            references={"base64": clip(), "text": "Of the clip."},
        )
        assert "error" not in found and found["reference_transcripts"] == ["Of the clip."]
        read = prompt(witness)
        order = ["Speak well.", "Of the clip.", "Said before.", "Answered.", TEXT]
        places = [read.index(words) for words in order]
        assert places == sorted(places) and len(witness.prompts[-1].clips) == 1

    def test_tokens_on_request(self, witness):
        found = done(witness, script=TEXT, return_audio_tokens=True, return_text_tokens=True)
        columns = found["generated_audio_tokens"]
        assert len(columns) == 8 and len({len(row) for row in columns}) == 1
        assert found["generated_text_tokens"] == []
        longer = done(
            witness,
            script=f"[SPEAKER0] {TEXT} [SPEAKER1] {TEXT}",
            voice="alice,bob",
            return_audio_tokens=True,
        )["generated_audio_tokens"]
        assert [len(row) for row in longer] == [2 * len(row) for row in columns]

    def test_two_speakers_in_two_voices(self, witness):
        found = done(witness, script="[SPEAKER0] One. [SPEAKER1] Two.", voice="alice,bob")
        assert "error" not in found

    def test_jobs_at_once_share_the_model(self):
        async def both(service: Service):
            jobs = [handle({"input": {"script": TEXT}}, service, DEFAULTS) for _ in range(4)]
            tasks = [asyncio.create_task(job) for job in jobs]
            await asyncio.to_thread(until, lambda: higgs.begun == 4)
            higgs.go.release(1_000)
            return await asyncio.gather(*tasks)

        with Slow() as higgs:
            found = asyncio.run(both(service_of(higgs)))
        assert all(one["audio_base64"] for one in found)

    def test_a_job_that_is_called_off_ends_in_the_engine(self):
        async def called_off(service: Service):
            task = asyncio.create_task(handle({"input": {"script": TEXT}}, service, DEFAULTS))
            await asyncio.to_thread(until, lambda: higgs.begun == 1)
            task.cancel()
            await asyncio.to_thread(until, lambda: higgs.ended == 1)

        with Slow() as higgs:
            asyncio.run(called_off(service_of(higgs)))


class TestErrors:
    def test_a_sentence(self, witness):
        assert "'script'" in done(witness)["error"]
        assert "There is no voice 'nobody'" in done(witness, script=TEXT, voice="nobody")["error"]
        assert (
            "base64"
            in done(witness, script=TEXT, references={"base64": "?", "text": "A."})["error"]
        )

    def test_one_of_the_model(self, witness, monkeypatch):
        monkeypatch.setattr(
            witness, "pieces", failing(NoAudio("The model answered without sound."))
        )
        assert done(witness, script=TEXT) == {"error": "The model answered without sound."}

    def test_one_that_nobody_foresaw(self, witness, monkeypatch):
        monkeypatch.setattr(witness, "pieces", failing(KeyError("secret")))
        assert done(witness, script=TEXT) == {
            "error": "Unhandled exception: KeyError; the log has more."
        }

    def test_a_lost_card_takes_the_worker_with_it(self, witness, monkeypatch):
        lost = RuntimeError("CUDA error: an illegal memory access was encountered")
        monkeypatch.setattr(witness, "pieces", failing(lost))
        assert done(witness, script=TEXT)["refresh_worker"] is True

    def test_a_stream_where_there_is_none(self, witness):
        assert "HIGGS_AUDIO_STREAMING=1" in done(witness, script=TEXT, stream=True)["error"]


def failing(error: Exception):
    def pieces(*_, **__):
        raise error
        yield

    return pieces


class TestStream:
    @pytest.mark.parametrize("format", ["wav", "mp3", "pcm"])
    def test_the_parts_are_one_file(self, witness, format):
        asked = {"script": TEXT * 4, "response_format": format, "seed": 1}
        *sound, last = parts(witness, **asked, stream=True)
        data = b"".join(base64.b64decode(part["audio_base64"]) for part in sound)
        assert len(sound) > 2 and last["done"] and not any(part["done"] for part in sound)
        seconds = len(data) / 48_000 if format == "pcm" else len(read(data)) / 24_000
        assert seconds == pytest.approx(last["duration"], abs=0.15)

    def test_a_job_that_asks_for_none_has_one_part(self, witness):
        (one,) = parts(witness, script=TEXT, seed=1)
        assert one == done(witness, script=TEXT, seed=1)

    def test_an_error_is_the_last_part(self, witness):
        (one,) = parts(witness, script=TEXT, stream=True, voice="nobody")
        assert "nobody" in one["error"]


class TestSettings:
    def test_the_environment(self, tmp_path):
        found = WorkerSettings.given(
            {
                "HIGGS_AUDIO_MODEL_ID": "a/model",
                "HIGGS_AUDIO_TOKENIZER_ID": "a/model",
                "HIGGS_AUDIO_AUDIO_TOKENIZER_ID": "a/codec",
                "HIGGS_AUDIO_SYSTEM_PROMPT": "Speak.",
                "HIGGS_AUDIO_MAX_NEW_TOKENS": "512",
                "HIGGS_AUDIO_TEMPERATURE": "0.6",
                "HIGGS_AUDIO_TOP_P": "0.9",
                "HIGGS_AUDIO_TOP_K": "",
                "HIGGS_AUDIO_RAS_WIN_LEN": "5",
                "HIGGS_AUDIO_RAS_WIN_MAX_REPEAT": "3",
                "HIGGS_AUDIO_RESPONSE_FORMAT": "flac",
                "HIGGS_AUDIO_DEVICE": "cpu",
                "HIGGS_AUDIO_LOG_LEVEL": "debug",
                "HIGGS_AUDIO_STREAMING": "1",
                "HIGGS_AUDIO_DOWNLOAD_TIMEOUT": "5",
                "HIGGS_ALLOWED_MEDIA_PATH": str(tmp_path),
                "HIGGS_ALLOWED_MEDIA_HOSTS": "a.example, .b.example",
                "HIGGS_ALLOW_URL_REFERENCES": "1",
                "HIGGS_MAX_RUNNING": "3",
                "HIGGS_VOICES": os.pathsep.join(["a", "b"]),
            }
        )
        assert (found.model, found.codec, found.device) == ("a/model", "a/codec", "cpu")
        assert found.streaming and found.log_level == "DEBUG"
        assert found.voices == (Path("a"), Path("b")) and found.defaults.elsewhere == Elsewhere(
            web=True, hosts=("a.example", ".b.example"), folder=tmp_path, seconds=5.0
        )
        assert found.defaults.server.default_response_format == "flac"
        assert found.defaults.server.default_system_prompt == "Speak."
        server = found.defaults.server
        assert (server.default_max_new_tokens, server.default_temperature) == (512, 0.6)
        assert (server.default_top_p, server.default_top_k) == (0.9, 0)
        assert (server.default_ras_win_len, server.default_ras_win_max_num_repeat) == (5, 3)

    def test_what_a_job_says_goes_before_it(self, witness):
        defaults = WorkerSettings.given({"HIGGS_AUDIO_TEMPERATURE": "0.6"}).defaults
        for given, expected in (({}, 0.6), ({"temperature": 0.1}, 0.1)):
            job = {"input": {"script": TEXT, **given}}
            asyncio.run(handle(job, service_of(witness), defaults))
            assert witness.asked[-1][2].temperature == expected

    def test_nothing_said(self):
        found = WorkerSettings.given({})
        assert found.defaults.server.default_response_format == "wav" and not found.streaming

    @pytest.mark.parametrize(
        ("environment", "word"),
        [
            ({"HIGGS_AUDIO_TOP_K": "many"}, "HIGGS_AUDIO_TOP_K is 'many'"),
            ({"HIGGS_AUDIO_TOKENIZER_ID": "other"}, "leave it out"),
            ({"HIGGS_AUDIO_STREAMING": "maybe"}, "use 1 or 0"),
            ({"HIGGS_AUDIO_DOWNLOAD_TIMEOUT": "long"}, "use a number"),
            ({"HIGGS_AUDIO_RESPONSE_FORMAT": "wma"}, "wma"),
        ],
    )
    def test_what_cannot_be(self, environment, word):
        with pytest.raises(SettingError, match=word):
            WorkerSettings.given(environment)

    def test_a_type_that_cannot_be_followed_is_told(self, caplog):
        WorkerSettings.given({"HIGGS_AUDIO_TORCH_DTYPE": "fp16"})
        assert "HIGGS_AUDIO_TORCH_DTYPE=fp16" in caplog.text

    @pytest.mark.parametrize("streaming", [False, True])
    def test_what_runpod_is_told(self, witness, streaming):
        found = configured(service_of(witness), WorkerSettings(DEFAULTS, streaming=streaming))
        assert found["concurrency_modifier"](1) == 4
        assert inspect.isasyncgenfunction(found["handler"]) is streaming
        assert found["return_aggregate_stream"] is streaming

    def test_without_runpod_it_says_so(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "runpod", None)
        with pytest.raises(MissingExtra, match=r"faster-higgs\[runpod\]"):
            worker.serve(WorkerSettings(DEFAULTS))
        with pytest.raises(SystemExit) as ended:
            worker.main()
        assert ended.value.code == 2 and capsys.readouterr().err.startswith("Error: The worker")

    def test_the_model_is_loaded_and_has_spoken_before_the_first_job(self, monkeypatch):
        made = []

        def load(*asked, **more):
            made.append((asked, more))
            return Witness()

        monkeypatch.setattr(worker.Higgs, "load", load)
        service = worker.loaded(WorkerSettings(DEFAULTS, model="m", codec="c", device="cpu"))
        assert made == [(("m",), {"codec": "c", "device": "cpu", "voices": ()})]
        assert service.ready and len(service.higgs.asked) == 1
        service.higgs.close()


def test_the_command_hands_its_job_to_runpod(monkeypatch):
    told = []
    monkeypatch.setattr(worker, "serve", lambda settings: told.append((settings, sys.argv[1:])))
    monkeypatch.setattr(sys, "argv", ["higgs", "runpod", "--test-input", "{}"])
    monkeypatch.setenv("HIGGS_AUDIO_DEVICE", "cpu")
    assert main(["runpod", "--test-input", "{}"]) == 0
    assert [(one.device, more) for one, more in told] == [("cpu", ["--test_input", "{}"])]


@pytest.mark.skipif(find_spec("runpod") is None, reason="needs runpod")
def test_runpod_itself_does_a_job(tmp_path):
    """Its own test of a worker, with pico, under the path that other workers have."""
    job = json.dumps({"input": {"script": "Yes.", "seed": 1, "response_format": "mp3"}})
    done = subprocess.run(
        [sys.executable, "-m", "serverless.runpod_worker", "--test_input", job],
        cwd=ROOT,
        env=os.environ | {"HIGGS_VOICES": str(tmp_path), "HIGGS_WARMUP": "0"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "completed successfully" in told, told[-2000:]
    assert "'audio_format': 'mp3'" in told
