"""Step 1: the sentences pico learns to say. Knows nothing of sound.

Text comes from Debian's `wordnet-base` (glosses and quoted examples; WordNet licence) and
`wamerican` (single words; SCOWL licence), both read where the packages put them, and from the
templates below, which are ours. Nothing of the two packages is shipped.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
WORDS = Path("/usr/share/dict/american-english")

SLOTS = {
    "person": """
        my sister, my brother, my mother, our neighbour, the teacher, the doctor, a friend of mine,
        the driver, your uncle, her daughter, his father, the manager, Anna, Peter, Maria, David,
        Sarah, Thomas, Emily, James, Laura, Michael, Alice, Robert, Helen, Daniel, Julia, George,
        the captain, the old man, the little girl, the nurse, a stranger, the farmer, the student,
        our guest, the children, two policemen, the whole family, Mister Brown, Missus Green, Doctor
        Smith
    """,
    "place": """
        the station, the market, the library, the garden, the kitchen, the office, the hospital, the
        park, London, Paris, New York, the beach, the mountains, the school, the church, the
        airport, the bridge, the museum, the theatre, the harbour, the village, the city, the river,
        the old castle, the forest, the hotel, the restaurant, the corner shop, Germany, California,
        Scotland, Japan, the upper floor, the square, the post office, the bank
    """,
    "thing": """
        the letter, a new car, the red book, an umbrella, the keys, a cup of tea, some fresh bread,
        the newspaper, a warm coat, the blue bag, a photograph, the telephone, a ticket, two apples,
        a bottle of water, the computer, a small box, the broken chair, an old clock, a piece of
        cake, the medicine, a pair of shoes, the map, a sandwich, the window, the guitar, a bunch of
        flowers, some money, the camera, the yellow bicycle, a glass of milk, the big suitcase
    """,
    "past": """
        bought, found, lost, forgot, brought, noticed, wanted, dropped, remembered, carried, sold,
        needed, cleaned, repaired, painted, showed me, gave away, looked for, paid for, talked
        about, asked for, threw away
    """,
    "verb": """
        buy, find, bring, take, see, carry, sell, use, clean, repair, draw, keep, choose, describe,
        open, check, remember, look at, wait for, think about, ask for, move
    """,
    "time": """
        yesterday, last week, this morning, on Monday, on Tuesday, on Wednesday, on Thursday, on
        Friday, on Saturday, on Sunday, in January, in February, in March, in April, in May, in
        June, in July, in August, in September, in October, in November, in December, a few days
        ago, before lunch, after dinner, at midnight, in the evening, every day, tonight, next year,
        at noon, in the afternoon, right now, two hours later, for the first time, once a month, all
        summer
    """,
    "adj": """
        beautiful, cold, quiet, strange, expensive, easy, difficult, dark, bright, heavy, empty,
        full, clean, dirty, warm, useful, important, famous, dangerous, perfect, simple, ordinary,
        wonderful, terrible, interesting, boring, possible, early, late, different, small, enormous,
        soft, sharp, lovely, curious, hungry, thirsty, careful, honest
    """,
    "adv": """
        very, really, quite, rather, too, surprisingly, a little, extremely, not very, always,
        never, almost
    """,
    "place2": """
        next to, behind, in front of, near, far from, on the way to, across from, just outside
    """,
    "greet": """
        hello, good morning, good evening, good night, welcome, thank you, thanks a lot, excuse me,
        I am sorry, goodbye, see you soon, of course, no problem, you are welcome, please, yes, no,
        maybe, well done, congratulations, happy birthday, hi there, all right, not at all, never
        mind, what a surprise
    """,
    "topic": """
        the weather, the new law, our holiday, the football match, music, the price of oil, history,
        the future, space travel, cooking, machine learning, the election, modern art, the
        environment, good books, speech synthesis, an old friend, the economy, language, computers,
        health, education, the news
    """,
    "animal": """
        dog, cat, horse, bird, fox, fish, cow, mouse, lion, rabbit, duck, sheep, bear, monkey,
        tiger, elephant
    """,
    "colour": """
        red, blue, green, yellow, black, white, brown, grey, purple, orange, pink, golden, silver
    """,
    "food": """
        bread, cheese, soup, rice, chicken, fish, chocolate, an apple, fresh fruit, vegetables, a
        salad, pasta, eggs, pancakes, coffee, tea, orange juice, cold beer, red wine, ice cream,
        roast potatoes
    """,
}


def listed(text: str) -> list[str]:
    """What stands between the commas, however it is wrapped."""
    return [" ".join(item.split()) for item in text.split(",")]


CHOICES = {slot: listed(text) for slot, text in SLOTS.items()}

TEMPLATES = (
    """
{person} {past} {thing} {time}.|{person} {past} {thing}.|{time}, {person} {past} {thing}.
did {person} go to {place} {time}?|where did you {verb} {thing}?|can you {verb} {thing} for me?
please {verb} {thing} before you leave.|I would like to {verb} {thing} {time}.
we went to {place} {time}.|{place} is {place2} {place}.|it was {adv} {adj} in {place} {time}.
the {animal} is {adv} {adj}.|I have never been to {place}.|do you know how to get to {place}?
the {colour} {animal} ran across the street.|{greet}!|{greet}.|{greet}, {person} is waiting for you.
{greet}, how are you today?|my favourite food is {food}.|could I have {food} and {food}, please?
let us talk about {topic}.|what do you think about {topic}?|{person} wrote a book about {topic}.
there are {number} people in {place}.|the train leaves at {clock}.
the meeting starts at {clock} {time}.|it costs {money}.|I paid {money} for {thing}.
it is {clock} now.|we will meet at {clock} near {place}.|the number is {digits}.
please call {digits} {time}.|he was born in {year}.|the house was built in {year}.|today is {date}.
her birthday is on {date}.|chapter {number}.|page {number}.|that is {adv} {adj}.
this {animal} is {colour} and {adj}.|{person} said it was {adv} {adj}.
if you {verb} {thing}, {person} will be happy.|{person} cannot {verb} {thing} without your help.
why is {place} so {adj}?|turn left at {place} and then go straight.
the temperature is {number} degrees.|{number} percent of people like {topic}.
{number} plus {number} is {number}.|{person} lives {place2} {place}.
{person} and {person} are in {place}.|I think {topic} is more {adj} than {topic}.
she asked whether {person} had seen {thing}.|nobody knows who {past} {thing}.
there was a {colour} {animal} in {place}.|don't forget to {verb} {thing}.
I can't {verb} {thing} {time}.|we'll {verb} {thing} {time}.|it's {adv} {adj}.
that's {adj}, isn't it?|you're {adv} {adj}.|they've been to {place}.|I'm going to {place} {time}.
what time is it?|how much is {thing}?|how old is {person}?|which {animal} is {adj}?|who is {person}?
this is {person} speaking.|my name is {person}.|{person} works in {place}.
the {adj} {animal} sleeps in {place}.|it rained {time}, so we stayed in {place}.
although it was {adj}, {person} {past} {thing}.|{thing} is {place2} {place}.
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

ONES = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
    fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
""".split()
MONTHS = """
    January February March April May June July August September October November December
""".split()


def spell(n: int) -> str:
    """A whole number below a million in words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 2] + (f" {ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" {spell(n % 100)}" if n % 100 else "")
    return f"{spell(n // 1000)} thousand" + (f" {spell(n % 1000)}" if n % 1000 else "")


def ordinal(n: int) -> str:
    """1 to 31 as an ordinal in words."""
    if n <= 20:
        return ORDINALS[n - 1]
    return "thirtieth" if n == 30 else f"{spell(n - n % 10)} {ORDINALS[n % 10 - 1]}"


def made_up(rng: random.Random) -> dict[str, str]:
    """The slots that are computed: numbers, money, clock times, dates."""
    small = rng.choice(
        [rng.randrange(20), rng.randrange(100), rng.randrange(1000), rng.randrange(100_000)]
    )
    hour, minute = (
        rng.randrange(1, 13),
        rng.choice([0, 5, 10, 15, 20, 25, 30, 40, 45, 50, rng.randrange(10, 60)]),
    )
    clock = (
        f"{spell(hour)} o'clock"
        if minute == 0
        else f"{spell(hour)} {'oh ' * (minute < 10)}{spell(minute)}"
    )
    cents = rng.choice(["", "", f" and {spell(rng.randrange(2, 100))} cents"])
    unit = rng.choice(["dollars", "pounds", "euros"])
    century = rng.choice([18, 19, 19, 20])
    return {
        "number": spell(small),
        "clock": clock + rng.choice(["", "", " in the morning", " p m", " a m"]),
        "money": f"{spell(rng.randrange(2, 1000))} {unit}{cents if unit != 'pounds' else ''}",
        "digits": " ".join(ONES[rng.randrange(10)] for _ in range(rng.randrange(3, 8))),
        "year": f"{spell(century)} {spell(rng.randrange(10, 100))}",
        "date": f"{rng.choice(MONTHS)} {ordinal(rng.randrange(1, 32))}",
    }


def from_templates(count: int, rng: random.Random) -> list[str]:
    """Everyday sentences, each drawn afresh."""
    out: set[str] = set()
    while len(out) < count:
        template, computed = rng.choice(TEMPLATES), made_up(rng)
        for slot in re.findall(r"\{(\w+)\}", template):
            value = computed.pop(slot, None) or rng.choice(
                CHOICES.get(slot, [spell(rng.randrange(100))])
            )
            template = template.replace("{" + slot + "}", value, 1)
        out.add(template[0].upper() + template[1:])
    return sorted(out)


def usable(text: str, fewest: int, most: int) -> bool:
    """Plain English words only: what every part of the chain reads the same way."""
    return bool(re.fullmatch(r"[A-Za-z' ,;?!.-]+", text)) and fewest <= len(text.split()) <= most


def from_wordnet(folder: Path = WORDNET) -> tuple[list[str], list[str]]:
    """Quoted examples and definitions."""
    examples, definitions = set(), set()
    parts = [(folder / f"data.{part}").read_text() for part in ("noun", "verb", "adj", "adv")]
    for line in "\n".join(parts).splitlines():
        if "|" not in line or line.startswith("  "):
            continue
        gloss = line.split("|", 1)[1].strip()
        for quoted in re.findall(r'"([^"]+)"', gloss):
            text = re.sub(r"\s+", " ", quoted).strip(" ;,.")
            if usable(text, 3, 20):
                examples.add(text[0].upper() + text[1:] + ("" if text[-1] in "?!" else "."))
        definition = re.sub(r"\([^)]*\)", "", gloss.split('"')[0]).strip(" ;,.")
        if usable(definition, 4, 20):
            text = re.sub(r"\s+", " ", definition)
            definitions.add(text[0].upper() + text[1:] + ".")
    return sorted(examples), sorted(definitions)


def from_words(count: int, rng: random.Random, path: Path = WORDS) -> list[str]:
    """Short lists of single words: rare spellings and no help from context."""
    words = [w for w in path.read_text().split() if re.fullmatch(r"[a-z]{2,14}", w)]
    return [
        ", ".join(rng.sample(words, rng.choice([1, 2, 3, 3, 4]))).capitalize() + "."
        for _ in range(count)
    ]


def sentences(count: int, held_out: set[str], seed: int = 0) -> list[str]:
    """`count` sentences in a fixed random order, none in `held_out` by its `plain` form."""
    rng = random.Random(seed)
    examples, definitions = from_wordnet()
    rng.shuffle(examples), rng.shuffle(definitions)
    pool = (
        examples[: int(count * 0.5)]
        + from_templates(int(count * 0.28), rng)
        + from_words(int(count * 0.06), rng)
    )
    pool += definitions[: max(0, int(count * 0.9) - len(pool))]
    short = [text for text in pool if len(text.split()) <= 10 and text[-1] in ".?!"]
    pool += [f"{a} {b}" for a, b in (rng.sample(short, 2) for _ in range(count - len(pool)))]
    rng.shuffle(pool)
    return [text for text in pool if plain(text) not in held_out]


def plain(text: str) -> str:
    """Lower case, letters and apostrophes only: the form in which sentences are compared."""
    return " ".join(re.sub(r"[^a-z']", " ", text.lower()).split())
