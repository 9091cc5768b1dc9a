"""Programs that want a process of their own, forked from one that has imported and done nothing.

Knows nothing of what they do; importing takes longer than most of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

END = "ended with "
SERVER = f"""
import json, os, sys, traceback
import transformers.models.hubert.modeling_hubert
import faster_higgs.checkpoint.export, faster_higgs.checkpoint.merge, faster_higgs.speech
for line in sys.stdin:
    program, words, folder = json.loads(line)
    if not (child := os.fork()):
        status = 1
        try:
            os.chdir(folder)
            sys.argv[1:] = words
            exec(program, {{"__name__": "__main__"}})
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"{END}{{status}}", flush=True)
"""


class Fresh:
    """Runs them, one at a time."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, program: str, *words: object, cwd: Path | None = None) -> str:
        """What it writes; it has to end well."""
        asked, told = self._server.stdin, self._server.stdout
        assert asked is not None and told is not None
        print(json.dumps([program, [*map(str, words)], str(cwd or Path.cwd())]), file=asked)
        asked.flush()
        lines = []
        for line in told:
            if line.startswith(END):
                assert line == f"{END}0\n", "".join([*lines, line])
                return "".join(lines)
            lines.append(line)
        raise AssertionError("the process they are forked from is gone")

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()
