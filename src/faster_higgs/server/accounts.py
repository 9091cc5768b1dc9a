"""Who asks, by their key, and how much each may: requests a minute, sound a day, speeches at once.

What was used is counted in memory, and counted anew after a start. Knows no clients.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar

from faster_higgs.server.errors import Refusal
from faster_higgs.server.settings import Limits, key_and_limits

MINUTE, DAY = 60.0, 86_400.0


class Account:
    """What one key has used. What it has no right to is refused with 429."""

    def __init__(
        self,
        limits: Limits = Limits(),
        *,
        admin: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.limits, self.admin, self._now = limits, admin, now
        self._asked: deque[float] = deque()  # when, in the last minute
        self._day, self._heard = 0.0, 0.0
        self._speeches = 0
        self.turn = 0  # when the desk gave it its latest place; it counts turns
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Count a request. Raises Refusal."""
        most = self.limits.requests_per_minute
        if not most:
            return
        now = self._now()
        while self._asked and self._asked[0] <= now - MINUTE:
            self._asked.popleft()
        if len(self._asked) >= most:
            wait = self._asked[0] + MINUTE - now if self._asked else MINUTE
            raise _too_much(f"{most:g} requests a minute", wait)
        self._asked.append(now)

    def begin(self) -> None:
        """Count a speech, until `end`. Raises Refusal."""
        with self._lock:
            seconds, most = self.limits.audio_seconds_per_day, self.limits.concurrent
            if seconds and self._today() >= seconds:
                wait = DAY - self._now() % DAY
                raise _too_much(f"{seconds:g} seconds of sound a day", wait)
            if most and self._speeches >= most:
                raise _too_much(f"{most:g} speeches at once", 1.0)
            self._speeches += 1

    def end(self) -> None:
        """A speech is over."""
        with self._lock:
            self._speeches -= 1

    def heard(self, seconds: float) -> None:
        """So much more sound was made."""
        with self._lock:
            self._heard = self._today() + seconds

    def _today(self) -> float:
        day = self._now() // DAY
        if day != self._day:
            self._day, self._heard = day, 0.0
        return self._heard


asking: ContextVar[Account | None] = ContextVar("asking", default=None)


def asker() -> Account:
    """Whose request is being answered; nobody's is without limits."""
    return asking.get() or Account()


class Accounts:
    """All keys there are. They are kept as digests, and all of them are compared each time."""

    def __init__(self, keys: Iterable[str], admin_keys: Iterable[str], each: Limits) -> None:
        told = [key_and_limits(line, each) for line in keys]
        self._known = [(_digest(key), Account(limits)) for key, limits in told]
        self._known += [(_digest(key), Account(admin=True)) for key in admin_keys]
        self._everyone = None if told else Account(each)

    def of(self, key: str | None) -> Account | None:
        """Whose key it is; where no key is needed, everyone has the same account without one."""
        digest = _digest(key or "")
        found = [one for own, one in self._known if hmac.compare_digest(digest, own)]
        return found[0] if found else self._everyone


def _too_much(limit: str, wait: float) -> Refusal:
    return Refusal(
        429, f"This key may ask for {limit}; try again later.", "rate_limit_exceeded", None, wait
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
