"""Compares the project's contract with a tenant's Swagger: what is inferred, and where the two differ.

Reads OpenAPI 3 and Swagger 2, as JSON or YAML. Names of query parameters are compared without case, because ASP.NET
binds them so; everything else as it is spelt.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from plugin.engage.operations import OPERATIONS, Operation
from plugin.errors import ConfigurationError

METHODS = frozenset({"get", "put", "post", "delete", "patch"})
MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
_API_ROOT = re.compile(r"^/?api/v(\d+(\.\d+)?|\{[^}]*\})", re.IGNORECASE)
_DEFAULT_ADVICE = "path, names of the query and body fields, shape and statuses of the answer"


@dataclass(frozen=True, slots=True)
class Described:
    """One operation of a document. query and body: name to whether it is required; answer: names of its fields."""

    method: str
    path: str
    query: Mapping[str, bool]
    body: Mapping[str, bool]
    answer: frozenset[str]
    inferred: bool = False
    notes: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One point in which a tenant's Swagger is not what this plugin expects. serious: calls would fail."""

    operation: str
    what: str
    todo: str
    serious: bool


@dataclass(frozen=True, slots=True)
class Inferred:
    """An operation that no public page of Engage confirms, whole or in part. compare: what to check in the Swagger."""

    operation: str
    method: str
    path: str
    whole: bool
    compare: str


def inferred_operations() -> list[Inferred]:
    """Return the operations of this plugin that are inferred, whole or in part."""
    inferred = []
    for operation, ours in _ours():
        in_part = "inferred" in ours.notes.lower()
        if ours.inferred or in_part:
            compare = ours.notes or _DEFAULT_ADVICE
            inferred.append(Inferred(operation.name, operation.method, operation.path, ours.inferred, compare))
    return inferred


def read_document(path: Path) -> dict[str, Any]:
    """Read a Swagger or OpenAPI file. Raises ConfigurationError that says what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            [f"{path} cannot be read ({error.strerror}): give the tenant's Swagger file."]
        ) from None
    if len(content) > MAX_DOCUMENT_BYTES:
        raise ConfigurationError([f"{path} is larger than {MAX_DOCUMENT_BYTES} bytes; which is not a Swagger file."])
    try:
        document = yaml.load(content, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise ConfigurationError(
            [f"{path} is neither JSON nor YAML: save swagger.json from the tenant again."]
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise ConfigurationError([f"{path} has no `paths`; so it is not a Swagger or OpenAPI document."])
    return document


def differences(document: Mapping[str, Any]) -> list[Difference]:
    """Compare every operation of this plugin with a tenant's document."""
    tenant_operations = {(described.method, _key(described.path)): described for described in _operations(document)}
    differing: list[Difference] = []
    for operation, ours in _ours():
        match = tenant_operations.get((operation.method, _key(operation.path)))
        if match is None:
            differing.append(_missing(operation, ours, list(tenant_operations)))
        else:
            differing.extend(_compare(operation.name, ours, match))
    return differing


def _missing(operation: Operation, ours: Described, known: list[tuple[str, str]]) -> Difference:
    wanted = f"{operation.method} {_key(operation.path)}"
    near = difflib.get_close_matches(wanted, [f"{method} {path}" for method, path in known], n=1, cutoff=0.75)
    hint = f"; nearest: {near[0]}" if near else ""
    doubt = "inferred" if ours.inferred else "documented, but not here"
    return Difference(
        operation.name,
        f"{operation.method} {operation.path} is missing ({doubt}){hint}",
        "correct its path in plugin/engage/operations.py and in the contract, or do without the features that need it",
        serious=True,
    )


def _compare(name: str, ours: Described, tenant: Described) -> Iterator[Difference]:
    tenant_query = {query.lower() for query in tenant.query}
    for query in ours.query:
        if query.lower() not in tenant_query:
            yield Difference(
                name, f"the query parameter {query} is not there", "correct its name in the call", serious=True
            )
    our_query = {query.lower() for query in ours.query}
    for query, required in tenant.query.items():
        if required and query.lower() not in our_query:
            yield Difference(name, f"the query parameter {query} is required there", "send it", serious=True)
    if tenant.body:
        for field in sorted(set(ours.body) - set(tenant.body)):
            near = _same_but_case(field, tenant.body)
            what = f"the body field {field} is spelt {near} there" if near else f"the body field {field} is not there"
            yield Difference(name, what, "correct its name in plugin/engage/data/request_bodies.py", serious=False)
        for field in sorted(field for field, required in tenant.body.items() if required and not ours.body.get(field)):
            yield Difference(name, f"the body field {field} is required there", "send it in every call", serious=False)
    if tenant.answer:
        for field in sorted(ours.answer - tenant.answer):
            near = _same_but_case(field, tenant.answer)
            what = (
                f"the answer's field {field} is spelt {near} there"
                if near
                else f"the answer has no field {field} there"
            )
            yield Difference(name, what, "correct its name in plugin/engage/data/schemas.py", serious=False)


def _same_but_case(name: str, names: frozenset[str] | Mapping[str, bool]) -> str | None:
    return next((other for other in names if other.lower() == name.lower()), None)


@cache
def _ours() -> tuple[tuple[Operation, Described], ...]:
    """Return each operation with what the project's contract says of it."""
    text = files("plugin.engage").joinpath("contract/engage-v3.yaml").read_text(encoding="utf-8")
    document = yaml.load(text, Loader=yaml.CSafeLoader)
    known = {(described.method, _key(described.path)): described for described in _operations(document)}
    return tuple((operation, known[operation.method, _key(operation.path)]) for operation in OPERATIONS.values())


def _key(path: str) -> str:
    """Return a path without its API root and without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", _API_ROOT.sub("", path)).rstrip("/").lower()


def _operations(document: Mapping[str, Any]) -> Iterator[Described]:
    base = _base_path(document)
    for path, item in document["paths"].items():
        if not isinstance(item, Mapping):
            continue
        shared = _list(item.get("parameters"))
        for method, operation in item.items():
            if method.lower() in METHODS and isinstance(operation, Mapping):
                yield _described(document, method.upper(), base + str(path), operation, shared)


def _base_path(document: Mapping[str, Any]) -> str:
    """Return the path that all others begin with: Swagger 2's basePath, or that of OpenAPI 3's first server."""
    if "swagger" in document:
        return str(document.get("basePath") or "").rstrip("/")
    servers = _list(document.get("servers"))
    address = str(servers[0].get("url", "")) if servers and isinstance(servers[0], Mapping) else ""
    return urlsplit(re.sub(r"\{[^}]*\}", "x", address)).path.rstrip("/")


def _described(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], shared: list[Any]
) -> Described:
    parameters = [_resolved(document, parameter) for parameter in [*shared, *_list(operation.get("parameters"))]]
    query = {str(p["name"]): bool(p.get("required")) for p in parameters if p.get("in") == "query" and "name" in p}
    in_body = next((p.get("schema") for p in parameters if p.get("in") == "body"), None)
    body_schema = in_body or _media_schema(_resolved(document, operation.get("requestBody")))
    answers = _mapping(operation.get("responses"))
    good = next((answers[code] for code in ("200", 200, "201", 201, "202", 202) if code in answers), None)
    good = _resolved(document, good)
    answer_schema = good.get("schema") or _media_schema(good)
    fields = _fields(document, answer_schema)
    return Described(
        method,
        path,
        query,
        _fields(document, body_schema),
        frozenset(fields),
        inferred=operation.get("x-confidence") == "inferred",
        notes=str(operation.get("x-notes") or ""),
        source=str(operation.get("x-source") or ""),
    )


def _media_schema(holder: Mapping[str, Any]) -> Any:
    content = _mapping(holder.get("content"))
    chosen = content.get("application/json") or next(iter(content.values()), None)
    return _mapping(chosen).get("schema")


def _fields(document: Mapping[str, Any], schema: Any, depth: int = 0) -> dict[str, bool]:
    """Return the names of an object's own fields, through references, alternatives, arrays and pages."""
    names: dict[str, bool] = {}
    resolved = _resolved(document, schema)
    if depth > 6 or not resolved:
        return names
    required = {str(name) for name in _list(resolved.get("required"))}
    properties = _mapping(resolved.get("properties"))
    if "items" in properties and len(properties) <= 6:  # a page: what matters is what it holds
        return _fields(document, properties["items"], depth + 1)
    names.update({str(name): str(name) in required for name in properties})
    for part in _list(resolved.get("allOf")):
        names.update(_fields(document, part, depth + 1))
    for name in ("oneOf", "anyOf"):
        for part in _list(resolved.get(name)):
            names.update(dict.fromkeys(_fields(document, part, depth + 1), False) | names)
    if "items" in resolved:
        names.update(_fields(document, resolved["items"], depth + 1))
    return names


def _resolved(document: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """Follow local references; anything that is not an object counts as an empty one."""
    for _ in range(10):
        if not isinstance(value, Mapping):
            return {}
        reference = value.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return value
        value = document
        for part in reference[2:].split("/"):
            value = _mapping(value).get(part.replace("~1", "/").replace("~0", "~"))
    return {}


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
