"""The public JSON Schema of the Standard platform's events, and the check of a body against it."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from plugin.errors import PayloadError
from plugin.platforms.fields import read_instant

if TYPE_CHECKING:  # loaded with the first event of a Standard shop: other processes do not need it in memory
    from jsonschema.protocols import Validator


@cache
def schema() -> dict[str, Any]:
    """Return the published JSON Schema."""
    text = files("plugin.platforms.standard").joinpath("events.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _validator(topic: str) -> "Validator":
    from jsonschema import Draft202012Validator, FormatChecker

    whole = schema()
    branch = next(branch for branch in whole["oneOf"] if branch["title"] == topic)
    times = FormatChecker(formats=())  # none of jsonschema's own: what else the schema names is read tolerantly
    times.checks("date-time")(lambda value: not isinstance(value, str) or read_instant(value) is not None)
    return Draft202012Validator(_inlined(branch, whole["$defs"]), format_checker=times)


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Put definitions in the place of references to them: looking them up takes a third of a check."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"$ref"}:
        return _inlined(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    return {name: _inlined(value, definitions) for name, value in node.items()}


def check(topic: str, body: dict[str, Any]) -> None:
    """Check a body against its topic's schema. Raises PayloadError for the first fault; the text never shows a value."""
    # jsonschema knows numbers as int and float; Decimals are checked as floats here and stay exact in `body`
    as_floats = json.loads(json.dumps(body, default=float))
    faults = sorted(_validator(topic).iter_errors(as_floats), key=lambda fault: list(map(str, fault.absolute_path)))
    if not faults:
        return
    fault = faults[0]
    while fault.context:  # of several forms that a field may have, the form that fits furthest is the intended one
        fault = max(fault.context, key=lambda inner: len(inner.absolute_path))
    path = ".".join(str(part) for part in fault.absolute_path).removeprefix("data.")
    if fault.validator == "required":
        wanted = fault.schema["required"] if isinstance(fault.schema, Mapping) else ()
        missing = next((name for name in wanted if name not in _mapping(fault.instance)), "a field")
        raise PayloadError("is missing", f"{path}.{missing}".removeprefix("data.").removeprefix("."))
    if fault.validator == "format":
        raise PayloadError("is not a time with its offset, such as 2026-03-05T09:30:00+01:00", path)
    raise PayloadError(f"does not fit the schema ({fault.validator})", path or "body")


def _mapping(instance: Any) -> Mapping[str, Any]:
    return instance if isinstance(instance, Mapping) else {}
