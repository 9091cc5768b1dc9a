"""The marks in a text that are not words: sound events, speakers and pauses. Knows nothing of what
they do to the sound.
"""

from __future__ import annotations

import re

SPEAKER = re.compile(r"\[(SPEAKER([0-9]{1,9}))\]")
SOUND = re.compile(r"<SE>[^<>]{1,80}</SE>|<SE_s>[^<>]{1,80}</SE_s>|<SE_e>[^<>]{1,80}</SE_e>")
PAUSE = r"\[pause: ?[0-9.]{1,13} ?m?s\]"
TAG = re.compile(rf"{SOUND.pattern}|\[SPEAKER[0-9]{{1,9}}\]|{PAUSE}")
