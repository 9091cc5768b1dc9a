"""What is in a corpus, without opening a sound. Knows no format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from faster_higgs.data.choose import REASONS
from faster_higgs.data.plan import PrepareSettings
from faster_higgs.data.record import BadRow, Recording
from faster_higgs.text.language import guess
from faster_higgs.text.normalize import speakable

_SHOWN = 10  # speakers


def survey(found: Iterable[Recording | BadRow], settings: PrepareSettings) -> Iterator[str]:
    """Lines for people: counts, and what the settings will do with them."""
    speakers, languages, texts = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    bad, empty = Counter[str](), 0
    for one in found:
        if isinstance(one, BadRow):
            bad[one.kind if one.no_fault else "bad_row"] += 1
            continue
        language = one.language or guess(one.text)
        text = speakable(one.text, language)
        empty += not text
        speakers[one.speaker] += 1
        languages[language] += 1
        texts[one.speaker, text.casefold()] += 1
    total = speakers.total()
    yield f"{total + bad.total()} recordings of {len(speakers)} speakers; no sound was opened."
    for kind, count in bad.items():
        yield from _counted(count, f"left out: {REASONS[kind]} ({kind})")
    yield from _counted(empty, "texts in which nothing can be spoken")
    yield from _counted(total - len(texts), "texts that the same speaker says again")
    for language, count in languages.most_common():
        yield f"  {count:>8}  in {language}"
    for speaker, count in speakers.most_common(_SHOWN):
        yield f"  {count:>8}  of {speaker}"
    yield from _counted(len(speakers) - _SHOWN, "more speakers")
    split, cap = settings.split, settings.choose.max_samples_per_speaker
    if cap is not None:
        left = sum(min(cap, count) for count in speakers.values())
        yield f"At most {cap} of each speaker: {left} recordings."
    yield (
        f"Split by {split.by}, seed {split.seed}: {split.validation:.0%} for validation, "
        f"{split.test:.0%} for testing."
    )


def _counted(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield f"  {count:>8}  {what}"
