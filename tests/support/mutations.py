"""Damage: a body or a header's value changed as badly formed, hostile or merely odd senders would."""

import json
import random
from typing import Any

#: Values that have broken parsers, mappings or databases before.
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**30, 2**53 + 1, 1e308,
    "", " ", "0", "-1", "1e400000", "0.001", "NaN", "9" * 5000, "\x00", "\ud800", "\u202e", "é", "İ", "null",
    "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "'; --", "{}", [], {}, [[]], {"id": {"id": 1}},
    "gid://shopify/Customer/1", "gid://shopify/Customer/x", "VXNlcjox", "eve@example.com", "+46701234567", "XXX", "KWD",
]  # fmt: skip
#: Names under which platforms look for a person or an order.
NAMES = ("customer", "id", "order_id", "data", "customer_id", "user", "email")


def mutated(body: bytes, chance: random.Random) -> bytes:
    """Return a body changed in one to four places: mostly as JSON, else as bytes."""
    if chance.random() < 0.75:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return _damaged(body, chance)
        for _ in range(chance.randint(1, 4)):
            value = _changed(value, chance)
        return json.dumps(value).encode("utf-8", "surrogatepass")
    return _damaged(body, chance)


def odd_text(chance: random.Random) -> str:
    """Return a header's value that HTTP can carry (latin-1, one line)."""
    kind = chance.randrange(6)
    if kind == 0:
        return ""
    if kind == 1:
        return "".join(chr(chance.randrange(32, 127)) for _ in range(chance.randrange(1, 60)))
    if kind == 2:
        return "".join(chr(chance.randrange(160, 256)) for _ in range(chance.randrange(1, 60)))
    if kind == 3:
        return chance.choice(
            ["v1,", "====", "a,b", "0" * 64, "A" * 44, "..", "eyJhbGciOiJub25lIn0..", "null", "-1", "9" * 40]
        )
    if kind == 4:
        return "x" * chance.randrange(100, 5000)
    return chance.choice(
        ["orders/paid", "order.updated", "order_fully_paid", "kiosk.myshopify.com", "other.myshopify.com", "true"]
    )


def _paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(path for key, inner in entries for path in _paths(inner, (*prefix, key)))]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def _removed(value: Any, path: tuple[Any, ...]) -> Any:
    holder = _at(value, path[:-1])
    copy = dict(holder) if isinstance(holder, dict) else list(holder)
    del copy[path[-1]]
    return _replaced(value, path[:-1], copy)


def _changed(value: Any, chance: random.Random) -> Any:
    """Replace, remove, double, move or wrap one part."""
    paths = _paths(value)
    path = chance.choice(paths)
    kind = chance.randrange(6)
    if kind <= 1 or not path:
        return _replaced(value, path, chance.choice(ODD)) if path else value
    if kind == 2:
        return _removed(value, path)
    if kind == 3:
        return _replaced(value, path, _at(value, chance.choice(paths)))  # something of the body in another's place
    if kind == 4:
        return _replaced(value, path, [_at(value, path)] * chance.randint(1, 3))
    holder = _at(value, path[:-1])
    if isinstance(holder, dict):
        return _replaced(value, path[:-1], {**holder, chance.choice(NAMES): _at(value, chance.choice(paths))})
    return _replaced(value, path, {"x": _at(value, path)})


def _damaged(body: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(9)
    where = chance.randrange(len(body) + 1)
    if kind == 0:
        return body[:where]
    if kind == 1:
        return body[:where] + bytes([chance.randrange(256)]) + body[where + 1 :]
    if kind == 2:
        return body[:where] + chance.randbytes(chance.randrange(1, 9)) + body[where:]
    if kind == 3:
        return chance.randbytes(chance.randrange(200))
    if kind == 4:
        return b""
    if kind == 5:
        return b"\xef\xbb\xbf" + body
    if kind == 6:
        return body + body
    if kind == 7:
        return b"[" * 3000
    return chance.choice([b"null", b"[]", b"1", b'"x"', b"{}", b"NaN", b'{"id": NaN}', b'{"id": 1e999}', b"a=b&c=d"])
