"""Settings of a run in a file: typed YAML, values over it, and the way back.

Knows nothing of the command line, nor what any setting means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from faster_higgs.errors import MissingExtra, SettingError

Settings = TypeVar("Settings")
Values = dict[str, Any]
"""By full name: "run.steps"."""


def names(kind: Any, before: str = "") -> dict[str, Any]:
    """Full name and type of every setting of a dataclass of dataclasses."""
    hints, found = get_type_hints(kind), {}
    for one in fields(kind):
        hint = hints[one.name]
        inner = names(hint, f"{before}{one.name}.") if is_dataclass(hint) else None
        found.update(inner or {f"{before}{one.name}": hint})
    return found


def read(path: Path, kind: type[Any]) -> Values:
    """The settings in a YAML file. Raises SettingError for what is no setting."""
    try:
        found = _yaml().safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"The settings '{path}' cannot be read: {error.strerror}.") from None
    except (ValueError, _yaml().YAMLError) as error:
        said = " ".join(str(error).split())
        raise SettingError(f"The settings '{path}' are not YAML: {said}.") from None
    if not isinstance(found or {}, dict):
        raise SettingError(f"The settings '{path}' must be names with values.")
    return checked(dict(_flat(found or {}, names(kind))), kind, f"'{path}'")


def given(words: Iterable[str], kind: type[Any]) -> Values:
    """Settings written NAME=VALUE, the value as in YAML. Raises SettingError."""
    found: Values = {}
    for word in words:
        name, equals, text = word.partition("=")
        value: Any = text
        if not equals:
            raise SettingError(f"'{word}' is no setting; write NAME=VALUE, as in run.steps=2000.")
        if names(kind).get(name.strip()) is not str:
            value = _value(text, word) if text else None
        found[name.strip()] = value
    return checked(found, kind, "--set")


def _value(text: str, word: str) -> Any:
    try:
        return _yaml().safe_load(text)
    except _yaml().YAMLError:
        raise SettingError(f"The value in '{word}' (--set) is not YAML.") from None


def checked(values: Mapping[str, Any], kind: type[Any], source: str) -> Values:
    """The same values in the types of `kind`. Raises SettingError, with the nearest known name."""
    known = names(kind)
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, 1, 0.5) or _by_ending(name, known)
            hint = f"did you mean {near[0]}?" if near else "--print-config shows all."
            raise SettingError(f"There is no setting '{name}' ({source}); {hint}")
    return {name: _typed(name, value, known[name], source) for name, value in values.items()}


def built(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The dataclass with these values; for others its defaults. Raises SettingError."""
    made: Settings = _over(kind(), values)
    return made


def flattened(settings: Any) -> Values:
    """Every setting by its full name."""
    return dict(_flat(asdict(settings), names(type(settings))))


def as_yaml(settings: Any) -> str:
    """What `read` takes."""
    plain = json.loads(json.dumps(asdict(settings)))
    text: str = _yaml().safe_dump(plain, sort_keys=False, allow_unicode=True)
    return text


def schema(kind: type[Any]) -> str:
    """The JSON schema, for editors."""
    return json.dumps(_adapter(kind).json_schema(), indent=1)


def _over(settings: Any, values: Mapping[str, Any]) -> Any:
    changed = {}
    for one in fields(settings):
        inner, before = getattr(settings, one.name), f"{one.name}."
        if is_dataclass(inner):
            own = {k.removeprefix(before): v for k, v in values.items() if k.startswith(before)}
            changed[one.name] = _over(inner, own)
        else:
            changed[one.name] = values.get(one.name, inner)
    return type(settings)(**changed)


def _flat(found: Mapping[str, Any], known: Mapping[str, Any], before: str = "") -> Iterable[Any]:
    for key, value in found.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and name not in known:
            yield from _flat(value, known, f"{name}.")
        else:
            yield name, value


def _typed(name: str, value: Any, hint: Any, source: str) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"].replace("Input should be", "it should be")
        raise SettingError(f"{name} is {value!r} ({source}); {said}.") from None


def _by_ending(name: str, known: Iterable[str]) -> list[str]:
    """A setting that was written without the names before its own."""
    last = {full.split(".")[-1]: full for full in known}
    return [last[near] for near in get_close_matches(name.split(".")[-1], last, 1, 0.6)]


def _adapter(hint: Any) -> Any:
    try:
        from pydantic import TypeAdapter
    except ImportError:
        raise _missing("pydantic") from None
    return TypeAdapter(hint)


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise _missing("PyYAML") from None
    return yaml


def _missing(name: str) -> MissingExtra:
    return MissingExtra(
        f"Training needs {name}; install the extra with `pip install 'faster-higgs[train]'`."
    )
