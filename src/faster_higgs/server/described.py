"""What /openapi.json tells besides the endpoints' own words: the errors each may answer with.

Knows no endpoint: what is said follows from the method, the address and whether something is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

# By what it is that may go wrong.
ANY = (401, 403, 413, 500, 503)  # the gate, what nobody expected, and what is not there now
ASKED = (400, 404, 409)  # with parameters
CHANGING = (*ASKED, 408, 415, 429, 502, 504, 507)  # what is not only read
DETAIL = (422,)  # outside /v1, for bodies and parameters that are not of their form

_TEXT, _MAYBE = {"type": "string"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}
_FORMS: Mapping[str, Any] = {
    "Error": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {"message": _TEXT, "type": _TEXT, "param": _MAYBE, "code": _TEXT},
                "required": ["message", "type", "param", "code"],
                "additionalProperties": False,
            }
        },
        "required": ["error"],
        "additionalProperties": False,
    },
    "Detail": {
        "type": "object",
        "properties": {
            "detail": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}]}
        },
        "required": ["detail"],
        "additionalProperties": False,
    },
}
_READING = ("get", "head", "options")


class Described(FastAPI):
    """An application whose description tells of errors, too."""

    def setup(self) -> None:
        """Where it is read; it is written in a thread, which takes a tenth of a second."""
        self._writing = threading.Lock()
        self.add_route("/openapi.json", self._document, include_in_schema=False)

    def _document(self, _: Request) -> JSONResponse:
        with self._writing:
            return JSONResponse(self.openapi())

    def openapi(self) -> dict[str, Any]:
        """The document."""
        if self.openapi_schema is None:
            told = super().openapi()
            schemas = told.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)  # never sent
            schemas.update(_FORMS)
            for path, operations in told["paths"].items():
                for method, operation in operations.items():
                    _tell(path, method, operation)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _tell(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add the errors to one operation; what it says of a status itself stays."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]  # the framework's own words
    form = "Error" if path.startswith("/v1/") else "Detail"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{form}"}}}
    for status in sorted(set(_statuses(path, method, operation))):
        told = {"description": HTTPStatus(status).phrase, "content": content}
        responses.setdefault(str(status), told)


def _statuses(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[int]:
    parameters = bool(operation.get("parameters"))
    yield from ANY
    if parameters:
        yield from ASKED
    if method not in _READING:
        yield from CHANGING
    if not path.startswith("/v1/") and (parameters or "requestBody" in operation):
        yield from DETAIL
