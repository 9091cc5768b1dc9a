"""Money, measures and plain numbers in English words. Knows nothing of dates."""

from __future__ import annotations

import re
from re import Match

from faster_higgs.text.languages.en import (
    AFTER_AN_AMOUNT,
    AMOUNTS,
    CURRENCIES,
    CURRENCY_CODES,
    CURRENCY_PREFIXES,
    FRACTIONS,
    MAGNITUDES,
    PER,
    SPOKEN_PAIRS,
    UNITS,
)
from faster_higgs.text.languages.en_labels import run
from faster_higgs.text.languages.en_numbers import cardinal, digits, number, ordinal
from faster_higgs.text.rules import A_DIGIT, any_of, stage

NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
START = r"(?<![\w])(?<![0-9][.,:/])(?<![0-9],)"
MINUS = r"(?P<minus>(?<![\w)])[-−](?=[0-9.$£€¥]))?"
NAMED_PARTS, VOWELS = (25, 32, 50, 64, 100, 1000), ("hour", "ounce", "ohm")
SIGN = "[" + "".join(CURRENCIES) + "]"
RANGE = rf"(?:[ ]?[-–][ ]?(?P<last>{NUMBER}))?"
MAGNITUDE = (
    r"(?:[ ]?(?P<amount>thousand|million|billion|trillion)\b"
    r"|(?P<short>k|K|mn|m|M|bn|b|B|tn|T)(?![\w]))?"
)


def _minus(found: Match[str]) -> str:
    return "minus " if found["minus"] else ""


def _span(first: str, last: str | None) -> str:
    """One number, or from one to another."""
    return number(first) + (f" to {number(last)}" if last else "")


def _money(found: Match[str]) -> str:
    """$5, -$5.50, US$3.5 million, $5-10, £2m."""
    one, many, cent, cents = CURRENCIES[found["sign"]]
    prefix = f"{CURRENCY_PREFIXES[found['prefix']]} " if found["prefix"] else ""
    amount = found["amount"] or AMOUNTS.get(found["short"] or "")
    first, last = found["first"], found["last"]
    many = one if _is_before_a_noun(found) else many
    if amount:
        return f"{_minus(found)}{_span(first, last)} {amount} {prefix}{many}"
    whole, _, part = first.replace(",", "").partition(".")
    if last or len(part) not in (0, 2) or (part and not cent):
        return f"{_minus(found)}{_span(first, last)} {prefix}{many}"
    pieces = (
        [f"{number(whole)} {prefix}{one if whole == '1' else many}"]
        if int_or_zero(whole) or not int_or_zero(part)
        else []
    )
    if int_or_zero(part):
        pieces.append(f"{cardinal(int(part))} {cent if int(part) == 1 else cents}")
    return _minus(found) + " and ".join(pieces)


def int_or_zero(text: str) -> int:
    return 1 if text.strip("0") else 0


def _money_after(found: Match[str]) -> str:
    """5 €, 5.50€, 5 USD: read as the sign before the number."""
    return f"{found['sign']}{found['number']}{found['amount'] or ''}"


def _coded(found: Match[str]) -> str:
    one, many = CURRENCY_CODES[found["code"]]
    words = number(found["number"]) + (f" {AMOUNTS[found['amount']]}" if found["amount"] else "")
    return f"{words} {one if words == 'one' else many}"


def _is_before_a_noun(found: Match[str]) -> bool:
    """Whether an amount stands like an adjective: a $5 bill, a 90° turn."""
    before = found.string[max(0, found.start() - 6) : found.start()]
    after = re.match(r"[ ]([a-z]{2,})", found.string[found.end() : found.end() + 20])
    return (
        bool(re.search(r"(?:^|\W)[Aa]n?[ ]$", before))
        and after is not None
        and (after[1] not in AFTER_AN_AMOUNT)
    )


def _measure(found: Match[str]) -> str:
    """5 km, -3.5 °C, 5-10%, 1 lb."""
    one, many = UNITS[found["unit"]]
    single = (
        (found["first"] == "1" and not found["last"])
        or found["joined"] == "-"  # a 10-km run
        or _is_before_a_noun(found)
    )
    return f"{_minus(found)}{_span(found['first'], found['last'])} {one if single else many}"


def _inches(found: Match[str]) -> str:
    """27" monitor, 5/8" bolt; but a quote that was opened before is closed."""
    text, at = found.string, found.start()
    opened = found.group() == '"' and text.count('"', text.rfind("\n", 0, at) + 1, at) % 2
    if opened:
        return found.group()
    noun = re.match(
        r"[ ](?!wide|long|tall|high|thick|deep|by|x|and|or|in|of)[a-z]", text[at + 1 :][:6]
    )
    return " inch" if noun else " inches"


def _inch(found: Match[str]) -> str:
    return f"{number(found['first'])} inch{'' if found['first'] == '1' else 'es'}"


def _degrees(found: Match[str]) -> str:
    """-20 C, 72F."""
    return f"{found['minus']}{found['number']}°{found['unit']}"


def _height(found: Match[str]) -> str:
    inches = f" {cardinal(int(found['inches']))}" if found["inches"] else ""
    return f"{cardinal(int(found['feet']))} f{'oo' if inches else 'ee'}t{inches}"


def _fraction(found: Match[str]) -> str:
    """1/2, 2 3/4, 1/100 km; 7/13 and the like as seven over thirteen."""
    top, bottom, whole = int(found["top"]), int(found["bottom"]), found["whole"]
    one, many = UNITS.get(found["unit"] or "", ("", ""))
    pair = SPOKEN_PAIRS.get(f"{top}/{bottom}")
    if pair and not whole:
        return f"{pair} {many}".strip()
    words = _share(top, bottom)
    if whole:
        words = (
            "a half" if words == "one half" else "a quarter" if words == "one quarter" else words
        )
        return f"{_minus(found)}{number(whole)} and {words} {many}".strip()
    article = "an" if one.startswith(VOWELS) else "a"
    return _minus(found) + words + (f" of {article} {one}" if one else "")


def _share(top: int, bottom: int) -> str:
    """Three quarters; parts that nobody names are said as they are written."""
    if bottom < 2 or (bottom > 20 and bottom not in NAMED_PARTS) or top >= bottom * 3:
        return f"{cardinal(top)} over {cardinal(bottom)}"
    one, many = FRACTIONS.get(bottom) or (ordinal(bottom), f"{ordinal(bottom)}s")
    return f"{cardinal(top)} {one if top == 1 else many}"


def _parts(found: Match[str]) -> str:
    """Versions and addresses: 3.2.1, 192.168.0.1."""
    between = " dot " if found.group().count(".") == 3 else " point "
    return between.join(number(part) for part in found.group().split("."))


def _mixed(found: Match[str]) -> str:
    """Letters and digits in one word: MP3, B2B, COVID19, 3D, x86."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", found.group())
    return " ".join(piece if piece.isalpha() else run(piece) for piece in pieces)


def _times(found: Match[str]) -> str:
    return f"{number(found['a'])} times"


def _ordinal(found: Match[str]) -> str:
    text = found["number"].replace(",", "")
    return ordinal(int(text)) if len(text) <= 30 else f"{digits(text)}th"


def _per(found: Match[str]) -> str:
    return f" per {PER[found['unit']]}"


def _plain_number(found: Match[str]) -> str:
    """A number, apart from a letter that touches it."""
    text, begin, end = found.string, found.start(), found.end()
    before = " " if begin and _joins(text[begin - 1]) else ""
    after = " " if _joins(text[end : end + 1]) else ""
    return f"{before}{_minus(found)}{number(found['number'])}{after}"


def _shortened(found: Match[str]) -> str:
    """10k, 1.5M, 12M users; a capital that counts nothing is a letter: a 7B model."""
    short, after = found["short"], found.string[found.end() : found.end() + 24]
    counts = re.match(r"[ ](?:people|(?!has\b|was\b)[a-z]{3,}s\b)", after)
    letter = short in "KMB" and "." not in found.group() and not found["last"] and not counts
    if letter or (short == "k" and re.match(r"[ ](?:run|race|walk)\b", after)):
        return f"{number(found['first'])} {short.upper()}"
    return f"{_span(found['first'], found['last'])} {MAGNITUDES[short]}"


def _joins(character: str) -> bool:
    return character.isalnum() or character == "_"


TWICE_THE_AMOUNT = (  # $1.2B-$1.5B, 50k-60k
    rf"(?<=[0-9])[ ]?(?P<amount>{any_of(AMOUNTS)})(?P<dash>[-–])"
    rf"(?={SIGN}?(?:{NUMBER})[ ]?(?P=amount)(?!\w))"
)
MONEY = stage(
    "money",
    (TWICE_THE_AMOUNT, r"\g<dash>"),
    (
        rf"{START}(?P<number>{NUMBER})[ ]?(?P<amount>thousand|million|billion)?[ ]?"
        r"(?P<sign>[€£¥₹₩₽₫₿])(?![0-9])",
        _money_after,
    ),
    (rf"(?<!\w)(?P<sign>{SIGN})[ ]?[-−](?=[0-9.])", r"-\g<sign>"),
    (
        rf"{MINUS}(?:(?<!\w)(?P<prefix>{any_of(CURRENCY_PREFIXES)}))?(?P<sign>{SIGN})[ ]?"
        rf"(?P<first>{NUMBER})(?:[-–]{SIGN}?(?P<last>{NUMBER}))?{MAGNITUDE}",
        _money,
    ),
    (
        rf"{START}(?P<number>{NUMBER})[ ]?(?P<amount>thousand|million|billion|[kKmMB]|bn)?[ ]?"
        rf"(?P<code>{any_of(CURRENCY_CODES)})\b",
        _coded,
    ),
    (
        rf"\b(?P<code>{any_of(CURRENCY_CODES)})[ ]?(?P<number>{NUMBER})"
        r"(?:[ ](?P<amount>million|billion)\b)?",
        _coded,
    ),
    (rf"{START}1[ ]?¢", "one cent"),
    (rf"{START}(?P<number>[0-9]+)[ ]?¢", lambda m: f"{number(m['number'])} cents"),
    needs=A_DIGIT,
)
TWICE_THE_UNIT = (  # 10%-20%, 5 kg - 10 kg, but not 100% - 20% = 80%
    rf"(?<=[0-9])[ ]?(?P<unit>{any_of(UNITS)})(?P<dash>[ ]?[-–][ ]?)"
    rf"(?=(?:{NUMBER})[ ]?(?P=unit)(?![\w²³/°]|[ ]?=))"
)
AMOUNT = rf"{MINUS}{START}(?P<first>{NUMBER}){RANGE}(?P<joined>[ -])?(?P<unit>{any_of(UNITS)})"
HEIGHT = rf"{START}(?P<feet>[0-9]{{1,2}})['′][ ]?(?:(?P<inches>[0-9]{{1,2}})(?:[\"″]|'')?)(?![\w'])"
MEASURES = (
    *stage(
        "measures",
        (HEIGHT, _height),
        (r"(?<=[0-9])[\"″]", _inches),
        (rf"{START}(?P<first>{NUMBER})(?:-(?=[0-9.]+in))?in(?![\w'-])", _inch),
        (rf"(?<=%)[ ]-[ ](?=(?:{NUMBER})%[ ]?=)", " minus "),
        (TWICE_THE_UNIT, r"\g<dash>"),
        (r"(?<=[0-9])[-–](?=[-−][0-9])", " to "),
        (r"(?P<minus>(?<![\w)])[-−])(?P<number>[0-9.]{1,6})[ ]?(?P<unit>[CF])(?![\w°])", _degrees),
        (rf"{START}(?P<minus>)(?P<number>[0-9]{{2,3}})(?P<unit>[CF])(?![\w°])", _degrees),
        (rf"{AMOUNT}(?![\w²³/°])", _measure),
        (rf"{AMOUNT}(?=/(?:{any_of(PER)})(?!\w))", _measure),
        needs=A_DIGIT,
    ),
    *stage("measures", (rf"(?<=[a-z])[ ]?/[ ]?(?P<unit>{any_of(PER)})(?![\w/])", _per)),
)
NUMBERS = stage(
    "numbers",
    (rf"{START}(?P<number>[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+)(?:st|nd|rd|th)\b", _ordinal),
    (
        rf"{MINUS}{START}(?:(?P<whole>[0-9]{{1,6}})(?:[ ]|[ ]?-[ ]?))?"
        r"(?P<top>[0-9]{1,4})/(?P<bottom>[0-9]{1,4})(?!\w|\.?[0-9]|/[0-9])"
        rf"(?:[ -](?P<unit>{any_of(UNITS)})(?![\w²³/°]))?",
        _fraction,
    ),
    (r"(?<![\w.])[0-9]{1,6}(?:\.[0-9]{1,6}){2,8}(?![\w])(?!\.[0-9])", _parts),
    (r"(?<!\w)[vV](?=[0-9])", "version "),
    (
        rf"{START}(?P<first>{NUMBER})(?:[-–](?P<last>{NUMBER}))?(?P<short>{any_of(MAGNITUDES)})(?!\w)",
        _shortened,
    ),
    (rf"{START}(?P<a>{NUMBER})x(?=[ ](?:more|less|as|the|[a-z]+er)\b)", _times),
    (rf"{START}(?P<a>{NUMBER})[ ]?[x×][ ]?(?=[0-9])", lambda m: f"{number(m['a'])} by "),
    (
        r"(?<![\w.,])(?=[0-9]{0,19}[A-Za-z])(?=[A-Za-z]{0,19}[0-9])[A-Za-z0-9]{2,40}(?!\w)",
        _mixed,
    ),
    (r"(?<=[A-Za-z])-(?=[0-9])", " "),
    (r"(?<=[0-9])-(?=[0-9]{1,9}[ ]?=)", " minus "),
    (
        rf"{START}(?P<first>{NUMBER})[-–](?P<last>{NUMBER})(?![-–][0-9])(?![\w])",
        lambda m: _span(m["first"], m["last"]),
    ),
    (
        rf"{START}(?P<a>[0-9]{{1,6}}):(?P<b>[0-9]{{1,6}})(?![\w:])",
        lambda m: _span(m["a"], m["b"]),
    ),
    (r"(?<=[0-9])[ ]-[ ](?=[0-9])", " minus "),
    (r"(?<=[0-9])[ ]?[*×·][ ]?(?=[0-9])", " times "),
    (r"(?<=[0-9])[ ]?\^[ ]?(?=[0-9])", " to the power of "),
    (r"#(?=[0-9])", "number "),
    (rf"(?P<minus>(?<![\w)])[-−](?=[0-9.]))?(?P<number>{NUMBER})", _plain_number),
    needs=A_DIGIT,
)
