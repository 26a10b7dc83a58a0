"""The OpenAPI description of My Pages' JSON, generated from the view models, so that both agree."""

import inspect
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Union, get_args, get_origin, get_type_hints

from mypages.auth.sessions import SESSION_LIFETIME_S
from mypages.auth.visit import MessageKind
from mypages.http.page import CONTENT_NAMES
from mypages.views import models

PAGES: Mapping[str, type[Any]] = {
    "overview": models.Overview,
    "profile": models.Profile,
    "transactions": models.Purchases,
    "promotions": models.Promotions,
    "points": models.Points,
    "vouchers": models.Vouchers,
}
PAGED = ("transactions", "points")
_SHOP = {
    "name": "shop",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The shop's NAME.",
}
_PAGE = {"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}, "description": "1 is the newest."}
_SECURITY: list[dict[str, list[str]]] = [{"session": []}, {"bearer": []}]


@cache
def description() -> dict[str, Any]:
    """Return the whole description."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {f"/mypages/{{shop}}/{_path(name)}": {"get": _page(name, schemas)} for name in PAGES}
    paths["/mypages/{shop}/transactions/{id}"] = {"get": _page("transaction", schemas)}
    paths["/mypages/{shop}/profile"]["post"] = _edit(schemas)
    paths["/mypages/{shop}/reload"] = {"post": _reload(schemas)}
    paths["/mypages/{shop}/session"] = {"post": _session(schemas)}
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "My Pages",
            "version": _version(),
            "description": "What a logged-in shopper sees of Voyado Engage, for shops that draw their own pages. Ask with "
            "`Accept: application/json`. Amounts are texts in major units, times ISO 8601.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-engage-session"},
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A session's value, a one-time token of the shop, or the platform's own shopper token.",
                },
            },
        },
    }


def _page(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    kind = models.Receipt if name == "transaction" else PAGES[name]
    parameters: list[dict[str, Any]] = [_SHOP]
    if name in (*PAGED, "transaction"):
        parameters.append(_PAGE)
    if name == "transaction":
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}})
    common = {
        "part": {"type": "string", "enum": [name]},
        "locale": {"type": "string", "description": "The language and region that texts are in."},
        "linked": {"type": "boolean", "description": "Whether the shopper has a contact that may be shown."},
        "parts": {"type": "array", "items": {"type": "string"}, "description": "The parts that the tenant has."},
        "csrf": {"type": "string", "description": "For changes by cookie; empty for bearers, who need none."},
    }
    body = {
        "type": "object",
        "additionalProperties": False,
        "required": [*common, CONTENT_NAMES[name]],
        "properties": {**common, CONTENT_NAMES[name]: _schema(kind, schemas)},
    }
    sometimes = {"404": _error("There is no such part or purchase, or no such shop.", schemas)}
    return {
        "operationId": f"get_{name}",
        "summary": (inspect.getdoc(kind) or "").split("\n")[0],
        "parameters": parameters,
        "security": _SECURITY,
        "responses": {"200": _json("What the shopper has.", body), **sometimes, **_refusals(schemas)},
    }


def _edit(schemas: dict[str, Any]) -> dict[str, Any]:
    problems = {"type": "object", "additionalProperties": _schema(models.Problem, schemas)}
    taken = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "csrf": {"type": "string", "description": "From a page's JSON; bearers need none."},
            "fields": {"type": "object", "additionalProperties": {"type": "string"}, "example": {"city": "Lund"}},
            "preferences": {
                "type": "object",
                "additionalProperties": {"type": "boolean"},
                "example": {"acceptsEmail": True},
            },
        },
    }
    not_taken = {
        "type": "object",
        "additionalProperties": False,
        "required": ["error", "problems"],
        "properties": {"error": {"type": "string", "enum": ["not_taken"]}, "problems": problems},
    }
    saving = {
        "type": "object",
        "additionalProperties": False,
        "required": ["saving"],
        "properties": {"saving": {"type": "boolean"}},
    }
    return {
        "operationId": "change_profile",
        "summary": "Change fields and preferences that the shop lets shoppers change.",
        "parameters": [_SHOP],
        "security": _SECURITY,
        "requestBody": {"required": True, "content": {"application/json": {"schema": taken}}},
        "responses": {
            "202": _json("It is on its way to Engage; the profile shows it as being saved.", saving),
            "200": _json("Nothing is new in it.", saving),
            "400": _json("The body is something else, or names what may not be changed.", not_taken),
            "422": _json("Some values cannot be; nothing was changed.", not_taken),
            "403": _error("No verified link to a contact, or the csrf token is too old.", schemas),
            "404": _error("There is no such shop.", schemas),
            **_refusals(schemas),
        },
    }


def _reload(schemas: dict[str, Any]) -> dict[str, Any]:
    body = {"type": "object", "additionalProperties": False, "properties": {"csrf": {"type": "string"}}}
    answer = {
        "type": "object",
        "additionalProperties": False,
        "required": ["reloaded"],
        "properties": {"reloaded": {"type": "boolean"}},
    }
    return {
        "operationId": "reload",
        "summary": "Let the next pages come from Engage and not from the cache; at most once a minute.",
        "parameters": [_SHOP],
        "security": _SECURITY,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _json("Whether it counts; false within a minute after the last time.", answer),
            "403": _error("The csrf token is too old.", schemas),
            "404": _error("There is no such shop.", schemas),
            **_refusals(schemas),
        },
    }


def _session(schemas: dict[str, Any]) -> dict[str, Any]:
    body = {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}}
    answer = {
        "type": "object",
        "additionalProperties": False,
        "required": ["session", "expires_in"],
        "properties": {"session": {"type": "string"}, "expires_in": {"type": "integer", "example": SESSION_LIFETIME_S}},
    }
    return {
        "operationId": "start_session",
        "summary": "Turn a token of the shop, or of its platform, into a session. Each of the shop's tokens works once.",
        "parameters": [_SHOP],
        "security": [],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": body}}},
        "responses": {
            "200": _json("A session's value, to be sent as bearer; expires_in: seconds.", answer),
            "404": _error("There is no such shop.", schemas),
            **_refusals(schemas),
        },
    }


def _refusals(schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "401": _error("Nobody is logged in, or the token was refused.", schemas),
        "503": _error("Something is away; try again.", schemas),
    }


def _error(description: str, schemas: dict[str, Any]) -> dict[str, Any]:
    schemas["Error"] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["error", "login_url"],
        "properties": {"error": _schema(MessageKind, schemas), "login_url": {"type": "string"}},
    }
    return _json(description, {"$ref": "#/components/schemas/Error"})


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a member's type, and add the schemas of its classes to `schemas`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        inner = _schema(next(argument for argument in arguments if argument is not type(None)), schemas)
        return {"nullable": True, "allOf": [inner]} if "$ref" in inner else {**inner, "nullable": True}
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is not Ellipsis:
            return {"type": "array", "items": _schema(arguments[0], schemas), "minItems": 2, "maxItems": 2}
        return {"type": "array", "items": _schema(arguments[0], schemas)}
    if is_dataclass(kind):
        return _object(kind, schemas)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        schemas.setdefault(kind.__name__, {"type": "string", "enum": [str(member) for member in kind]})
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    return dict(_PLAIN[kind])


_PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    datetime: {"type": "string", "format": "date-time"},
}


def _object(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in schemas:
        schemas[name] = {}  # ends the recursion of a class that contains itself
        hints = get_type_hints(kind)
        properties = {entry.name: _schema(hints[entry.name], schemas) for entry in fields(kind)}
        schemas[name] = {
            "type": "object",
            "description": inspect.getdoc(kind),
            "additionalProperties": False,
            "required": list(properties),
            "properties": properties,
        }
    return {"$ref": f"#/components/schemas/{name}"}


def _path(name: str) -> str:
    return "" if name == "overview" else name


def _version() -> str:
    try:
        return version("engage-shop-plugin")
    except PackageNotFoundError:  # run from a checkout without an installation
        return "0"
