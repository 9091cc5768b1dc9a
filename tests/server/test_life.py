"""Weights that come and go, an operator's orders, and an end that loses nothing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from faster_higgs.errors import SettingError
from faster_higgs.server.errors import Refusal
from faster_higgs.server.keeper import Keeper
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs, tiny_checkpoint
from tests.server.conftest import Live, Reply, Slow, Witness, serving, until

ADMIN, KEY = "admin-key-1", "first-key-1"


class Leaving(FakeHiggs):
    """Counts how often its weights went and came."""

    def __init__(self) -> None:
        super().__init__()
        self.went = self.came = 0
        self.there = True

    def pieces(self, *asked: Any, **more: Any) -> Any:
        assert self.there, "it speaks without its weights"
        return super().pieces(*asked, **more)

    def unload(self) -> None:
        self.went, self.there = self.went + 1, False

    def revive(self, fresh: Higgs) -> None:
        self.came, self.there = self.came + 1, True


def order(live: Live, what: str, key: str = ADMIN, method: str = "POST") -> Reply:
    return live.ask(f"/v1/admin/{what}", method=method, headers={"Authorization": f"Bearer {key}"})


class TestIdle:
    def test_weights_go_when_nobody_speaks_and_come_back_with_the_next(self):
        higgs = Leaving()
        with higgs, serving(higgs, load=lambda: higgs, idle_unload_s=0.2, warmup=False) as live:
            assert live.speak().status == 200 and live.ask("/health").json["model_loaded"]
            until(lambda: higgs.went == 1)
            told = live.ask("/health/ready")
            assert (told.status, told.json["model_loaded"]) == (200, False)
            assert b"higgs_model_loaded 0.0" in live.ask("/metrics").body
            assert live.ask("/v1/audio/voices").status == 200
            with ThreadPoolExecutor(4) as threads:
                found = list(threads.map(lambda _: live.speak().status, range(4)))
            assert found == [200] * 4 and higgs.came == 1
            assert live.ask("/health/ready").json["model_loaded"]

    def test_a_job_calls_them_back(self, tmp_path):
        higgs = Leaving()
        told = {"jobs_dir": str(tmp_path), "warmup": False}
        with higgs, serving(higgs, load=lambda: higgs, **told) as live:
            live.service.keeper.unload()
            place = f"/v1/jobs/{live.ask('/v1/jobs', {'input': 'Hello there.'}).json['id']}"
            until(lambda: live.ask(place).json["status"] in ("done", "failed"))
            assert live.ask(place).json["status"] == "done" and higgs.came == 1

    def test_they_stay_while_somebody_speaks(self):
        class Both(Leaving, Slow):
            pass

        higgs = Both()
        told = {"idle_unload_s": 0.1, "warmup": False}
        with higgs, serving(higgs, load=lambda: higgs, **told) as live, ThreadPoolExecutor() as t:
            answer = t.submit(live.speak)
            until(lambda: higgs.begun == 1)
            time.sleep(0.4)
            assert higgs.went == 0
            higgs.go.release(100_000)
            assert answer.result().status == 200
            until(lambda: higgs.went == 1)

    def test_a_model_that_does_not_come_back_is_told_and_tried_again(self):
        higgs, broken = Leaving(), [True]

        def load() -> Higgs:
            if broken[0]:
                raise SettingError("There is no room in /a/secret/place.")
            return higgs

        with higgs, serving(higgs, load=load, warmup=False) as live:
            live.service.keeper.unload()
            reply = live.speak()
            assert (reply.status, reply.error["code"]) == (503, "engine_unavailable")
            assert "/a/secret" not in reply.error["message"]
            broken[0] = False
            assert live.speak().status == 200

    def test_a_real_model_gives_its_memory_back_and_speaks_the_same_again(self, tmp_path):
        folder = tiny_checkpoint(tmp_path / "model")
        told = {"response_format": "pcm", "voice": "alice", "seed": 7, "max_new_tokens": 40}

        def load() -> Higgs:
            return Higgs.load(folder, device="cpu")

        with load() as higgs, serving(higgs, load=load, warmup=False) as live:
            before = live.speak(**told).body
            steps = live.ask("/stats").json["engine"]["steps"]
            assert steps > 0
            live.service.keeper.unload()
            assert live.ask("/stats").json["engine"]["steps"] == 0
            assert live.ask("/v1/audio/voices").status == 200
            assert live.speak(**told).body == before
            assert live.service.higgs is higgs


class TestOrders:
    @pytest.fixture
    def higgs(self):
        with Leaving() as one:
            yield one

    @pytest.fixture
    def live(self, higgs):
        told = {"api_keys": (KEY,), "admin_keys": (ADMIN,), "warmup": False}
        with serving(higgs, load=lambda: higgs, **told) as server:
            yield server

    @pytest.mark.parametrize("what", ["load", "unload", "drain"])
    def test_without_an_admin_key_there_is_nothing(self, what):
        with FakeHiggs() as higgs, serving(higgs, warmup=False) as live:
            assert order(live, what).status == 404 == order(live, what, "").status

    @pytest.mark.parametrize("what", ["load", "unload", "drain"])
    def test_others_may_not(self, live, higgs, what):
        for key in (KEY, "", "admin-key-2"):
            reply = order(live, what, key)
            assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
        assert order(live, what, method="GET").status == 405
        assert higgs.went == 0 and not live.service.draining

    def test_an_admin_without_other_keys_there(self, higgs):
        with serving(higgs, admin_keys=(ADMIN,), warmup=False) as live:
            assert live.speak().status == 200
            assert order(live, "drain", "").status == 401
            assert order(live, "drain").status == 200

    def test_what_was_unloaded_by_name_stays_so_until_it_is_loaded(self, live, higgs):
        speak = {"Authorization": f"Bearer {KEY}"}
        assert order(live, "unload").json["model_loaded"] is False and higgs.went == 1
        reply = live.ask("/v1/audio/speech", {"input": "Hi."}, headers=speak)
        assert (reply.status, reply.error["code"]) == (503, "model_unloaded")
        assert int(reply.headers["retry-after"]) >= 1
        ready = live.ask("/health/ready", headers=speak)
        assert (ready.status, ready.json["status"]) == (503, "unloaded")
        assert order(live, "load").json["model_loaded"] and higgs.came == 1
        assert live.ask("/v1/audio/speech", {"input": "Hi."}, headers=speak).status == 200

    def test_nothing_new_is_taken_while_it_drains(self, live):
        speak = {"Authorization": f"Bearer {KEY}"}
        assert order(live, "drain").json["draining"]
        reply = live.ask("/v1/audio/speech", {"input": "Hi."}, headers=speak)
        assert (reply.status, reply.error["code"]) == (503, "draining")
        assert int(reply.headers["retry-after"]) >= 1
        assert live.ask("/health/ready", headers=speak).json["status"] == "draining"
        assert live.ask("/v1/models", headers=speak).status == 200
        order(live, "load")
        assert live.ask("/v1/audio/speech", {"input": "Hi."}, headers=speak).status == 200

    def test_weights_in_use_stay(self):
        class Both(Leaving, Slow):
            pass

        higgs = Both()
        told = {"admin_keys": (ADMIN,), "warmup": False}
        with higgs, serving(higgs, load=lambda: higgs, **told) as live, ThreadPoolExecutor() as t:
            answer = t.submit(live.speak)
            until(lambda: higgs.begun == 1)
            reply = order(live, "unload")
            assert (reply.status, reply.error["code"]) == (409, "model_in_use")
            higgs.go.release(100_000)
            assert answer.result().status == 200

    def test_a_model_that_was_handed_over_cannot_go(self):
        with FakeHiggs() as higgs:
            with pytest.raises(Refusal, match="not_loadable"):
                Keeper(higgs).unload()
            Keeper(higgs).unload_if_idle(0)


class TestBeginning:
    def test_the_process_settles_before_anybody_is_answered_and_when_it_has_spoken(self):
        """The first time may take long."""
        told = list[int]()
        with Witness() as higgs, serving(higgs, settle=lambda: told.append(len(higgs.prompts))):
            pass
        assert told == [0, 1]
