"""`higgs memory --table`: which card is enough for what. Knows nothing of flags."""

from __future__ import annotations

from typing import Any

CARDS = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 80, 96, 141, 192)  # GiB
AGAIN, EIGHT = {"checkpointing": True}, {"optimizer": "adamw8bit"}
USABLE = 0.97  # the rest of a card shows the desktop, or is the driver's
ROWS: tuple[tuple[str, str, tuple[int, ...], dict[str, Any]], ...] = (
    ("voice, base of 4 bits, checkpointing", "voice", (2048,), {"base": "int4", **AGAIN}),
    ("voice, base of 4 bits", "voice", (2048,), {"base": "int4"}),
    ("voice, checkpointing", "voice", (2048, 8192), AGAIN),
    ("voice", "voice", (1024, 2048, 4096), {}),
    ("language, checkpointing", "language", (2048,), AGAIN),
    ("language", "language", (2048,), {}),
    ("audio_only, 8-bit, checkpointing", "audio_only", (2048,), {**EIGHT, **AGAIN}),
    ("audio_path, 8-bit, checkpointing", "audio_path", (2048,), {**EIGHT, **AGAIN}),
    ("full, 8-bit, checkpointing", "full", (2048,), {**EIGHT, **AGAIN}),
    ("full, checkpointing", "full", (2048,), AGAIN),
    ("full, checkpointing, each of 2 cards", "full", (2048,), {"gpus": 2, **AGAIN}),
    ("full, checkpointing, each of 8 cards", "full", (2048,), {"gpus": 8, **AGAIN}),
    ("full, 8-bit, checkpointing, each of 2 cards", "full", (2048,), {"gpus": 2, **EIGHT, **AGAIN}),
)


def table() -> list[str]:
    """Which card is enough for what, as markdown: the full model, 60 % of the positions sound."""
    from faster_higgs.checkpoint.plan import PUBLISHED
    from faster_higgs.train.job import Job, presets
    from faster_higgs.train.memory import estimate

    lines = ["| what | positions of a batch | needs, GiB | card |", "|---|---|---|---|"]
    for name, preset, sizes, more in ROWS:
        for positions in sizes:
            job = Job(**presets()[preset], **more, positions=positions)
            size = estimate(PUBLISHED.model, job).total / 2**30
            card = next((f"{card} GB" for card in CARDS if size <= card * USABLE), "none")
            lines.append(f"| {name} | {positions:,} | {size:.1f} | {card} |")
    return lines
