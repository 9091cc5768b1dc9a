"""/v1/audio/speech/stream, by the `websockets` client: sessions, text in pieces, limits, ends."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from faster_higgs.audio.files import read
from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import SECONDS_PER_CHARACTER, Live, Slow, seconds, serving, until

PATH = "/v1/audio/speech/stream"
CONFIG = {"type": "session.config", "voice": "alice", "response_format": "pcm", "seed": 3}
SPOKEN = CONFIG | {"stream_audio": True}
LONG = "This is a sentence that is long enough to be cut in many pieces of sound."


class Session:
    """What a client does."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind} | fields))

    def next(self) -> Any:
        message = self.socket.recv(timeout=120)
        return json.loads(message) if isinstance(message, str) else message

    def until(self, kind: str) -> list[Any]:
        """All messages up to the first of a kind."""
        found = [self.next()]
        while not isinstance(found[-1], dict) or found[-1]["type"] != kind:
            found.append(self.next())
        return found

    def speak(self, *pieces: str) -> list[Any]:
        """One utterance, and everything that is told of it."""
        for piece in pieces:
            self.say("input.text", text=piece)
        self.say("input.done")
        return self.until("session.done")

    def ended(self) -> int:
        """Why the server closed it."""
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                self.socket.recv(timeout=120)
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code


@contextmanager
def session(
    live: Live, config: dict[str, Any] | None = SPOKEN, path: str = PATH, **more: Any
) -> Iterator[Session]:
    with connect(f"ws://127.0.0.1:{live.port}{path}", max_size=None, **more) as socket:
        one = Session(socket)
        if config is not None:
            socket.send(json.dumps(config))
        yield one


def told(messages: list[Any], kind: str) -> list[dict[str, Any]]:
    return [m for m in messages if isinstance(m, dict) and m["type"] == kind]


def sound(messages: list[Any]) -> bytes:
    return b"".join(message for message in messages if isinstance(message, bytes))


LIMITS = {
    "max_socket_config_bytes": 20_000,
    "max_socket_text_bytes": 2_000,
    "max_socket_waiting_chars": 3_000,
    "max_text_chars": 1_000,
    "max_sockets": 2,
    "warmup": False,
}


@pytest.fixture
def slow():
    with Slow() as higgs:
        yield higgs
        higgs.go.release(100_000)


@pytest.fixture(scope="module")
def small():
    with FakeHiggs() as higgs, serving(higgs, **LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def locked():
    told = {"api_keys": ("first-key-1",), "socket_keys": ("subprotocol", "query")}
    with FakeHiggs() as higgs, serving(higgs, **told, warmup=False) as server:
        yield server


@pytest.fixture(scope="module")
def strict():
    with FakeHiggs() as higgs, serving(higgs, api_keys=("first-key-1",), warmup=False) as server:
        yield server


class TestSpeech:
    def test_two_utterances_of_one_session(self, live):
        with session(live) as one:
            for utterance, text in enumerate(["Hello there.", "And good bye."]):
                found = one.speak(text)
                (start,), (done,) = told(found, "audio.start"), told(found, "audio.done")
                place = {"utterance_index": utterance, "sentence_index": 0}
                assert start.items() >= place.items() and done.items() >= place.items()
                assert start["sentence_text"] == text and start["format"] == "pcm"
                assert (start["sample_rate"], start["channels"], start["seed"]) == (24_000, 1, 3)
                assert done["total_bytes"] == len(sound(found)) and not done["error"]
                assert done["duration"] == len(text) * SECONDS_PER_CHARACTER
                assert found[-1] == {
                    "type": "session.done",
                    "utterance_index": utterance,
                    "total_sentences": 1,
                }
                assert len(sound(found)) / 48_000 == done["duration"]
            one.say("session.close")
            assert one.ended() == 1000

    def test_text_in_small_pieces_is_spoken_sentence_by_sentence(self, live):
        text = "First one. Is it 3.5 now? Dr. Smith says so! "
        with session(live) as one:
            found = one.speak(*text)
            starts = told(found, "audio.start")
            assert [start["sentence_text"] for start in starts] == [
                "First one.",
                "Is it 3.5 now?",
                "Dr. Smith says so!",
            ]
            assert [start["sentence_index"] for start in starts] == [0, 1, 2]
            assert found[-1]["total_sentences"] == 3

    def test_a_sentence_is_heard_while_the_text_goes_on(self, live):
        with session(live) as one:
            one.say("input.text", text="The first sentence. And then ")
            found = one.until("audio.done")
            assert told(found, "audio.start")[0]["sentence_text"] == "The first sentence."
            assert one.speak("more.")[-1]["total_sentences"] == 2

    @pytest.mark.parametrize(
        ("granularity", "count"), [("none", 1), ("sentence", 2), ("clause", 3)]
    )
    def test_how_a_text_is_cut_can_be_chosen(self, live, granularity, count):
        with session(live, SPOKEN | {"split_granularity": granularity}) as one:
            assert one.speak("Well, here ", "we are. Good.")[-1]["total_sentences"] == count

    def test_without_streamed_audio_each_utterance_is_one_file(self, live):
        with session(live, {"type": "session.config", "voice": "alice"}) as one:
            found = one.speak("One. Two.")
            (start,), (file,) = told(found, "audio.start"), [m for m in found if type(m) is bytes]
            assert (start["format"], file[:4]) == ("wav", b"RIFF")
            assert seconds(file) == pytest.approx(9 * SECONDS_PER_CHARACTER, abs=0.01)

    @pytest.mark.parametrize("stream", [True, False])
    def test_sound_as_json(self, live, stream):
        asked = CONFIG | {"audio_transport": "json", "stream_audio": stream}
        with session(live, asked) as one:
            found = one.speak("Hello there, my friend.")
            chunks = told(found, "audio.chunk")
            assert [chunk["chunk_id"] for chunk in chunks] == list(range(len(chunks)))
            data = [base64.b64decode(chunk["audio_b64"]) for chunk in chunks]
            ends = np.cumsum([len(one) for one in data]) / 48
            assert [chunk["chunk_end_ms"] for chunk in chunks] == [round(end) for end in ends]
            assert [chunk["chunk_start_ms"] for chunk in chunks[1:]] == [
                chunk["chunk_end_ms"] for chunk in chunks[:-1]
            ]
            assert all(chunk["timestamps"] is None for chunk in chunks)
            assert told(found, "audio.done")[0]["total_bytes"] == len(b"".join(data))

    def test_other_settings_count_as_in_a_request(self, live):
        asked = SPOKEN | {"response_format": "flac", "speed": 2.0, "sample_rate": 16_000}
        with session(live, asked) as one:
            found = one.speak("Hello there.")
            assert told(found, "audio.start")[0]["sample_rate"] == 16_000
            length = len(read(sound(found), rate=16_000)) / 16_000
            assert length == pytest.approx(12 * SECONDS_PER_CHARACTER / 2, abs=0.03)

    def test_an_utterance_may_be_empty(self, live):
        with session(live) as one:
            assert one.speak("  ") == [
                {"type": "session.done", "utterance_index": 0, "total_sentences": 0}
            ]
            assert one.speak()[-1]["utterance_index"] == 1

    def test_the_config_may_change_between_utterances(self, live):
        with session(live) as one:
            one.say("input.text", text="Hello ")
            one.say(**_typed(SPOKEN | {"seed": 4}))
            assert "was begun" in one.next()["message"]
            assert told(one.speak("there."), "audio.start")[0]["seed"] == 3
            one.say(**_typed(SPOKEN | {"seed": 4}))
            assert told(one.speak("Hello."), "audio.start")[0]["seed"] == 4

    def test_what_was_said_before_the_close_is_heard(self, live):
        with session(live) as one:
            one.say("input.text", text="One. Two.")
            one.say("input.done")
            one.say("session.close")
            assert one.until("session.done")[-1]["total_sentences"] == 2
            assert one.ended() == 1000


def _typed(config: dict[str, Any]) -> dict[str, Any]:
    return {"kind": config["type"]} | {k: v for k, v in config.items() if k != "type"}


def test_a_sentence_of_the_real_model_sounds_as_in_a_request():
    """The text comes letter by letter; each sentence equals POST /v1/audio/speech."""
    with (
        Higgs.load(PACKAGED) as higgs,
        serving(higgs, warmup=False) as live,
        session(live, {k: v for k, v in SPOKEN.items() if k != "voice"}) as one,
    ):
        found = one.speak(*"Good morning. It is late.")
        starts = told(found, "audio.start")
        assert [start["sentence_text"] for start in starts] == [
            "Good morning.",
            "It is late.",
        ]
        for start in starts:
            begin = found.index(start)
            end = next(
                i for i, m in enumerate(found) if i > begin and m in told(found, "audio.done")
            )
            reply = live.speak(start["sentence_text"], response_format="pcm", seed=3)
            mine, theirs = sound(found[begin:end]), reply.body
            assert len(mine) == len(theirs) > 10_000
            apart = np.frombuffer(mine, "<i2").astype(int) - np.frombuffer(theirs, "<i2")
            assert np.abs(apart).max() <= 3  # 1e-4


class TestEnd:
    def test_who_hangs_up_ends_the_making(self, slow):
        with serving(slow, warmup=False, max_running=1) as live:
            with session(live) as one:
                one.say("input.text", text=f"{LONG} And more to come.")
                until(lambda: slow.begun == 1)
                slow.go.release(2)
            until(lambda: slow.ended == slow.begun and live.service.desk.running == 0, 2)
            until(lambda: live.service.sockets == 0, 2)
            slow.go.release(10_000)
            assert live.speak().status == 200
            assert b'higgs_aborted_total{reason="client_gone"} 1.0' in live.ask("/metrics").body

    def test_a_connection_that_is_lost_ends_the_making(self, slow):
        with serving(slow, warmup=False, max_running=1) as live, session(live) as one:
            one.say("input.text", text=LONG)
            one.say("input.done")
            until(lambda: slow.begun == 1)
            one.socket.socket.close()  # no farewell
            until(lambda: slow.ended == 1 and live.service.sockets == 0, 2)

    def test_silence_ends_it_but_listening_is_none(self, slow):
        with serving(slow, warmup=False, socket_idle_timeout_s=0.3) as live, session(live) as one:
            one.say("input.text", text="Hello.")
            one.say("input.done")
            until(lambda: slow.begun == 1)
            time.sleep(0.5)
            slow.go.release(10_000)
            heard = time.monotonic()
            assert one.until("session.done")
            assert one.next()["code"] == "session_timeout"
            assert one.ended() == 1008 and 0.25 < time.monotonic() - heard < 5

    def test_a_session_that_never_begins_is_ended(self):
        with (
            FakeHiggs() as higgs,
            serving(higgs, warmup=False, socket_config_timeout_s=0.1) as live,
            session(live, None) as one,
        ):
            assert one.next()["message"] == "No session.config came in time."
            assert one.ended() == 1008

    def test_the_server_that_stops_ends_it(self, slow):
        with serving(slow, warmup=False) as live, session(live) as one:
            one.say("input.text", text=LONG)
            one.say("input.done")
            until(lambda: slow.begun == 1)
            live.server.should_exit = True
            assert one.ended() == 1012

    def test_a_server_about_to_end_takes_no_new_text(self, slow):
        with serving(slow, warmup=False) as live, session(live) as one:
            begun = slow.begun
            one.say("input.text", text=LONG)
            one.say("input.done")
            until(lambda: slow.begun == begun + 1)
            live.service.draining = True
            one.say("input.text", text="And another sentence.")
            assert told(one.until("error"), "error")[0]["code"] == "draining"
            one.say("input.done")
            slow.go.release(10_000)
            ends = [told(one.until("session.done"), "session.done")[-1] for _ in range(2)]
            assert [end["total_sentences"] for end in ends] == [1, 0]


class TestRefusals:
    @pytest.mark.parametrize(
        ("first", "code"),
        [
            ('{"type": "input.text", "text": "Hi."}', "session_not_configured"),
            ('{"type": "nosuch"}', "session_not_configured"),
            ("{", "invalid_json"),
            ("[]", "invalid_json"),
            ("{}", "invalid_json"),
            ("[" * 50_000, "invalid_json"),
            (b"\x00", "invalid_json"),
            ('{"type": "session.config", "nosuch": 1}', "unknown_parameter"),
            ('{"type": "session.config", "input": "Hi."}', "unknown_parameter"),
            ('{"type": "session.config", "voice": "nobody"}', "invalid_voice"),
            ('{"type": "session.config", "model": "gpt-9"}', "model_not_found"),
            ('{"type": "session.config", "speed": true}', "invalid_value"),
            ('{"type": "session.config", "word_timestamps": true}', "unsupported_parameter"),
            ('{"type": "session.config", "split_granularity": "word"}', "invalid_value"),
            ('{"type": "session.config", "stream_audio": true, "voice": "alice,bob"}', None),
        ],
    )
    def test_a_wrong_first_message_ends_it(self, live, first, code):
        with session(live, None) as one:
            one.socket.send(first)
            error = one.next()
            assert error["type"] == "error" and error["message"].endswith(".")
            assert code is None or error["code"] == code
            assert one.ended() == 1008

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ("{", "invalid_json"),
            (b"sound", "invalid_json"),
            ('{"type": "nosuch"}', "invalid_value"),
            ('{"type": "input.text"}', "missing_required_parameter"),
            ('{"type": "input.text", "text": 5}', "missing_required_parameter"),
            ('{"type": "input.text", "text": "\\ud800 x. Y "}', "invalid_json"),
            ('{"type": "\\ud800"}', "invalid_json"),
            ('{"type": "session.config", "voice": "\\ud800"}', "invalid_json"),
            ('{"type": "input.done", "text": "more"}', "unknown_parameter"),
            ('{"type": "session.config", "speed": 9}', "invalid_value"),
        ],
    )
    def test_a_wrong_message_later_is_told_and_the_session_goes_on(self, live, message, code):
        with session(live) as one:
            one.socket.send(message)
            assert one.next()["code"] == code
            assert one.speak("Hello.")[-1]["total_sentences"] == 1

    def test_a_part_that_cannot_be_spoken_is_told_and_the_next_one_is_spoken(self, live):
        with session(live) as one:
            found = one.speak("!!!")
            (error,), (done,) = told(found, "error"), told(found, "audio.done")
            assert error["code"] == "invalid_input" and error["sentence_index"] == 0
            assert "partial_audio" not in error
            assert done["error"] and done["total_bytes"] == 0 and told(found, "audio.start")
            assert sound(one.speak("Hello."))

    def test_what_breaks_in_the_middle_is_to_be_thrown_away(self, monkeypatch):
        with FakeHiggs() as higgs, serving(higgs, warmup=False) as live, session(live) as one:
            pieces = higgs.pieces

            def breaks(*asked, **more):
                yield from list(pieces(*asked, **more))[:1]
                raise ZeroDivisionError("secret words")

            monkeypatch.setattr(higgs, "pieces", breaks)
            found = one.speak("Hello there, my good friend.")
            (error,) = told(found, "error")
            assert (error["partial_audio"], error["action"]) == (True, "discard")
            assert "secret" not in error["message"] and sound(found)

    def test_no_place_is_told(self, slow):
        with (
            serving(slow, warmup=False, max_running=1, max_queue=0) as live,
            session(live) as one,
            session(live) as other,
        ):
            one.say("input.text", text=LONG)
            one.say("input.done")
            until(lambda: slow.begun == 1)
            assert told(other.speak("Hello."), "error")[0]["code"] == "queue_full"
            slow.go.release(10_000)
            assert one.until("session.done")


class TestLimits:
    def test_a_config_may_be_larger_than_a_text(self, small):
        with session(small, SPOKEN | {"scene_prompt": "x" * 900, "ref_text": " " * 5000}) as one:
            assert one.next()["code"] != "message_too_large"
            assert one.ended() == 1008

    def test_a_config_that_is_too_large_is_refused(self, small):
        with session(small, SPOKEN | {"ref_audio": "A" * 30_000, "ref_text": "x"}) as one:
            assert one.ended() == 1009

    def test_a_text_that_is_too_large_is_refused(self, small):
        with session(small) as one:
            one.say("input.text", text="x" * 2_500)
            assert one.next()["code"] == "message_too_large"
            assert one.ended() == 1009

    def test_a_text_without_an_end_is_refused(self, small):
        with session(small, SPOKEN | {"split_granularity": "none"}) as one:
            one.say("input.text", text="word " * 180)
            one.say("input.text", text="word " * 180)
            assert one.next()["code"] == "string_above_max_length"
            assert one.ended() == 1009

    def test_more_text_than_can_wait_is_refused(self, slow):
        with serving(slow, **LIMITS) as live, session(live) as one:
            for _ in range(4):
                one.say("input.text", text="Some words. " * 80)
            assert one.until("error")[-1]["code"] == "too_much_text"
            assert one.ended() == 1009

    def test_too_many_sessions_are_refused_before_they_begin(self, small):
        with session(small), session(small):
            until(lambda: small.service.sockets == 2)
            with pytest.raises(InvalidStatus) as caught, session(small):
                pass
            answer = caught.value.response
            assert answer.status_code == 429 and b"too_many_sessions" in answer.body
            assert answer.headers["Retry-After"]
        until(lambda: small.service.sockets == 0)


class TestGate:
    @staticmethod
    def refused(live: Live, **how: Any) -> tuple[int, str]:
        with pytest.raises(InvalidStatus) as caught, session(live, **how):
            pass
        answer = caught.value.response
        assert answer.headers["X-Request-Id"]
        return answer.status_code, json.loads(answer.body)["error"]["code"]

    def test_a_foreign_page_is_refused(self, live):
        assert self.refused(live, origin="https://evil.example") == (403, "origin_not_allowed")
        with session(live, origin=f"http://127.0.0.1:{live.port}") as one:
            assert one.speak("Hello.")

    def test_a_page_that_is_allowed_may_ask(self):
        allowed = {"cors_origins": ("https://page.example",), "warmup": False}
        with (
            FakeHiggs() as higgs,
            serving(higgs, **allowed) as live,
            session(live, origin="https://page.example") as one,
        ):
            assert one.speak("Hello.")

    def test_a_name_that_is_not_ours_is_refused(self, live):
        with connect_as(live, "evil.example") as status:
            assert status == 403

    @pytest.mark.parametrize("key", ["", "Bearer wrong-key", "Basic first-key-1"])
    def test_a_wrong_key_is_refused(self, locked, key):
        headers = {"Authorization": key}
        assert self.refused(locked, additional_headers=headers) == (401, "invalid_api_key")

    @pytest.mark.parametrize(
        "how",
        [
            {"additional_headers": {"Authorization": "Bearer first-key-1"}},
            {"subprotocols": ["higgs", "higgs-key.first-key-1"]},
            {"path": f"{PATH}?api_key=first-key-1"},
        ],
    )
    def test_a_key_opens_wherever_it_may_stand(self, locked, how):
        with session(locked, **how) as one:
            assert one.speak("Hello.")
            assert one.socket.subprotocol in (None, "higgs")
            assert one.socket.response.headers["X-Request-Id"]

    @pytest.mark.parametrize(
        "how",
        [
            {"subprotocols": ["higgs", "higgs-key.first-key-1"]},
            {"path": f"{PATH}?api_key=first-key-1"},
        ],
    )
    def test_beside_the_header_keys_count_only_where_they_are_allowed(self, strict, how):
        assert self.refused(strict, **how) == (401, "invalid_api_key")

    @pytest.mark.parametrize(
        "how", [{"subprotocols": ["higgs-key.wrong-key"]}, {"path": f"{PATH}?api_key=wrong-key"}]
    )
    def test_a_wrong_key_elsewhere_is_wrong_as_well(self, locked, how):
        assert self.refused(locked, **how) == (401, "invalid_api_key")

    def test_there_is_no_other_socket(self, live):
        with pytest.raises(InvalidStatus) as caught, session(live, path="/v1/audio/speech"):
            pass
        assert caught.value.response.status_code in (403, 404)


@contextmanager
def connect_as(live: Live, host: str) -> Iterator[int]:
    """The status of a handshake under another name."""
    with live_socket(live) as one:
        head = (
            f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        )
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        one.sendall((head + key).encode())
        yield int(one.recv(100).split()[1])


def live_socket(live: Live) -> Any:
    import socket

    return socket.create_connection(("127.0.0.1", live.port), timeout=20)
