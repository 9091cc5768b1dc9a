"""Random requests after /openapi.json, to every endpoint it names, and a judge of the answers."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from faster_higgs.server.gate import Gate

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
KNOWN = 200  # ids that are remembered
load_all_checks()
LOCAL = {"Host": "localhost"}
JUDGES = CHECKS.get_by_names(
    ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)


class Fuzz:
    """Requests to one application; each operation gets `each` of each mode, or all there are."""

    def __init__(self, app: Gate, seed: int = 0, only: str = "/", each: int = 15) -> None:
        told = schemathesis.openapi.from_asgi("/openapi.json", app, headers=LOCAL)
        self.schema = told.include(path_regex=only)
        self.random = random.Random(seed)
        self.seed, self.each = seed, each
        self.ids = ["alice"]
        self.answers: Counter[tuple[str, int]] = Counter()

    @property
    def cases(self) -> int:
        """How many were sent."""
        return self.answers.total()

    def run(self, cases: int) -> None:
        """Send at least so many. Raises what a judge finds."""
        kinds = [
            (found.ok(), mode)
            for found in self.schema.get_all_operations()
            for mode in modes(found.ok())
        ]
        while self.cases < cases:
            self.seed += 1
            for operation, mode in kinds:
                self._ask(operation, mode)

    def _ask(self, operation: Any, mode: GenerationMode) -> None:
        @seeded(self.seed)
        @settings(
            max_examples=self.each,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            self._send(case)

        ask()

    def _send(self, case: Any) -> None:
        if "id" in (case.path_parameters or {}) and self.random.random() < 0.5:
            case.path_parameters = {**case.path_parameters, "id": self.random.choice(self.ids)}
        answer = case.call(headers=LOCAL)
        self.answers[case.operation.label, answer.status_code] += 1
        self.ids = [*self.ids, *found_ids(answer)][-KNOWN:]
        case.validate_response(answer, checks=JUDGES)
        assert answer.status_code < 500, (
            answer.status_code,
            answer.content,
            case.as_curl_command(),
        )


def modes(operation: Any) -> tuple[GenerationMode, ...]:
    """Right requests, and wrong ones where anything can be: an address of text cannot."""
    return MODES if operation.body or operation.query else MODES[:1]


def found_ids(answer: Any) -> Iterator[str]:
    """Names of what was made, for later questions."""
    if answer.status_code in (200, 201, 202) and "json" in str(answer.headers.get("content-type")):
        told = json.loads(answer.content)
        if isinstance(told, dict) and isinstance(told.get("id"), str):
            yield told["id"]
