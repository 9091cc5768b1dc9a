"""Where web and mail addresses stand in a text. Knows not how a language says them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from re import Match

from faster_higgs.text.rules import Rule, any_of, stage

LOCAL, LABEL = r"[\w.+-]{1,64}", r"[A-Za-z0-9_-]{1,63}"
REST = r"[^\s<>\"\ue000]"  # \ue000 is a tag that the normaliser holds back


def addresses(
    words: Callable[[str], Iterable[str]], domains: Collection[str], doubtful: Collection[str]
) -> tuple[Rule, ...]:
    """The stage that puts addresses into words, sign by sign; the scheme is not said.

    After a `doubtful` top domain there must be a path: it is also the end of a sentence, or a word.
    """

    def said(found: Match[str]) -> str:
        text = re.sub(r"^[a-zA-Z]{2,6}://", "", found.group())
        tail = re.search(r"[.,;:!?'\")\]/]*$", text)
        end = tail.group().strip("/") if tail else ""
        text = text[: tail.start()] if tail else text
        return " ".join(words(text)) + end

    certain = any_of(domain for domain in domains if domain not in doubtful)
    host = rf"(?<![\w.@-])(?:{LABEL}\.){{1,6}}"
    return stage(
        "addresses",
        (rf"(?<![\w.+-]){LOCAL}@{LABEL}(?:\.{LABEL}){{1,6}}(?![\w@])", said),
        (rf"(?<!\w)(?:https?|ftp)://{REST}{{1,2000}}", said),
        (rf"(?<![\w.@])www\.[A-Za-z0-9-]{{1,63}}\.{REST}{{1,2000}}", said),
        (rf"{host}(?:{certain})\b(?!\.?[\w@])(?:/{REST}{{0,2000}})?", said),
        (rf"{host}(?:{any_of(domains)})/{REST}{{1,2000}}", said),
    )
