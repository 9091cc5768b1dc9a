"""How a step is run, and how it speaks. Knows nothing of the steps."""

from __future__ import annotations

import sys
from collections.abc import Callable

from faster_higgs.errors import HiggsError


def say(line: str) -> None:
    """Print a line that is seen at once, also in a file."""
    print(line, flush=True)


def run(main: Callable[[], None]) -> None:
    """Run a step; a mistake of the user's ends it with its sentence, not with a traceback."""
    try:
        main()
    except HiggsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error
