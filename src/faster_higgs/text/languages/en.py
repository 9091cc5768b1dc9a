"""English, as data for the rules beside this file. Holds no pattern and no rule."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


ONES = _words(
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen"""
)
TENS = _words("ten twenty thirty forty fifty sixty seventy eighty ninety")
SCALES = _words(
    """thousand million billion trillion quadrillion quintillion sextillion septillion octillion
    nonillion decillion"""
)
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
# Parts of a whole, where English does not use the ordinal; singular and plural.
FRACTIONS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
SPOKEN_PAIRS = {
    "24/7": "twenty-four seven", "50/50": "fifty fifty", "9/11": "nine eleven",
    "20/20": "twenty twenty",
}  # fmt: skip
MONTHS = _words(
    """January February March April May June July August September October November December"""
)
MONTH_FORMS = {**{m: m for m in MONTHS}, **{m[:3]: m for m in MONTHS}, "Sept": "September"}
WEEKDAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
# After one of these a number from 1000 to 1799 is a year; from 1800 to 2099 it is one anyway.
BEFORE_A_YEAR = _words(
    """in since by of from until till during year years after before around circa about early late
    mid summer winter spring autumn fall between and to"""
)
# After "a $5" or "a 90°" these are no noun that it belongs to.
AFTER_AN_AMOUNT = frozenset(
    _words(
        """an per each and or to in for at on is was are were from more less as than with by of if
        when while before after until per apart away ago long wide high tall deep"""
    )
)
# Sign -> one, many, one hundredth, many hundredths.
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"), "₩": ("won", "won", "jeon", "jeon"),
    "₽": ("rouble", "roubles", "kopeck", "kopecks"), "₫": ("dong", "dong", "xu", "xu"),
    "₿": ("bitcoin", "bitcoins", "", ""),
}  # fmt: skip
CURRENCY_PREFIXES = {
    "US": "U S", "A": "Australian", "AU": "Australian", "C": "Canadian", "CA": "Canadian",
    "NZ": "New Zealand", "HK": "Hong Kong", "R": "Brazilian", "S": "Singapore",
}  # fmt: skip
CURRENCY_CODES = {
    "USD": ("U S dollar", "U S dollars"), "EUR": ("euro", "euros"),
    "GBP": ("British pound", "British pounds"), "JPY": ("Japanese yen", "Japanese yen"),
    "CAD": ("Canadian dollar", "Canadian dollars"),
    "AUD": ("Australian dollar", "Australian dollars"), "CHF": ("Swiss franc", "Swiss francs"),
    "CNY": ("Chinese yuan", "Chinese yuan"), "RMB": ("Chinese yuan", "Chinese yuan"),
    "INR": ("Indian rupee", "Indian rupees"), "VND": ("Vietnamese dong", "Vietnamese dong"),
}  # fmt: skip
AMOUNTS = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million",
    "b": "billion", "B": "billion", "bn": "billion", "T": "trillion", "tn": "trillion",
    "thousand": "thousand", "million": "million", "billion": "billion", "trillion": "trillion",
}  # fmt: skip
MAGNITUDES = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion", "bn": "billion"}
# Sign -> one, many.
UNITS = {
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"),
    "cm": ("centimeter", "centimeters"), "mm": ("millimeter", "millimeters"),
    "nm": ("nanometer", "nanometers"), "µm": ("micrometer", "micrometers"), "mi": ("mile", "miles"),
    "ft": ("foot", "feet"), "yd": ("yard", "yards"), "yds": ("yard", "yards"),
    "km²": ("square kilometer", "square kilometers"), "m²": ("square meter", "square meters"),
    "cm²": ("square centimeter", "square centimeters"),
    "mm²": ("square millimeter", "square millimeters"), "ft²": ("square foot", "square feet"),
    "sq ft": ("square foot", "square feet"), "sq mi": ("square mile", "square miles"),
    "sq km": ("square kilometer", "square kilometers"), "sq m": ("square meter", "square meters"),
    "m³": ("cubic meter", "cubic meters"), "cm³": ("cubic centimeter", "cubic centimeters"),
    "cc": ("c c", "c c"), "ha": ("hectare", "hectares"), "kg": ("kilogram", "kilograms"),
    "g": ("gram", "grams"), "mg": ("milligram", "milligrams"), "µg": ("microgram", "micrograms"),
    "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"),
    "l": ("liter", "liters"), "L": ("liter", "liters"), "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"), "cl": ("centiliter", "centiliters"),
    "gal": ("gallon", "gallons"), "fl oz": ("fluid ounce", "fluid ounces"),
    "tsp": ("teaspoon", "teaspoons"), "tbsp": ("tablespoon", "tablespoons"),
    "mph": ("mile per hour", "miles per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "m/s": ("meter per second", "meters per second"),
    "ft/s": ("foot per second", "feet per second"),
    "m/s²": ("meter per second squared", "meters per second squared"),
    "mpg": ("mile per gallon", "miles per gallon"), "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"), "°": ("degree", "degrees"),
    "%": ("percent", "percent"), "‰": ("per mille", "per mille"), "bit": ("bit", "bits"),
    "kB": ("kilobyte", "kilobytes"), "KB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"), "GB": ("gigabyte", "gigabytes"),
    "TB": ("terabyte", "terabytes"), "PB": ("petabyte", "petabytes"),
    "KiB": ("kibibyte", "kibibytes"), "MiB": ("mebibyte", "mebibytes"),
    "GiB": ("gibibyte", "gibibytes"), "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "MB/s": ("megabyte per second", "megabytes per second"),
    "GB/s": ("gigabyte per second", "gigabytes per second"), "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"),
    "MW": ("megawatt", "megawatts"), "GW": ("gigawatt", "gigawatts"),
    "kWh": ("kilowatt hour", "kilowatt hours"), "V": ("volt", "volts"),
    "mV": ("millivolt", "millivolts"), "kV": ("kilovolt", "kilovolts"),
    "mA": ("milliamp", "milliamps"), "mAh": ("milliamp hour", "milliamp hours"),
    "Ω": ("ohm", "ohms"), "dB": ("decibel", "decibels"), "J": ("joule", "joules"),
    "kJ": ("kilojoule", "kilojoules"), "cal": ("calorie", "calories"),
    "kcal": ("kilocalorie", "kilocalories"), "Pa": ("pascal", "pascals"),
    "hPa": ("hectopascal", "hectopascals"), "kPa": ("kilopascal", "kilopascals"),
    "psi": ("pound per square inch", "pounds per square inch"), "hp": ("horsepower", "horsepower"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"),
    "min": ("minute", "minutes"), "mins": ("minute", "minutes"), "s": ("second", "seconds"),
    "sec": ("second", "seconds"), "secs": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"), "µs": ("microsecond", "microseconds"),
    "ns": ("nanosecond", "nanoseconds"), "yr": ("year", "years"), "yrs": ("year", "years"),
    "wk": ("week", "weeks"), "px": ("pixel", "pixels"), "MP": ("megapixel", "megapixels"),
    "fps": ("frame per second", "frames per second"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"), "dpi": ("dot per inch", "dots per inch"),
    "ppm": ("part per million", "parts per million"), "°K": ("kelvin", "kelvins"),
}  # fmt: skip
# Units that are written with a dot: as they are written without.
DOTTED_UNITS = {
    **{unit: unit for unit in _words(
        """ft lb lbs oz min mins hr hrs sec secs yd yds gal yr yrs wk tsp tbsp km kg cm mm mi"""
    )},
    "in": "inches", "sq. ft": "sq ft", "sq ft": "sq ft", "sq. mi": "sq mi", "sq. m": "sq m",
    "fl. oz": "fl oz",
}  # fmt: skip
# What may follow a slash after an amount: 5 dollars/month, 3 tons/day.
PER = {
    "s": "second", "sec": "second", "second": "second", "min": "minute", "minute": "minute",
    "h": "hour", "hr": "hour", "hour": "hour", "day": "day", "wk": "week", "week": "week",
    "mo": "month", "month": "month", "yr": "year", "year": "year", "person": "person",
    "kg": "kilogram", "g": "gram", "lb": "pound", "l": "liter", "L": "liter", "km": "kilometer",
    "m": "meter", "m²": "square meter", "night": "night", "unit": "unit", "capita": "capita",
}  # fmt: skip
# Abbreviations that stand before a name or a number; their dot never ends a sentence.
TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Messrs": "Messieurs", "Prof": "Professor",
    "Rev": "Reverend", "Sen": "Senator", "Rep": "Representative", "Gov": "Governor",
    "Gen": "General", "Col": "Colonel", "Maj": "Major", "Capt": "Captain", "Cmdr": "Commander",
    "Lt": "Lieutenant", "Sgt": "Sergeant", "Cpl": "Corporal", "Pvt": "Private", "Hon": "Honorable",
    "Pres": "President", "Supt": "Superintendent", "Fr": "Father", "Mt": "Mount", "Ft": "Fort",
}  # fmt: skip
# Those of them that may do without the dot.
DOTLESS_TITLES = _words("Mr Mrs Ms Dr Prof")
# Abbreviations before a number.
COUNTED = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "vol": "volume",
    "vols": "volumes", "fig": "figure", "figs": "figures", "ch": "chapter", "sec": "section",
    "art": "article", "para": "paragraph", "ver": "version", "eq": "equation", "ext": "extension",
}  # fmt: skip
# Those that are words too: "I said no. 5 people came."
COUNTED_WORDS = frozenset(_words("no nos art sec para"))
# Before "no. 5" one of the first shows that it is a number, one of the second that it is none.
BEFORE_A_NAMED_NUMBER = frozenset(
    _words(
        """a an the this that my your his her its our their at by from with opus house bus line
        platform track article section psalm symphony sonata concerto question item exhibit"""
    )
)
ANSWERING = frozenset(_words("say says said saying answer answered reply replied is was thought"))
PLURALS = frozenset(_words("people men women children of"))  # without an s
NO_PLURALS = frozenset(_words("is was has as this its thus does says shows plus"))
# After one of these a number with a letter is a name: Room 4B.
PLACES = _words(
    """Room Apartment Apt Flat Suite Unit Gate Seat Row Class Platform Bus Route Building Block
    House Section Ward Figure Fig Question Table Exhibit Appendix Chapter Form Box Terminal Stand
    Track Exit Grade Year Floor Level Line Lot Desk Hall Booth Door Bay Berth Cabin Locker Studio
    Page Paragraph Step Rule Part Phase Lane Pier Stage Group Team Zone Area Wing Number Item
    Highway Stop"""
)
SPOKEN_LABELS = {
    "50-50": "fifty fifty", "401k": "four oh one K", "401(k)": "four oh one K",
    "403b": "four oh three B", "403(b)": "four oh three B", "1040EZ": "ten forty E Z",
}  # fmt: skip
# Abbreviations inside a sentence; their dot never ends one.
INSIDE = {
    "e.g.": "for example", "i.e.": "that is", "vs.": "versus", "vs": "versus", "cf.": "compare",
    "ca.": "circa", "approx.": "approximately", "viz.": "namely", "c/o": "care of",
    "w/o": "without", "w/": "with", "a.k.a.": "also known as", "aka": "also known as",
    "incl.": "including", "excl.": "excluding", "resp.": "respectively",
}  # fmt: skip
# Abbreviations that may end a sentence: before a capital or at the end the dot stays.
ENDING = {
    "etc.": "et cetera", "Inc.": "Incorporated", "Ltd.": "Limited", "Corp.": "Corporation",
    "Co.": "Company", "Bros.": "Brothers", "Jr.": "Junior", "Sr.": "Senior", "Esq.": "Esquire",
    "Ave.": "Avenue", "Blvd.": "Boulevard", "Rd.": "Road", "Ln.": "Lane", "Hwy.": "Highway",
    "Pkwy.": "Parkway", "Sq.": "Square", "Apt.": "Apartment", "Dept.": "Department",
    "dept.": "department", "Univ.": "University", "Assn.": "Association", "Ph.D.": "P H D",
    "Ph.D": "P H D", "PhD": "P H D", "al.": "al", "govt.": "government", "est.": "established",
    "min.": "minimum", "max.": "maximum", "avg.": "average", "temp.": "temperature",
    "tel.": "telephone", "misc.": "miscellaneous",
}  # fmt: skip
# After U.S. only one of these begins a sentence: "the U.S. Army" goes on.
STARTERS = frozenset(
    _words(
        """The A An He She It We They I You This That These Those There Here But And So Then In On
        At When While If As After Before However Now What Why How Who Where My Our His Her Their
        Its Some Many Most No Yes"""
    )
)
# Names that are followed by a number in Roman numerals, said as an ordinal.
ROYAL = _words(
    "King Queen Pope Emperor Empress Tsar Czar Kaiser Prince Princess Sultan Shah Pharaoh"
)
OF_A_KING = frozenset(_words("was is of and in from who ruled reigned died became signed married"))
REIGNING = _words(
    """John Karl Abdullah Margrethe
    Henry Elizabeth Louis Charles Edward George William James Richard Mary Philip Philippe
    Alexander Peter Ivan Nicholas Catherine Frederick Napoleon Paul Benedict Pius Gregory Leo
    Innocent Clement Urban Boniface Otto Wilhelm Ramesses Ptolemy Darius Xerxes Victoria Gustav
    Christian Haakon Olav Harald Felipe Carlos Juan Alfonso Isabella Ferdinand Maximilian Rudolf
    Leopold Albert Baudouin Umberto Robert David Stephen Harold Rama Cleopatra Constantine
    Theodosius Justinian Mehmed Selim Suleiman Murad Abdul Pedro Joseph Francis Franz Sigismund"""
)
# Things that are, said as a cardinal.
NUMBERED = _words(
    """Chapter Part Volume Book Act Scene Section Article Appendix Phase Stage Type Class Level
    Grade Figure Table Title War Bowl Episode Season Round Unit Module Lesson Step Apollo Rocky
    Saturn Titan Psalm Schedule Annex Fantasy Group Region Sonata Symphony Mark Model Tier Form"""
)
# Acronyms that are read as words.
WORDLIKE_ACRONYMS = frozenset(
    _words(
        """AIDS ANOVA APEC ASAP ASCII AWOL BAFTA BASIC BIOS CAPTCHA CERN COBOL COVID CRISPR DARPA
        EBITDA EPCOT EULA FEMA FIFA FOMO FORTRAN GIF GUI HIPAA IKEA JPEG LASER LIDAR MIDI NAFTA NASA
        NASCAR NASDAQ NATO NIMBY NOAA OPEC OSHA PIN POTUS RADAR RAID RAM ROM SCOTUS SCUBA SIM SONAR
        SPAM
    SWAT TED TEFL TOEFL UEFA UNESCO UNICEF UNIX WASP WHO YOLO ZIP"""
    )
)
# Acronyms that are spelled although they look like a word or stand in a word list.
SPELLED_ACRONYMS = frozenset(
    _words(
        """ABC AI AM AR BA CAD CAM CEO CIO COO CS ER ESP EU GI HR ICE ID IOU IRA IRS IT LA LAN MA
        MIT MS
    NHS OS PA PAC PAL PE PM PR RN SAT SOS TA UI UK UN US USA VR WAN"""
    )
)
# Words with signs in them.
SPECIAL_TOKENS = {
    "AT&T": "A T and T", "C++": "C plus plus", "C#": "C sharp", "F#": "F sharp", "A/C": "A C",
    "R&D": "R and D", "Q&A": "Q and A", "R&B": "R and B", ".NET": "dot net", "Node.js": "Node J S",
    "Wi-Fi": "WiFi", "&c.": "et cetera", "M&Ms": "M and M's", "TCP/IP": "T C P I P",
    "OS/2": "O S two", "N/A": "not applicable", "n/a": "not applicable", "and/or": "and or",
    "4K": "four K", "8K": "eight K", "WWI": "World War One", "WW I": "World War One",
    "WW1": "World War One", "WWII": "World War Two", "WW II": "World War Two",
    "WW2": "World War Two",
}  # fmt: skip
# Ends of web addresses: how they are said.
TOP_DOMAINS = {
    "com": "com", "org": "org", "net": "net", "edu": "E D U", "gov": "gov", "int": "int",
    "mil": "mil", "info": "info", "biz": "biz", "io": "I O", "ai": "A I", "co": "co", "uk": "U K",
    "us": "U S", "de": "D E", "fr": "F R", "eu": "E U", "ca": "C A", "au": "A U", "jp": "J P",
    "cn": "C N", "vn": "V N", "in": "I N", "it": "I T", "es": "E S", "nl": "N L", "ch": "C H",
    "dev": "dev", "app": "app", "me": "me", "tv": "T V", "xyz": "X Y Z", "tech": "tech",
    "online": "online", "site": "site", "blog": "blog", "cloud": "cloud", "ly": "L Y", "gg": "G G",
    "to": "to", "be": "B E",
}  # fmt: skip
# Those that also mean something after a dot in plain text need a scheme, a path or www.
DOUBTFUL_DOMAINS = frozenset(_words("app be blog ca cloud co de es in it me online site to us"))
IN_ADDRESSES = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon",
    "?": "question mark", "=": "equals", "&": "and", "#": "hash", "%": "percent", "~": "tilde",
    "+": "plus",
}  # fmt: skip
SYMBOLS = {
    "&": "and", "@": "at", "+": "plus", "=": "equals", "≠": "does not equal", "≈": "approximately",
    "±": "plus or minus", "×": "times", "÷": "divided by", "√": "square root of", "∞": "infinity",
    "≤": "less than or equal to", "≥": "greater than or equal to", "%": "percent", "‰": "per mille",
    "§": "section", "¶": "paragraph", "©": "copyright", "№": "number", "°": "degrees", "µ": "micro",
    "π": "pi", "Ω": "ohm", "→": "to", "/": "slash", "\\": "backslash", "²": "squared", "³": "cubed",
    "−": "minus", "¢": "cents", **{sign: names[1] for sign, names in CURRENCIES.items()},
}  # fmt: skip
# Signs that are not said.
SILENT = "#*_`~|<>{}•◦▪●®™†‡¨¦¬¯´¸^"
