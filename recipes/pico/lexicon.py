"""Step 0: how English words sound, asked of flite once and packed for the package. Knows nothing of sound or models.

    python recipes/pico/lexicon.py --out src/faster_higgs/pico/lexicon.bin      build (about five minutes)
    python recipes/pico/lexicon.py --check                                      compare with flite on whole sentences

Words come from Debian's `wamerican` (SCOWL) and `wordnet-base`; what is shipped is flite's answer to them, written down
by us. Words and phones are aligned by expectation and maximisation, one decision tree is grown for each letter, and
every word that the trees misread becomes an exception. A twentieth of the words, chosen by hash, is held out of a
first set of trees to measure how well words are read that nobody listed; the shipped trees are grown from all.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
from faster_higgs.text import lexicon as lx
from faster_higgs.text.languages.en import WORDLIKE_ACRONYMS
from faster_higgs.text.pronounce import LETTER_NAMES, Pronouncer

WORDNET = Path("/usr/share/wordnet")
WORDS = Path("/usr/share/dict/american-english")
PARTS = ("noun", "verb", "adj", "adv")
OUT = Path(__file__).parents[2] / "src/faster_higgs/pico/lexicon.bin"
SMALLEST, GAIN, DEEPEST = (
    3,
    1.0,
    120,
)  # a tree node splits at least so many letters and saves so many bits
ODDEST = (
    3.2  # nats per letter: an alignment worse than this teaches the trees nothing (Dr, kg, IBM)
)

# Names and new words that the two lists lack; how they sound is asked like all others.
MORE = [
    "aaliyah",
    "aiden",
    "alejandro",
    "alexa",
    "alibaba",
    "amazon",
    "android",
    "anthropic",
    "app",
    "apps",
    "aria",
    "asher",
    "astrazeneca",
    "ava",
    "ayden",
    "beyonce",
    "bitcoin",
    "blog",
    "blogger",
    "blogging",
    "bluetooth",
    "brayden",
    "brexit",
    "brooklyn",
    "caden",
    "camila",
    "carlos",
    "carter",
    "charlotte",
    "chatbot",
    "chatgpt",
    "chloe",
    "clickbait",
    "cryptocurrency",
    "covid",
    "coronavirus",
    "crowdfunding",
    "cybersecurity",
    "dataset",
    "datasets",
    "deepfake",
    "diego",
    "dropbox",
    "eduardo",
    "ella",
    "emma",
    "ethan",
    "evelyn",
    "facebook",
    "fernando",
    "fintech",
    "firefox",
    "fitbit",
    "freemium",
    "gamer",
    "genomics",
    "gavin",
    "giuseppe",
    "github",
    "gmail",
    "google",
    "googled",
    "googling",
    "harper",
    "hashtag",
    "hashtags",
    "hiroshi",
    "hotspot",
    "hyperlink",
    "ibrahim",
    "instagram",
    "internet",
    "ipad",
    "iphone",
    "isabella",
    "jackson",
    "jayden",
    "jenna",
    "jorge",
    "kaiden",
    "kaitlyn",
    "kayla",
    "kubernetes",
    "kumar",
    "landon",
    "layla",
    "liam",
    "linkedin",
    "linux",
    "lockdown",
    "logan",
    "luca",
    "lucia",
    "luis",
    "mackenzie",
    "malware",
    "mason",
    "mateo",
    "mia",
    "microservice",
    "miguel",
    "mila",
    "mohammed",
    "motorola",
    "multimodal",
    "muhammad",
    "naomi",
    "nathan",
    "netflix",
    "noah",
    "nguyen",
    "nolan",
    "nvidia",
    "obama",
    "offline",
    "olivia",
    "online",
    "opensource",
    "paolo",
    "paypal",
    "paywall",
    "pedro",
    "podcast",
    "podcasts",
    "priya",
    "putin",
    "pytorch",
    "python",
    "rajesh",
    "ransomware",
    "raspberry",
    "reddit",
    "robotics",
    "ryan",
    "samsung",
    "santiago",
    "satya",
    "savannah",
    "selfie",
    "selfies",
    "severus",
    "siri",
    "skype",
    "smartphone",
    "smartphones",
    "smartwatch",
    "snapchat",
    "sofia",
    "spotify",
    "spyware",
    "startup",
    "startups",
    "streaming",
    "sudoku",
    "sundar",
    "taliban",
    "tesla",
    "tiktok",
    "timestamp",
    "tokenizer",
    "touchscreen",
    "trump",
    "tweet",
    "tweeted",
    "tweets",
    "uber",
    "ubuntu",
    "unfollow",
    "unfriend",
    "upload",
    "uploaded",
    "username",
    "vegan",
    "vietnam",
    "vimeo",
    "vlog",
    "voicemail",
    "waymo",
    "webcam",
    "webinar",
    "website",
    "websites",
    "whatsapp",
    "wifi",
    "wiki",
    "wikipedia",
    "wireless",
    "wyatt",
    "xavier",
    "xiaomi",
    "yahoo",
    "yoga",
    "youtube",
    "youtuber",
    "yusuf",
    "zelensky",
    "zoe",
    "zoom",
]

# Where flite's answer is plainly wrong, or too rare a word to be meant.
MENDED = {
    "hmm": "hh m", "mm": "m", "shh": "sh", "brr": "b er", "live": "l ih v", "lives": "l ih v z", "lead": "l iy d",
    "read": "r eh d", "object": "aa b jh eh k t", "upset": "ah p s eh t", "email": "iy m ey l", "i'm": "ay m",
    "haven't": "hh ae v ax n t", "mr": "m ih s t er", "mrs": "m ih s ax z", "ms": "m ih z", "dr": "d aa k t er",
}  # fmt: skip
# Words of two sounds: the second, and where it is said (the keys are those of USES in pronounce.py).
HOMOGRAPHS_BY_HAND = {
    ("live", "noun"): "l ay v", ("lives", "noun"): "l ay v z", ("object", "verb"): "ax b jh eh k t",
    ("read", "infinitive"): "r iy d", ("read", "first"): "r iy d", ("close", "first"): "k l ow z",
    ("use", "first"): "y uw z",
}  # fmt: skip


def known_words(words: Path = WORDS, wordnet: Path = WORDNET) -> tuple[set[str], set[str]]:
    """All words in lower case, and those among them that are not only acronyms."""
    written = set(words.read_text().split())
    for part in PARTS:
        for line in (wordnet / f"data.{part}").read_text().splitlines():
            if not line.startswith(" "):
                fields = line.split("|")[0].split()
                written.update(
                    re.sub(r"\(.*", "", word) for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                )
    written |= set(MORE)
    pieces = {
        piece.strip("'") for word in written for piece in re.split(r"[_\-/ ]", unaccented(word))
    }
    pieces = {
        piece
        for piece in pieces
        if re.fullmatch(r"[a-zA-Z]+('[a-zA-Z]+)*", piece) and len(piece) <= 32
    }
    plain = {piece.lower() for piece in pieces if not (len(piece) > 1 and piece.isupper())}
    return {piece.lower() for piece in pieces}, plain | {word.lower() for word in WORDLIKE_ACRONYMS}


def unaccented(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))


def flite(texts: list[str]) -> list[list[str]]:
    """The phones of each text; texts that flite would cut in two are asked alone."""
    command = ["flite", "-voice", "kal16", "-ps", "-f", "/dev/stdin", "-o", "none"]
    answers: list[list[str]] = []
    for begin in range(0, len(texts), 500):
        batch = texts[begin : begin + 500]
        lines = run(command, batch)
        if len(lines) != len(batch):
            lines = [" ".join(run(command, [text])) for text in batch]
        answers += [[phone for phone in line.split() if phone != "pau"] for line in lines]
    return answers


def run(command: list[str], texts: list[str]) -> list[str]:
    given = "".join(f"{text}\n\n" for text in texts)
    return subprocess.run(
        command, input=given, check=True, capture_output=True, text=True
    ).stdout.splitlines()


def ask(words: list[str]) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """How flite says each word, and how it says those that sound different after "to"."""
    sounds = {word: encode(phones) for word, phones in zip(words, flite(words), strict=True)}
    sounds |= {word: lx.code(names) for word, names in MENDED.items()}
    sounds = {word: codes for word, codes in sounds.items() if codes}
    tried = [
        word
        for word in words
        if "'" not in word and 3 < len(word) < 14 and word not in ("email", "shit")
    ]
    to, my = encode(["t", "ax"]), encode(["m", "ay"])
    as_verb = {
        word: encode(p)[len(to) :]
        for word, p in zip(tried, flite([f"to {w}" for w in tried]), strict=True)
    }
    odd = [word for word in tried if as_verb[word] != sounds[word] and word not in MENDED]
    as_noun = {
        word: encode(p)[len(my) :]
        for word, p in zip(odd, flite([f"my {w}" for w in odd]), strict=True)
    }
    homographs = {(word, "verb"): as_verb[word] for word in odd if as_noun[word] != as_verb[word]}
    sounds |= {word: as_verb[word] for word in odd if as_noun[word] == as_verb[word]}
    return sounds, homographs | {key: lx.code(names) for key, names in HOMOGRAPHS_BY_HAND.items()}


def encode(phones: list[str]) -> str:
    return lx.code(" ".join(phones))


# --- letters and sounds ---------------------------------------------------------------------------------------------

LIKELY = """a=aa ae ah ao ax ay eh ey ih iy er|b=b|c=k s ch sh|d=d jh t|e=eh iy ax ih er ey y uw|f=f v|g=g jh zh|h=hh
i=ih ay iy ax y er|j=jh y hh zh|k=k|l=l ax|m=m|n=n ng|o=aa ow ah ax ao uw uh aw er w|p=p f|q=k y uw|r=r er ax
s=s z sh zh|t=t ch sh th dh|u=ah uw uh ax y w er ih|v=v f|w=w v uw|x=k s g z eh|y=iy ay ih y ax|z=z s t zh""".replace(
    "\n", "|"
)
Costs = dict[str, dict[str, float]]


def first_costs() -> Costs:
    """What a letter may sound like, before anything is counted."""
    likely = {row[0]: set(lx.code(row[2:])) for row in LIKELY.split("|")}
    single = {c: {s: 1.0 if s in likely[c] else 6.0 for s in lx.CODES} | {"": 2.5} for c in likely}
    return {
        c: costs | {a + b: 2.0 + costs[a] + costs[b] for a in lx.CODES for b in lx.CODES}
        for c, costs in single.items()
    }


def align(word: str, sounds: str, costs: Costs) -> tuple[list[str], float]:
    """The cheapest way to give each letter none, one or two of the sounds, and its cost per letter."""
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
    answers = [
        piece for piece, n in sorted(seen.items(), key=lambda item: (-item[1], item[0])) if n >= 3
    ]
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
    equal = (
        np.bincount(cell.ravel(), minlength=width * values * len(classes))
        .reshape(-1, len(classes))
        .astype(float)
    )
    saved = entropy(count) - entropy(equal) - entropy(count - equal)
    best = int(saved.argmax())
    if saved[best] < GAIN:
        return answer
    question, value = divmod(best, values)
    yes = asked[:, question] == value
    left, right = grow(asked[yes], told[yes], depth + 1), grow(asked[~yes], told[~yes], depth + 1)
    return left if left == right and len(left) == 1 else bytes([question, value]) + left + right


# --- the file -------------------------------------------------------------------------------------------------------


def sections(answers: list[str], trees: dict[str, bytes]) -> dict[str, bytes]:
    """A lexicon that knows no word, only how to read."""
    ends = np.cumsum([len(trees[c]) for c in lx.ALPHABET[1:]])
    body = struct.pack("<26I", *map(int, ends)) + b"".join(trees[c] for c in lx.ALPHABET[1:])
    empty = dict.fromkeys(lx.SECTIONS, b"")
    return empty | {"answers": "\n".join(answers).encode(), "trees": body}


def readable(sounds: dict[str, str]) -> dict[str, str]:
    """The words that are read, not spelled; in two letters at least."""
    spelled = {word: "".join(LETTER_NAMES.get(c, "") for c in word) for word in sounds}
    return {
        w: s
        for w, s in sounds.items()
        if "'" not in w and len(w) > 1 and s != spelled[w] and w not in MENDED
    }


def build(out: Path) -> None:
    """Ask, align, grow, list the exceptions, write."""
    every, plain = known_words()
    sounds, homographs = ask(sorted(every))
    read = readable(sounds)
    aligned = align_all(read)
    measure(read, aligned)
    parts = sections(*grow_all(aligned))
    parts["known"] = lx.squeeze(
        sorted(w for w in plain if w in read and len(w) <= lx.LONGEST_KNOWN)
    )
    parts["homographs"] = lx.squeeze(
        [f"{word}\t{use}\t{s}" for (word, use), s in sorted(homographs.items())]
    )
    exceptions: dict[str, str] = {}
    for has_ending in (
        False,
        True,
    ):  # John's is made from John, so the exceptions without an apostrophe come first
        speaker = Pronouncer(lx.Lexicon(parts))
        words = [word for word in sounds if ("'" in word) == has_ending]
        exceptions |= {word: sounds[word] for word in words if speaker.word(word) != sounds[word]}
        parts["exceptions"] = lx.squeeze([f"{word}\t{s}" for word, s in sorted(exceptions.items())])
    out.write_bytes(lx.pack(parts))
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    print(
        f"{len(sounds):,} words, {len(exceptions):,} exceptions; {sizes}; {out.stat().st_size:,} bytes packed"
    )


def measure(sounds: dict[str, str], aligned: dict[str, list[str]]) -> None:
    """Words and phones right when a twentieth of the words is held out."""
    held = {word for word in sounds if zlib.crc32(b"held" + word.encode()) % 20 == 0}
    reader = lx.Lexicon(sections(*grow_all({w: a for w, a in aligned.items() if w not in held})))
    guesses = {word: reader.read(word) for word in sorted(held)}
    right = sum(guesses[word] == sounds[word] for word in held)
    wrong = sum(distance(guesses[word], sounds[word]) for word in held)
    total = sum(len(sounds[word]) for word in held)
    print(
        f"held out: {len(held):,} words, {right / len(held):.1%} right; phones wrong {wrong / total:.1%}"
    )


def distance(a: str, b: str) -> int:
    """Insertions, deletions and substitutions between two strings of codes."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(corner + (x != y), row[j - 1] + 1, row[j] + 1)
    return row[-1]


def check(count: int = 500) -> None:
    """Phone error rate against flite on whole example sentences of WordNet, with the commonest differences."""
    pool = set()
    for part in PARTS:
        for quoted in re.findall(r'"([^"\n]+)"', (WORDNET / f"data.{part}").read_text()):
            if re.fullmatch(r"[A-Za-z' ,;?!.-]+", quoted) and 4 <= len(quoted.split()) <= 20:
                pool.add(quoted.strip())
    texts = random.Random(7).sample(sorted(pool), count)
    speaker, wrong, total, pairs = Pronouncer.load(), 0, 0, Counter()
    for text, phones in zip(texts, flite(texts), strict=True):
        theirs, ours = encode(phones), "".join(speaker.codes(text))
        edits = distance(ours, theirs)
        wrong, total = wrong + edits, total + len(theirs)
        if edits:
            pairs[f"{edits}: {text} | {lx.letters(ours)} | {lx.letters(theirs)}"] += edits
    for line, _ in pairs.most_common(25):
        print(line)
    print(f"{count} sentences, {total} phones, {wrong / total:.2%} differ from flite")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--check", action="store_true", help="compare the packaged lexicon with flite"
    )
    args = parser.parse_args()
    check() if args.check else build(args.out)


if __name__ == "__main__":
    main()
