"""Keys, hosts, origins and sizes, before anything is done; and what the settings may say."""

from __future__ import annotations

import json
import socket

import pytest

from faster_higgs.errors import SettingError
from faster_higgs.server.errors import Refusal, without_paths
from faster_higgs.server.gate import check_host, check_origin
from faster_higgs.server.settings import ServerSettings, is_loopback
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import serving

KEYS = ("first-key-1", "second-key")


@pytest.fixture(scope="module")
def locked():
    with FakeHiggs() as higgs, serving(higgs, api_keys=KEYS, warmup=False) as server:
        yield server


@pytest.fixture(scope="module")
def small():
    told = {"max_body_bytes": 5000, "cors_origins": ("https://page.example",)}
    with FakeHiggs() as higgs, serving(higgs, **told, warmup=False) as server:
        yield server


class TestKeys:
    @pytest.mark.parametrize("key", KEYS)
    def test_each_key_opens(self, locked, key):
        assert locked.ask("/v1/models", headers={"Authorization": f"Bearer {key}"}).status == 200

    @pytest.mark.parametrize(
        "given", ["", "Bearer", "Bearer ", "Bearer first-key", "Basic first-key-1", "first-key-1"]
    )
    @pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/health", "/openapi.json", "/x"])
    def test_without_one_nothing_is_told(self, locked, given, path):
        reply = locked.ask(path, headers={"Authorization": given})
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        assert reply.headers["x-request-id"]

    def test_who_restarts_it_needs_none(self, locked):
        assert locked.ask("/health/live").status == 200

    def test_with_keys_any_name_will_do(self, locked):
        told = {"Host": "tts.example", "Authorization": f"Bearer {KEYS[0]}"}
        assert locked.ask("/health", headers=told).status == 200


class TestOtherSites:
    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[", "x:1:2"])
    def test_a_name_that_is_not_ours_is_refused(self, small, host):
        reply = small.ask("/v1/models", headers={"Host": host})
        assert reply.status in (400, 403)

    @pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "192.168.1.7"])
    def test_our_names_and_addresses_are_taken(self, small, host):
        assert small.ask("/v1/models", headers={"Host": host}).status == 200

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
    def test_a_page_elsewhere_cannot_ask(self, small, origin):
        reply = small.ask("/v1/audio/speech", {"input": "Hi."}, headers={"Origin": origin})
        assert (reply.status, reply.error["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in reply.headers

    def test_our_own_page_can(self, small):
        own = {"Origin": f"http://127.0.0.1:{small.port}"}
        assert small.ask("/v1/audio/speech", {"input": "Hi."}, headers=own).status == 200

    def test_an_allowed_page_can_and_sends_no_cookies(self, small):
        told = {"Origin": "https://page.example"}
        reply = small.ask("/v1/audio/speech", {"input": "Hi."}, headers=told)
        assert reply.headers["access-control-allow-origin"] == "https://page.example"
        assert "access-control-allow-credentials" not in reply.headers
        told["Access-Control-Request-Method"] = "POST"
        assert small.ask("/v1/models", method="OPTIONS", headers=told).status == 200

    def test_no_page_is_allowed_by_itself(self, locked):
        told = {"Origin": "https://page.example", "Authorization": f"Bearer {KEYS[0]}"}
        assert locked.ask("/v1/models", headers=told).status == 403

    def test_the_rules_by_themselves(self):
        check_host("tts.example:443", ServerSettings(allowed_hosts=("TTS.example",)))
        check_host("any.example", ServerSettings(allowed_hosts=("*",)))
        check_origin("https://a.example", "a.example", ())
        with pytest.raises(Refusal):
            check_origin("https://a.example", "b.example", ())


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/audio/voices", "/openapi.json"])
def test_head_is_get_without_its_body(small, path):
    get, head = small.ask(path), small.ask(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert small.ask("/v1/audio/speech", method="HEAD").status == 405


class TestSizes:
    def test_a_large_body_is_refused_by_its_length(self, small):
        reply = small.ask("/v1/audio/speech", {"input": "x" * 6000})
        assert (reply.status, reply.error["code"]) == (413, "body_too_large")

    def test_a_body_that_does_not_tell_its_length_is_counted(self, small):
        body = json.dumps({"input": "x" * 6000}).encode()
        one = socket.create_connection(("127.0.0.1", small.port), timeout=20)
        head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
        head += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        one.sendall(head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
        assert b" 413 " in one.recv(200)
        one.close()

    def test_a_promised_gigabyte_is_refused_before_it_comes(self, small):
        one = socket.create_connection(("127.0.0.1", small.port), timeout=20)
        one.sendall(
            b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
        )
        assert b" 413 " in one.recv(200)
        one.close()


class TestSettings:
    def test_the_environment_is_read_by_type(self):
        told = {
            "HIGGS_PORT": "8001",
            "HIGGS_API_KEYS": "first-key-1, second-key",
            "HIGGS_QUEUE_TIMEOUT_S": "2.5",
            "HIGGS_WARMUP": "off",
            "HIGGS_DEFAULT_VOICE": "alice",
            "HIGGS_DEFAULT_TEMPERATURE": "0.5",
            "HIGGS_MODEL": "somewhere",
            "HIGGS_HOST": "",
        }
        settings = ServerSettings(**ServerSettings.given(told))
        assert (settings.port, settings.api_keys) == (8001, KEYS)
        assert (settings.queue_timeout_s, settings.warmup) == (2.5, False)
        assert (settings.default_voice, settings.default_temperature) == ("alice", 0.5)
        assert settings.host == "127.0.0.1"

    @pytest.mark.parametrize(
        ("name", "value"), [("PORT", "many"), ("WARMUP", "maybe"), ("QUEUE_TIMEOUT_S", "x")]
    )
    def test_a_wrong_value_is_named(self, name, value):
        with pytest.raises(SettingError, match=f"HIGGS_{name} is '{value}'"):
            ServerSettings.given({f"HIGGS_{name}": value})

    @pytest.mark.parametrize(
        "wrong",
        [
            {"port": 70_000},
            {"max_running": 0},
            {"default_response_format": "m4a"},
            {"api_keys": ("short",)},
            {"socket_keys": ("cookie",)},
            {"queue_timeout_s": float("nan")},
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong):
        with pytest.raises(SettingError):
            ServerSettings(**wrong)

    def test_the_default_voice_speaks_where_none_is_named(self):
        with FakeHiggs() as higgs, serving(higgs, default_voice="bob", warmup=False) as live:
            assert live.speak().headers["x-voice"] == "bob"

    @pytest.mark.parametrize(
        ("host", "local"),
        [
            ("127.0.0.1", True),
            ("::1", True),
            ("localhost", True),
            ("0.0.0.0", False),
            ("a.b", False),
        ],
    )
    def test_what_only_this_machine_reaches(self, host, local):
        assert is_loopback(host) == local


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The file /data/user/voices/a.wav cannot be read.", "The file a.wav cannot be read."),
        ("'/etc/ssl/x' is bad", "'x' is bad"),
        (r"C:\Users\ann\a.wav is bad", "a.wav is bad"),
        ("GET /v1/audio/voices lists them", "GET /v1/audio/voices lists them"),
        ("use 1/2 or and/or", "use 1/2 or and/or"),
    ],
)
def test_no_path_gets_out(said, told):
    assert without_paths(said) == told
