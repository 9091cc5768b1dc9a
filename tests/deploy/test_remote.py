"""Another server in the place of a model: what is asked of it, refused for it, told of it."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from faster_higgs.audio.encode import encode
from faster_higgs.audio.files import read
from faster_higgs.testing import FakeHiggs, heard, spoken, tones
from tests.deploy.conftest import before, running
from tests.server.conftest import SECONDS_PER_CHARACTER, Slow, Witness, seconds, serving, until

TEXT = "A text that is said elsewhere."
SAID = "A clip of somebody."
WAV = encode(tones(spoken(SAID)), "wav")
CLIP = {"ref_audio": base64.b64encode(WAV).decode(), "ref_text": SAID}


def says(sound: bytes, text: str) -> bool:
    """Whether 16-bit samples are the tones of a text."""
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32_768
    return np.array_equal(heard(samples), spoken(text))


def clip_in(data: str) -> str:
    """What the clip in a data URI, or in base64, says: as tones."""
    return str(heard(read(base64.b64decode(data.rpartition(",")[2]), rate=24_000)).tolist())


@pytest.fixture(scope="module")
def behind():
    with Witness() as higgs, serving(higgs) as server:
        yield server


@pytest.fixture(scope="module")
def before_ours(behind):
    with before(behind.url) as server:
        yield server


class TestFasterHiggs:
    @pytest.fixture
    def live(self, before_ours):
        return before_ours

    @pytest.mark.parametrize("mode", [{}, {"stream": False}])
    @pytest.mark.parametrize("format", ["wav", "pcm"])
    def test_what_is_heard_is_what_was_said_there(self, behind, live, mode, format):
        asked = {"response_format": format, "seed": 5, "voice": "bob", **mode}
        there, here = behind.speak(TEXT, **asked), live.speak(TEXT, **asked)
        assert here.status == 200 and here.body == there.body
        assert here.headers["x-voice"] == "bob" and here.headers["x-seed"] == "5"

    def test_every_field_arrives(self, behind, live):
        asked = {
            "temperature": 0.7,
            "top_p": 0.8,
            "top_k": None,
            "min_p": 0.1,
            "seed": 9,
            "ras_win_len": 5,
            "ras_win_max_num_repeat": 1,
            "max_new_tokens": 700,
            "scene_prompt": "A hall.",
            "normalization": "off",
            "language": "german",
        }
        assert live.speak(TEXT, **asked).status == 200
        text, _, sampling, delivery = behind.service.higgs.asked[-1]
        assert text == TEXT and delivery.scene == "A hall." and delivery.language == "de"
        assert delivery.normalization == "off"
        told = (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p)
        assert told == (0.7, 0.8, 0, 0.1)
        assert (sampling.seed, sampling.ras_window, sampling.ras_repeats) == (9, 5, 1)
        assert sampling.max_new_tokens == 700

    def test_a_clip_arrives_as_it_was(self, behind, live):
        assert live.speak(TEXT, **CLIP).status == 200
        (clip,) = behind.service.higgs.prompts[-1].clips
        assert clip.tolist() == spoken(SAID).tolist()

    def test_words_make_a_voice(self, behind, live):
        reply = live.speak(TEXT, task_type="VoiceDesign", instructions="An old captain.")
        assert reply.status == 200
        (voice,) = behind.service.higgs.asked[-1][1]
        assert voice.description == "An old captain."

    def test_a_long_text_is_cut_here(self, live):
        text = "One sentence of some words. " * 160
        reply = live.ask("/v1/audio/speech", {"input": text[:4090], "response_format": "pcm"})
        assert reply.status == 200 and len(reply.body) / 48_000 > 200

    def test_a_voice_that_is_kept_here_is_sent_there(self, behind, tmp_path):
        path = tmp_path / "clip.wav"
        path.write_bytes(WAV)
        with before(behind.url, voices=[tmp_path / "own"]) as live:
            fields = {"name": "mine", "ref_text": SAID}
            assert live.form("/v1/audio/voices", fields, path).status == 200
            rows = live.ask("/v1/audio/voices").json["data"]
            assert {"alice", "bob", "mine"} <= {row["id"] for row in rows}
            assert live.speak(TEXT, voice="mine").status == 200
            sample = live.ask("/v1/audio/voices/mine/sample")
            assert clip_in(base64.b64encode(sample.body).decode()) == str(spoken(SAID).tolist())
        (clip,) = behind.service.higgs.prompts[-1].clips
        assert clip.tolist() == spoken(SAID).tolist()

    def test_the_form_of_the_sound_is_made_here(self, live):
        slow = live.speak(TEXT, speed=0.5, sample_rate=16_000, response_format="flac")
        assert slow.headers["x-sample-rate"] == "16000"
        said = len(TEXT) * SECONDS_PER_CHARACTER
        assert seconds(slow.body) == pytest.approx(2 * said, rel=0.05)
        for format in ("mp3", "opus", "aac"):
            assert seconds(live.speak(TEXT, response_format=format).body) > 1

    def test_an_error_there_is_told_here(self, live):
        reply = live.speak("...!")
        assert reply.status == 400 and "upstream refuses" in reply.error["message"]
        assert live.speak(TEXT, voice="nobody").error["code"] == "invalid_voice"

    def test_events(self, live):
        reply = live.speak(TEXT, stream_format="sse", response_format="pcm")
        datas = [json.loads(line[6:]) for line in reply.body.split(b"\n") if line[:5] == b"data:"]
        sound = b"".join(base64.b64decode(d["audio"]) for d in datas if d["type"][-5:] == "delta")
        assert says(sound, TEXT)
        assert datas[-1]["usage"]["output_tokens"] == spoken(TEXT).shape[1]
        assert datas[-1]["usage"]["input_tokens"] > 10


def begun(live, text: str = TEXT, **fields):
    """A connection on which the answer has begun."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    body = json.dumps({"input": text, "response_format": "pcm", **fields})
    connection.request("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
    return connection, connection.getresponse()


class TestWhileItIsSpoken:
    @pytest.fixture
    def slow(self):
        with Slow() as higgs, serving(higgs, warmup=False) as server:
            yield server

    def test_the_first_sound_is_passed_on_at_once(self, slow):
        higgs = slow.service.higgs
        with before(slow.url) as live:
            higgs.go.release()
            connection, answer = begun(live)
            assert answer.status == 200 and len(answer.read1(100_000)) > 1000
            assert not higgs.ended
            higgs.go.release(1000)
            answer.read()
            connection.close()

    def test_who_goes_away_ends_it_there(self, slow):
        higgs = slow.service.higgs
        with before(slow.url) as live:
            higgs.go.release()
            connection, answer = begun(live)
            assert answer.read1(10)
            connection.close()
            answer.close()
            until(lambda: higgs.ended == 1 and not live.service.desk.running)

    def test_who_goes_away_before_the_first_sound_ends_it_there(self, slow):
        higgs = slow.service.higgs
        with before(slow.url) as live:
            body = json.dumps({"input": TEXT, "stream": False}).encode()
            head = (
                f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
            )
            with socket.create_connection(("127.0.0.1", live.port)) as line:
                line.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
                until(lambda: higgs.begun == 1)
            until(lambda: higgs.ended == 1 and not live.service.desk.running)

    def test_what_is_late_is_left_out(self, slow):
        higgs = slow.service.higgs
        with before(slow.url) as live:
            assert live.speak(TEXT, timeout=0.3).error["code"] == "deadline_passed"
            until(lambda: higgs.ended == 1)
            higgs.go.release()
            reply = live.speak(TEXT, timeout=0.5, response_format="wav", stream=False)
            assert reply.status == 200 and reply.headers["x-finish-reason"] == "deadline"
            assert 0 < seconds(reply.body) < len(TEXT) * SECONDS_PER_CHARACTER


class TestOmni:
    @pytest.fixture
    def live(self, before_omni):
        return before_omni

    def test_a_text(self, omni, live):
        reply = live.speak(TEXT, response_format="pcm", top_k=7, seed=3, max_new_tokens=2000)
        assert says(reply.body, TEXT) and reply.headers["x-seed"] == "3"
        (body,) = omni.bodies
        assert body["seed"] == 3 and body["max_new_tokens"] <= 1024
        assert body["extra_params"] == {"temperature": 1.0, "top_p": 0.95, "top_k": 7}
        assert omni.keys == {"Bearer the-key"}

    def test_a_temperature_that_is_asked_for_is_used(self, omni, live):
        assert live.speak(TEXT, temperature=0.3).status == 200
        assert omni.bodies[-1]["extra_params"]["temperature"] == 0.3

    def test_a_clip(self, omni, live):
        assert says(live.speak(TEXT, response_format="pcm", **CLIP).body, TEXT)
        (body,) = omni.bodies
        assert body["ref_text"] == SAID and clip_in(body["ref_audio"]) == str(spoken(SAID).tolist())

    def test_a_long_text_keeps_the_voice_it_began_with(self, omni, live):
        text = "This is a sentence of eight words only. " * 12
        assert live.speak(text).status == 200
        first, second = omni.bodies
        assert "ref_audio" not in first and second["ref_text"] == first["input"]
        assert clip_in(second["ref_audio"]) == str(spoken(first["input"]).tolist())
        assert first["seed"] != second["seed"]

    def test_each_speaker_has_a_clip(self, omni, live):
        other = encode(tones(spoken("Another one speaks.")), "wav")
        clips = [
            {"audio_path": CLIP["ref_audio"], "text": SAID},
            {"audio_path": base64.b64encode(other).decode(), "text": "Another one speaks."},
        ]
        text = "[SPEAKER0] Hello to you. [SPEAKER1] And to you."
        assert live.speak(text, references=clips).status == 200
        told = [(body["input"], body["ref_text"]) for body in omni.bodies]
        assert told == [("Hello to you.", SAID), ("And to you.", "Another one speaks.")]

    @pytest.mark.parametrize(
        ("param", "value"),
        [
            ("scene_prompt", "A hall."),
            ("system_prompt", "Speak."),
            ("instructions", "Whisper."),
            ("min_p", 0.1),
            ("ras_win_len", 7),
            ("ras_win_max_num_repeat", 3),
        ],
    )
    def test_what_it_cannot_do_is_refused_by_name(self, omni, live, param, value):
        error = live.speak(TEXT, **{param: value}).error
        assert error["param"] == param and error["code"] == "unsupported_parameter"
        assert "upstream" in error["message"] and not omni.asked

    def test_neither_are_descriptions_and_companies(self, omni, live):
        fields = {"task_type": "VoiceDesign", "instructions": "An old captain."}
        assert live.speak(TEXT, **fields).error["code"] == "unsupported_parameter"
        assert live.speak("[SPEAKER0] Hi. [SPEAKER1] Ho.").error["param"] == "input"
        assert live.speak(TEXT, voice="profile:male_en").error["param"] == "voice"
        assert not omni.asked

    def test_no_repetition_aware_sampling_may_be_asked_for(self, live):
        assert live.speak(TEXT, ras_win_len=0).status == 200

    def test_a_voice_of_its_own(self, omni, live):
        assert live.speak(TEXT, voice="Ann").headers["x-voice"] == "ann"
        assert omni.bodies[-1]["voice"] == "ann"


class TestBoson:
    @pytest.fixture
    def live(self, before_boson):
        return before_boson

    def test_a_clip_becomes_a_conversation(self, boson, live):
        assert says(live.speak(TEXT, response_format="pcm", top_k=7, seed=3, **CLIP).body, TEXT)
        ((path, body),) = boson.asked
        assert path == "/v1/chat/completions"
        assert (body["top_k"], body["seed"], body["temperature"]) == (7, 3, 1.0)
        system, said, sound, text = body["messages"]
        assert "quiet room" in system["content"] and said["content"] == SAID
        (part,) = sound["content"]
        assert part["type"] == "input_audio" and part["input_audio"]["format"] == "wav"
        assert clip_in(part["input_audio"]["data"]) == str(spoken(SAID).tolist())
        assert text == {"role": "user", "content": TEXT}

    def test_a_scene_and_a_description(self, boson, live):
        assert live.speak(TEXT, scene_prompt="A hall.").status == 200
        assert "A hall." in boson.bodies[-1]["messages"][0]["content"]
        fields = {"task_type": "VoiceDesign", "instructions": "An old captain."}
        assert live.speak(TEXT, **fields).status == 200
        assert "An old captain." in boson.bodies[-1]["messages"][0]["content"]

    def test_a_voice_of_its_own(self, boson, live):
        reply = live.speak(TEXT, voice="en_man", response_format="pcm", max_tokens=100)
        assert says(reply.body, TEXT) and "x-seed" not in reply.headers
        ((path, body),) = boson.asked
        assert path == "/v1/audio/speech" and body["max_tokens"] == 100
        for param, value in {"seed": 3, "scene_prompt": "A hall.", "min_p": 0.1}.items():
            assert live.speak(TEXT, voice="en_man", **{param: value}).error["param"] == param
        assert live.speak(TEXT, voice="alloy").headers["x-voice"] == "en_woman"

    def test_the_voice_goes_on_in_the_next_chunk(self, boson, live):
        text = "This is a sentence of eight words only. " * 20
        assert live.speak(text).status == 200
        first, second = boson.bodies
        assert len(first["messages"]) == 2 and len(second["messages"]) == 4
        assert second["messages"][1]["content"] == first["messages"][-1]["content"]

    def test_the_scripts_of_others(self, boson, live):
        body = {"text": TEXT, "top_k": 7, "system_prompt": "Speak softly."}
        reply = live.ask("/generate", body)
        assert reply.status == 200 and seconds(reply.body) > 1
        asked = boson.bodies[-1]
        assert asked["top_k"] == 7 and asked["temperature"] == 1.0
        assert asked["messages"][0] == {"role": "system", "content": "Speak softly."}

    def test_health_in_the_form_of_others(self, boson, live):
        told = live.ask("/health").json
        assert told["status"] == "ok" and told["vllm_healthy"] is True
        assert told["vllm_backend"] == boson.url and told["engine"] == "boson"
        assert told["stats"]["total_requests"] >= 0 and told["model"] == "higgs-audio-v2"
        assert live.ask("/health/ready").status == 200


class TestOpenAI:
    @pytest.fixture
    def live(self, before_openai):
        return before_openai

    def test_a_text_in_a_voice(self, openai, live):
        reply = live.speak(TEXT, voice="nova", response_format="pcm", instructions="Softly.")
        assert says(reply.body, TEXT) and "x-seed" not in reply.headers
        (body,) = openai.bodies
        assert (body["voice"], body["instructions"]) == ("nova", "Softly.")
        assert body["model"] == "tts-9" and "temperature" not in body

    def test_the_openai_client(self, live):
        from openai import OpenAI

        client = OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
        sound = client.audio.speech.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="wav", speed=2
        )
        said = len(TEXT) * SECONDS_PER_CHARACTER
        assert seconds(sound.content) == pytest.approx(said / 2, rel=0.06)

    @pytest.mark.parametrize(
        "fields",
        [
            *({"temperature": 0.3}, {"top_k": 50}, {"seed": 1}, {"max_tokens": 100}, CLIP),
            *({"scene_prompt": "A hall."}, {"system_prompt": "Speak."}, {"ras_win_len": 7}),
            {"extra_params": {"top_p": 0.95}},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    def test_what_openai_has_no_field_for_is_refused(self, openai, live, fields):
        error = live.speak(TEXT, **fields).error
        name = next(iter(fields.get("extra_params", fields)))
        assert error["param"] == name and error["code"] == "unsupported_parameter"
        assert not openai.asked

    def test_a_voice_that_cannot_be_used_is_not_kept(self, openai, tmp_path):
        path = tmp_path / "clip.wav"
        path.write_bytes(WAV)
        with before(openai.url, voices=[tmp_path / "own"]) as live:
            reply = live.form("/v1/audio/voices", {"name": "mine", "ref_text": SAID}, path)
            assert reply.status == 400 and "cannot speak like a clip" in reply.error["message"]


def told(status: int, body: object) -> Response:
    return JSONResponse(body, status)


class TestFailures:
    @pytest.fixture
    def live(self, hasty_omni):
        return hasty_omni

    @pytest.mark.parametrize(
        ("there", "body", "here", "code", "word"),
        [
            (400, {"error": {"message": "a bad text"}}, 400, "invalid_value", "a bad text"),
            (422, {"detail": "a bad form"}, 400, "invalid_value", "a bad form"),
            (401, {"error": "Unauthorized"}, 502, "upstream_failed", "HIGGS_ENGINE_KEY"),
            (404, {"error": {"message": "no such model"}}, 502, "upstream_failed", "no such model"),
            (429, {"error": {"message": "busy"}}, 429, "queue_full", "busy"),
            (500, {"error": {"message": "boom"}}, 502, "upstream_failed", "boom"),
            (503, {}, 503, "engine_unavailable", "cannot speak now"),
            (504, {}, 504, "upstream_timeout", "gave up"),
            (200, {"message": "no sound"}, 502, "upstream_failed", "application/json"),
        ],
    )
    def test_a_status(self, omni, live, there, body, here, code, word):
        omni.instead = lambda: told(there, body)
        reply = live.speak(TEXT)
        assert reply.status == here and reply.error["code"] == code
        assert word in reply.error["message"]
        assert ("retry-after" in reply.headers) == (here in (429, 503))

    def test_the_scripts_of_others_read_details(self, omni, live):
        omni.instead = lambda: told(500, {"error": {"message": "boom"}})
        reply = live.ask("/generate", {"text": TEXT})
        assert reply.status == 502 and "boom" in reply.json["detail"]

    def test_no_sound_at_all(self, omni, live):
        omni.instead = lambda: Response(b"", media_type="audio/pcm")
        assert live.speak(TEXT).error["code"] == "no_audio"

    def test_silence_on_the_line(self, omni, live):
        omni.hold = threading.Event()
        begin = time.monotonic()
        connection, answer = begun(live)
        with pytest.raises(http.client.HTTPException):
            answer.read()
        connection.close()
        assert 0.4 < time.monotonic() - begin < 3
        until(omni.gone.is_set)

    def test_no_answer_at_all(self):
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            deaf.listen(8)
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            remote = {"patience": 0.3}
            with before(url, **remote) as live:
                live.service.higgs._dialect, live.service.higgs._model = "vllm-omni", "m"
                assert live.speak(TEXT).error["code"] == "upstream_timeout"

    def test_a_stream_that_breaks_off(self, omni, live):
        async def broken():
            yield b"\1\0" * 5000
            raise RuntimeError

        omni.instead = lambda: StreamingResponse(broken(), media_type="audio/pcm")
        connection, answer = begun(live)
        with pytest.raises(http.client.HTTPException):
            answer.read()
        connection.close()
        assert live.speak(TEXT, stream=False).error["code"] == "upstream_failed"

    def test_a_whole_answer_that_breaks_off(self, omni, live):
        promised = {"Content-Length": "100000"}
        omni.instead = lambda: StreamingResponse(
            iter([b"\1\0" * 5000]), media_type="audio/pcm", headers=promised
        )
        assert live.speak(TEXT, stream=False).error["code"] == "upstream_failed"

    def test_another_rate(self, omni, live):
        omni.instead = lambda: Response(b"\1\0" * 9, headers={"X-Sample-Rate": "44100"})
        assert "44100" in live.speak(TEXT).error["message"]

    def test_nobody_is_there(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with before(f"http://127.0.0.1:{port}") as live:
            assert live.speak(TEXT).error["code"] == "upstream_failed"
            assert live.ask("/v1/audio/voices").status == 502
            told = live.ask("/health").json
            assert told["status"] == "degraded" and told["vllm_healthy"] is False
            assert live.ask("/health/ready").status == 503
            assert live.ask("/health/live").status == 200

    def test_it_comes_late(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with before(f"http://127.0.0.1:{port}") as live:
            assert live.speak(TEXT).status == 502
            with FakeHiggs() as higgs, serving(higgs, port=0) as behind:
                live.service.higgs.upstream = type(live.service.higgs.upstream).at(behind.url)
                assert live.speak(TEXT).status == 200
                until(lambda: live.ask("/health").json["vllm_healthy"], seconds=5)

    def test_it_says_it_is_not_well(self, omni):
        omni.healthy = False
        with before(omni.url) as live:
            assert live.ask("/health").json["vllm_healthy"] is False


def test_an_app_without_a_list_of_models_wants_a_name():
    from starlette.applications import Starlette

    with running(Starlette()) as behind, before(behind.url) as live:
        assert "HIGGS_ENGINE_MODEL" in live.speak(TEXT).error["message"]
