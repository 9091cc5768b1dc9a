"""`python -m faster_higgs` is the command `higgs`. Knows nothing of commands."""

import sys

from faster_higgs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
