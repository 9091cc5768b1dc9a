"""What each key may ask, and who of those who wait is next."""

from __future__ import annotations

import hmac
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from faster_higgs.errors import SettingError
from faster_higgs.server.accounts import Account, Accounts
from faster_higgs.server.errors import Refusal
from faster_higgs.server.settings import Limits, ServerSettings, key_and_limits
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import Live, Slow, serving, until

ONE, TWO = "first-key-1", "second-key-2"


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000 * 86_400.0

    def __call__(self) -> float:
        return self.now


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def speak(live: Live, key: str, **fields: Any) -> Any:
    return live.ask("/v1/audio/speech", {"input": "Hello there."} | fields, headers=bearer(key))


class TestCounting:
    def test_so_many_requests_in_any_minute(self):
        clock = Clock()
        account = Account(Limits(requests_per_minute=2), now=clock)
        for step in (0, 40):
            clock.now += step
            account.ask()
        clock.now += 10
        with pytest.raises(Refusal) as refused:
            account.ask()
        assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
        assert refused.value.retry_after == 10
        clock.now += 10
        account.ask()
        with pytest.raises(Refusal):
            account.ask()

    def test_so_much_sound_in_a_day(self):
        clock = Clock()
        account = Account(Limits(audio_seconds_per_day=10), now=clock)
        clock.now += 86_000
        for seconds in (6, 6):
            account.begin()
            account.heard(seconds)
            account.end()
        with pytest.raises(Refusal) as refused:
            account.begin()
        assert refused.value.retry_after == 400
        clock.now += 400
        account.begin()

    def test_so_many_at_once(self):
        account = Account(Limits(concurrent=1))
        account.begin()
        with pytest.raises(Refusal):
            account.begin()
        account.end()
        account.begin()

    def test_no_limit_is_none(self):
        account = Account()
        for _ in range(1000):
            account.ask()
            account.begin()


class TestKeys:
    def test_behind_a_key_may_stand_limits(self):
        each = Limits(requests_per_minute=5, concurrent=1)
        key, limits = key_and_limits(f"{ONE} concurrent=3  audio_seconds_per_day=1.5", each)
        assert key == ONE and limits == Limits(5, 1.5, 3)

    @pytest.mark.parametrize(
        "line",
        [
            *("short", f"{ONE} speed=3", f"{ONE} concurrent", f"{ONE} concurrent=many"),
            *(f"{ONE} concurrent=-1", f"{ONE} concurrent=nan", "schlüssel-schlüssel"),
        ],
    )
    def test_what_is_wrong_there_is_told_without_the_key(self, line):
        with pytest.raises(SettingError) as told:
            ServerSettings(api_keys=(line,))
        assert ONE not in str(told.value) and "schl" not in str(told.value)

    def test_each_key_is_compared_each_time_in_constant_time(self, monkeypatch):
        accounts = Accounts([ONE, TWO], ["admin-key-3"], Limits())
        compared = []
        real = hmac.compare_digest

        def watched(one: bytes, two: bytes) -> bool:
            compared.append((len(one), len(two)))
            return real(one, two)

        monkeypatch.setattr(hmac, "compare_digest", watched)
        for key in (ONE, "", "x" * 1000, None, "admin-key-3"):
            accounts.of(key)
        assert compared == [(32, 32)] * 15

    def test_without_keys_everyone_is_one(self):
        accounts = Accounts([], ["admin-key-3"], Limits(concurrent=2))
        everyone = accounts.of(None)
        assert everyone is accounts.of("whatever") and everyone.limits.concurrent == 2
        assert accounts.of("admin-key-3").admin and not everyone.admin


class TestServer:
    def test_an_openai_client_hears_of_it_and_reading_is_free(self):
        keys = (f"{ONE} requests_per_minute=2", TWO)
        with FakeHiggs() as higgs, serving(higgs, api_keys=keys, warmup=False) as live:
            client = openai.OpenAI(base_url=f"{live.url}/v1", api_key=ONE, max_retries=0)
            for _ in range(2):
                client.audio.speech.create(model="tts-1", voice="alice", input="Hello.")
                client.models.list()
            with pytest.raises(openai.RateLimitError) as refused:
                client.audio.speech.create(model="tts-1", voice="alice", input="Hello.")
            assert refused.value.code == "rate_limit_exceeded"
            assert 50 <= int(refused.value.response.headers["retry-after"]) <= 60
            client.models.list()
            assert speak(live, TWO).status == 200
            metrics = live.ask("/metrics", headers=bearer(ONE)).body
            assert b'higgs_rejected_total{reason="rate_limit"} 1.0' in metrics
            client.close()

    def test_sound_is_counted_as_it_is_made(self):
        told = {"api_keys": (ONE, f"{TWO} audio_seconds_per_day=0"), "warmup": False}
        with FakeHiggs() as higgs, serving(higgs, key_audio_seconds_per_day=1, **told) as live:
            assert speak(live, ONE, input="Ten chars.", speed=2).status == 200  # 0.4 s
            assert speak(live, ONE).status == 200  # 0.96 s
            refused = speak(live, ONE)
            assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
            assert int(refused.headers["retry-after"]) >= 1
            assert speak(live, TWO).status == 200
            batch = live.ask("/generate/batch", [{"text": "Hi."}], headers=bearer(ONE)).json
            assert batch["failed"] == 1 and "seconds of sound a day" in batch["results"][0]["error"]

    def test_what_waits_counts_as_well(self):
        with Slow() as higgs:
            told = {"api_keys": (ONE, TWO), "warmup": False, "max_running": 1, "key_concurrent": 2}
            with serving(higgs, **told) as live, ThreadPoolExecutor(3) as threads:
                first = [threads.submit(speak, live, ONE) for _ in range(2)]
                until(lambda: (live.service.desk.running, live.service.desk.waiting) == (1, 1))
                assert speak(live, ONE).status == 429
                other = threads.submit(speak, live, TWO)
                until(lambda: live.service.desk.waiting == 2)
                higgs.go.release(100_000)
                assert {one.result().status for one in [*first, other]} == {200}
                assert speak(live, ONE).status == 200

    def test_keys_take_turns(self):
        order: list[str] = []

        class Noted(Slow):
            def pieces(self, text: str, *rest: Any, **more: Any) -> Any:
                order.append(text)
                return super().pieces(text, *rest, **more)

        with Noted() as higgs:
            told = {"api_keys": (ONE, TWO), "warmup": False, "max_running": 1}
            with serving(higgs, **told) as live, ThreadPoolExecutor(8) as threads:
                desk = live.service.desk
                for i, key in enumerate((ONE, ONE, ONE, TWO, TWO)):
                    threads.submit(speak, live, key, input=f"{i} {'first' if key == ONE else 'b'}")
                    until(lambda i=i: desk.running + desk.waiting == i + 1)
                higgs.go.release(100_000)
                until(lambda: desk.idle)
        assert order == ["0 first", "3 b", "1 first", "4 b", "2 first"]

    def test_a_place_is_not_lost_with_who_goes_away(self):
        """Those who wait leave while places become free."""
        with FakeHiggs() as higgs, serving(higgs, max_running=2, max_queue=50) as live:
            desk = live.service.desk
            stop = threading.Event()

            def leave() -> None:
                client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
                while not stop.is_set():
                    with client.audio.speech.with_streaming_response.create(
                        model="tts-1", voice="alice", input="Hello there, all of you."
                    ):
                        continue  # its body is not read
                client.close()

            threads = [threading.Thread(target=leave) for _ in range(6)]
            for one in threads:
                one.start()
            stop.wait(1.0)
            stop.set()
            for one in threads:
                one.join()
            until(lambda: desk.idle)
            assert desk._free == 2 and not desk._held

    def test_jobs_are_paid_by_who_asked_for_them(self, tmp_path):
        keys = (f"{ONE} audio_seconds_per_day=1", TWO)
        told = {"api_keys": keys, "jobs_dir": str(tmp_path), "warmup": False}
        body = {"input": "This text is longer than a second."}
        with FakeHiggs() as higgs, serving(higgs, **told) as live:
            job = live.ask("/v1/jobs", body, headers=bearer(ONE))
            assert job.status == 202, job.body
            place = f"/v1/jobs/{job.json['id']}"
            until(lambda: live.ask(place, headers=bearer(ONE)).json["status"] == "done")
            assert live.ask("/v1/jobs", body, headers=bearer(ONE)).status == 429
            assert speak(live, ONE).status == 429
            assert live.ask("/v1/jobs", body, headers=bearer(TWO)).status == 202
