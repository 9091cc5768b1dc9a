"""Letters to sounds: align words with their phones, grow a decision tree for each letter.

Expectation and maximisation over whole words give each letter none, one or two sounds; the trees
then ask for the letters around and the sound written last. Knows nothing of where words come from.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict

import numpy as np

from faster_higgs.text import lexicon as lx

SMALLEST, GAIN, DEEPEST = (
    3,
    1.0,
    120,
)  # a node has so many letters, saves so many bits, lies so deep
RAREST = 3  # an answer given less often is left to the exceptions
ODDEST = 3.2  # nats per letter; an alignment worse than this teaches nothing (Dr, kg, IBM)

LIKELY = """
    a=aa ae ah ao ax ay eh ey ih iy er|b=b|c=k s ch sh|d=d jh t|e=eh iy ax ih er ey y uw|f=f v
    g=g jh zh|h=hh|i=ih ay iy ax y er|j=jh y hh zh|k=k|l=l ax|m=m|n=n ng
    o=aa ow ah ax ao uw uh aw er w|p=p f|q=k y uw|r=r er ax|s=s z sh zh|t=t ch sh th dh
    u=ah uw uh ax y w er ih|v=v f|w=w v uw|x=k s g z eh|y=iy ay ih y ax|z=z s t zh
"""
Costs = dict[str, dict[str, float]]


def first_costs() -> Costs:
    """What a letter may sound like, before anything is counted."""
    rows = [row.strip() for row in LIKELY.strip().replace("\n", "|").split("|")]
    likely = {row[0]: set(lx.code(row[2:])) for row in rows}
    single = {c: {s: 1.0 if s in likely[c] else 6.0 for s in lx.CODES} | {"": 2.5} for c in likely}
    return {
        c: costs | {a + b: 2.0 + costs[a] + costs[b] for a in lx.CODES for b in lx.CODES}
        for c, costs in single.items()
    }


def align(word: str, sounds: str, costs: Costs) -> tuple[list[str], float]:
    """The cheapest way to give each letter none, one or two sounds, and its cost per letter."""
    n, m = len(word), len(sounds)
    best = [[math.inf] * (m + 1) for _ in range(n + 1)]
    taken = [[0] * (m + 1) for _ in range(n + 1)]
    best[0][0] = 0.0
    for i, letter in enumerate(word):
        cost, here, there = costs[letter], best[i], best[i + 1]
        for j in range(max(0, m - 2 * (n - i)), min(m, 2 * i) + 1):
            for k in range(min(3, m - j + 1)):
                total = here[j] + cost.get(sounds[j : j + k], 12.0)
                if total < there[j + k]:
                    there[j + k], taken[i + 1][j + k] = total, k
    pieces, j = [], m
    for i in range(n, 0, -1):
        pieces.append(sounds[j - taken[i][j] : j])
        j -= taken[i][j]
    return pieces[::-1], best[n][m] / n


def align_all(sounds: dict[str, str]) -> dict[str, list[str]]:
    """Alignments of all words that are read letter by letter at all."""
    costs, words = first_costs(), sorted(sounds)
    for round_ in range(4):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        some = [word for word in words if round_ == 3 or zlib.crc32(word.encode()) % 5 == round_]
        aligned = {word: align(word, sounds[word], costs) for word in some}
        for word, (pieces, _) in aligned.items():
            for letter, piece in zip(word, pieces, strict=True):
                counts[letter][piece] += 1
        costs = {
            c: {p: -math.log(n / seen.total()) for p, n in seen.items()}
            for c, seen in counts.items()
        }
    return {word: pieces for word, (pieces, cost) in aligned.items() if cost < ODDEST}


def questions(word: str, at: int, written: str) -> list[int]:
    padded = "    " + word + "    "
    asked = [lx.ALPHABET.index(padded[at + 4 + offset]) for offset in lx.OFFSETS]
    return [*asked, lx.CODES.index(written[-1]) + 1 if written else 0]


def grow_all(aligned: dict[str, list[str]]) -> tuple[list[str], dict[str, bytes]]:
    """The answers (sounds of one letter) and a tree for each letter, as bytes."""
    seen = Counter(piece for pieces in aligned.values() for piece in pieces)
    common = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    answers = [piece for piece, n in common if n >= RAREST]
    number = {piece: i for i, piece in enumerate(answers)}
    asked: dict[str, list[list[int]]] = defaultdict(list)
    told: dict[str, list[int]] = defaultdict(list)
    for word, pieces in sorted(aligned.items()):
        if not all(piece in number for piece in pieces):
            continue
        written = ""
        for at, piece in enumerate(pieces):
            asked[word[at]].append(questions(word, at, written))
            told[word[at]].append(number[piece])
            written += piece
    trees = {c: grow(np.array(asked[c]), np.array(told[c]), 0) for c in lx.ALPHABET[1:]}
    return answers, trees


def entropy(counts: np.ndarray) -> np.ndarray:
    """Bits to tell the classes apart: [.., C] -> [..]."""
    total = counts.sum(-1, keepdims=True)
    share = np.divide(counts, total, out=np.ones_like(counts), where=counts > 0)
    return -(counts * np.log2(share)).sum(-1)


def grow(asked: np.ndarray, told: np.ndarray, depth: int) -> bytes:
    """The question that saves most bits, then the same for both branches."""
    classes, y = np.unique(told, return_inverse=True)
    count = np.bincount(y).astype(float)
    answer = bytes([lx.LEAF + int(classes[count.argmax()])])
    if len(classes) == 1 or len(told) < SMALLEST or depth >= DEEPEST:
        return answer
    values, width = 64, asked.shape[1]
    cell = (asked + np.arange(width) * values) * len(classes) + y[:, None]
    equal = np.bincount(cell.ravel(), minlength=width * values * len(classes)).astype(float)
    equal = equal.reshape(-1, len(classes))  # [question and value, class]
    saved = entropy(count) - entropy(equal) - entropy(count - equal)
    best = int(saved.argmax())
    if saved[best] < GAIN:
        return answer
    question, value = divmod(best, values)
    yes = asked[:, question] == value
    left, right = grow(asked[yes], told[yes], depth + 1), grow(asked[~yes], told[~yes], depth + 1)
    return left if left == right and len(left) == 1 else bytes([question, value]) + left + right
