"""The latest speeches as voices that could be kept: "save this take as a voice".

Knows nothing of HTTP.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from faster_higgs.errors import VoiceError
from faster_higgs.prompt.voices import Voice
from faster_higgs.server.errors import bad
from faster_higgs.spoken import Piece, voice_of

KEPT_TAKES = 64


class Takes:
    """Codes and texts by take, in memory only; of one that is no voice, why."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Voice | str] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, id: str, ends: Sequence[Piece]) -> bool:
        """Whether a voice can be made of a speech, told by the last pieces of its utterances."""
        found: Voice | str
        try:
            found = voice_of("take", ends)
        except VoiceError as error:
            found = str(error)
        with self._lock:
            self._kept[id] = found
            while len(self._kept) > KEPT_TAKES:
                self._kept.popitem(last=False)
        return not isinstance(found, str)

    def voice(self, id: str) -> Voice:
        """Raises Refusal."""
        with self._lock:
            found = self._kept.get(id)
        if found is None:
            raise bad(
                f"There is no take '{id[:100]}'; the last {KEPT_TAKES} are kept until the server "
                "stops.",
                "take",
                "take_not_found",
            )
        if isinstance(found, str):
            raise bad(f"The take cannot be a voice: {found}", "take", "invalid_take")
        return found
