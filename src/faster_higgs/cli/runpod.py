"""`higgs runpod`: the worker for RunPod's queue. Knows nothing of jobs.

What `python -m faster_higgs.deploy.runpod` is, with a help page.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from faster_higgs.cli.command import Command, as_command, option, verbose


@dataclass(frozen=True)
class RunpodFlags:
    """What stands on the command line; the environment says the rest."""

    test_input: str | None = option(
        "--test-input", "JSON", 'Do one job, such as {"input": {"script": "Hello."}}, and end.'
    )
    verbose: bool = verbose()


def command(name: str, help: str) -> Command:
    """The command as the menu takes it."""
    return as_command(RunpodFlags, run, name, help)


def run(flags: RunpodFlags) -> None:
    """Load the model, then take jobs until stopped."""
    from faster_higgs.deploy.runpod import WorkerSettings, serve

    # RunPod's library reads the command line by itself.
    job = [] if flags.test_input is None else ["--test_input", flags.test_input]
    sys.argv = [sys.argv[0], *job]
    serve(WorkerSettings.given(os.environ))
