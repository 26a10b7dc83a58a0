"""Readers of a shop's history in files: JSON Lines of webhook bodies, or CSV of customers or order lines.

A line of JSON Lines is an event of the Standard platform ("type", "timestamp", "data"), or an object of "topic" and
"body" as the shop's own platform sends them. A CSV has the columns of CUSTOMER_COLUMNS or ORDER_COLUMNS in any order,
separated by comma or semicolon; the lines of an order follow each other. The cursor is the number of the next line.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import groupby
from pathlib import Path
from typing import Any

import simplejson

from plugin.errors import ConfigurationError, PayloadError
from plugin.platforms.fields import parse_json, read_instant
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import PolledResource

STANDARD = "standard"
CUSTOMER_COLUMNS = (
    "id", "email", "email_verified", "phone", "phone_verified", "first_name", "last_name", "birth_date", "gender",
    "street", "care_of", "zip_code", "city", "country_code", "locale", "updated_at",
)  # fmt: skip
ORDER_COLUMNS = (
    "order_id", "order_number", "paid_at", "currency", "customer_id", "email", "email_verified", "phone", "country_code",
    "channel", "payment_type", "line_id", "kind", "sku", "article_number", "name", "group", "quantity", "gross_paid",
    "tax_amount", "tax_percent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line of a file that cannot be read as a customer or order, and why. cursor: as of PolledResource."""

    resource_id: str
    reason: str
    cursor: str


_LINE_FIELDS = (
    "kind", "sku", "article_number", "name", "group", "quantity", "gross_paid", "tax_amount", "tax_percent",
)  # fmt: skip
_ADDRESS = ("street", "care_of", "zip_code", "city", "country_code")
NO_TIME = "is not an ISO 8601 time with its offset, such as 2024-03-05T09:30:00+01:00"
_TRUE = frozenset({"1", "true", "yes"})


def count_lines(path: Path) -> int:
    """Return how many lines a file has, so that progress can be shown. Raises ConfigurationError."""
    with _open(path) as file:
        return sum(1 for _ in file)


def read_json_lines(
    path: Path, platform: str, cursor: str | None, now: datetime
) -> Iterator[PolledResource | Unreadable]:
    """Yield the resources of a JSON Lines file, and an Unreadable for each line that is not one.

    Raises ConfigurationError when the file cannot be read.
    """
    first = int(cursor or 0)
    with _open(path) as file:
        for number, line in enumerate(file):
            if number >= first and line.strip():
                yield _resource(line.strip().encode(), platform, number, now)


def read_csv(path: Path, what: str, cursor: str | None, now: datetime) -> Iterator[PolledResource | Unreadable]:
    """Yield the customers or orders of a CSV file as events of the Standard platform.

    Raises ConfigurationError when the file cannot be read or a needed column is missing.
    """
    first = int(cursor or 0)
    with _open(path, newline="") as file:
        head = file.readline()
        delimiter = ";" if head.count(";") > head.count(",") else ","
        columns = [name.strip().lower().lstrip("\ufeff") for name in next(csv.reader([head], delimiter=delimiter), [])]
        needed = ("order_id", "paid_at", "currency", "quantity", "gross_paid") if what == "orders" else ("id",)
        missing = [name for name in needed if name not in columns]
        if missing:
            known = ", ".join(ORDER_COLUMNS if what == "orders" else CUSTOMER_COLUMNS)
            raise ConfigurationError([f"{path} has no column {', '.join(missing)}; the columns are {known}."])
        rows = enumerate(csv.DictReader(file, columns, delimiter=delimiter), 1)
        if what == "customers":
            for number, row in rows:
                if number > first:
                    yield _customer(row, number, now)
            return
        for _, lines in groupby(rows, key=lambda numbered: numbered[1].get("order_id")):
            numbered = list(lines)
            if numbered[-1][0] > first:
                yield _order([row for _, row in numbered], numbered[-1][0])


def _open(path: Path, newline: str | None = None) -> Any:
    try:
        return path.open(encoding="utf-8", newline=newline, errors="replace")
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be read: {error.strerror}."]) from error


def _resource(line: bytes, platform: str, number: int, now: datetime) -> PolledResource | Unreadable:
    cursor, here = str(number + 1), f"line {number + 1}"
    try:
        event = parse_json(line)
    except PayloadError as error:
        return Unreadable(here, str(error), cursor)
    if isinstance(event.get("topic"), str) and isinstance(event.get("body"), dict):
        topic = event["topic"]
        body = simplejson.dumps(event["body"], use_decimal=True).encode()
    else:
        topic, platform, body = str(event.get("type")), STANDARD, line
    adapter = PLATFORMS[platform]
    if topic not in adapter.topics:
        return Unreadable(
            here, f"{topic!r} is not a topic of {adapter.name}; give topic and body, or type and data.", cursor
        )
    peek = adapter.peek(topic, body)
    return PolledResource(
        topic=topic,
        kind=adapter.topics[topic],
        resource_id=peek.order_id or peek.customer_id or here,
        body=body,
        changed_at=peek.occurred_at or now,
        cursor=cursor,
        platform=platform,
    )


def _customer(row: dict[str, str | None], number: int, now: datetime) -> PolledResource | Unreadable:
    values = _non_empty(row)
    address = {name: values.pop(name) for name in _ADDRESS if name in values}
    for name in ("email_verified", "phone_verified"):
        if name in values:
            values[name] = values[name].lower() in _TRUE
    changed_at = read_instant(values.get("updated_at", now.isoformat()))
    if changed_at is None:
        return Unreadable(f"line {number + 1}", f"updated_at {NO_TIME}", str(number))
    customer = {name: values[name] for name in CUSTOMER_COLUMNS if name in values and name not in _ADDRESS}
    if address:
        customer["address"] = address
    return _standard(
        "customer.updated", {"customer": customer}, values.get("id") or f"line {number + 1}", changed_at, number
    )


def _order(rows: list[dict[str, str | None]], number: int) -> PolledResource | Unreadable:
    first = _non_empty(rows[0])
    paid_at = read_instant(first.get("paid_at"))
    if paid_at is None:  # an order of unknown age must not count as a current one
        return Unreadable(first.get("order_id") or f"line {number + 1}", f"paid_at {NO_TIME}", str(number))
    lines = _order_lines(rows)
    order: dict[str, Any] = {
        "id": first.get("order_id", ""),
        "number": first.get("order_number") or first.get("order_id", ""),
        "currency": first.get("currency", ""),
        "lines": lines,
        "customer": _order_customer(first),
    }
    order |= {name: first[name] for name in ("paid_at", "channel", "country_code") if name in first}
    total = _total(lines)
    if total is not None:
        order["total"] = total
        order["payments"] = [{"type": first.get("payment_type") or "other", "amount": total}]
    return _standard("order.paid", {"order": order}, str(order["id"]) or f"line {number}", paid_at, number)


def _order_customer(row: dict[str, Any]) -> dict[str, Any]:
    columns = {"id": "customer_id", "email": "email", "phone": "phone"}
    customer: dict[str, Any] = {name: row[column] for name, column in columns.items() if column in row}
    if "email_verified" in row:
        customer["email_verified"] = row["email_verified"].lower() in _TRUE
    return customer


def _order_lines(rows: list[dict[str, str | None]]) -> list[dict[str, Any]]:
    lines = []
    for position, row in enumerate(rows, 1):
        values = _non_empty(row)
        line = {name: values[name] for name in _LINE_FIELDS if name in values}
        line["quantity"] = _number(line.get("quantity", "1"))
        lines.append({"id": values.get("line_id") or str(position), **line})
    return lines


def _total(lines: list[dict[str, Any]]) -> str | None:
    try:
        return str(sum((Decimal(line["gross_paid"]) for line in lines), Decimal(0)))
    except (KeyError, InvalidOperation):
        return None  # the mapping names the field


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text  # the mapping names the field


def _standard(topic: str, data: dict[str, Any], resource_id: str, at: datetime, number: int) -> PolledResource:
    return PolledResource(
        topic=topic,
        kind=PLATFORMS[STANDARD].topics[topic],
        resource_id=resource_id[:128],
        body=simplejson.dumps({"type": topic, "timestamp": at.isoformat(), "data": data}, use_decimal=True).encode(),
        changed_at=at,
        cursor=str(number),
        platform=STANDARD,
    )


def _non_empty(row: dict[str, str | None]) -> dict[str, Any]:
    return {name: value.strip() for name, value in row.items() if isinstance(value, str) and value.strip()}
