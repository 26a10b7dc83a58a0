"""The page at `/`: the sandbox's data, for people. It has no script, loads nothing from outside and reloads every 3 seconds."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice
from typing import Any

from plugin.sandbox.faults import FaultSettings
from plugin.sandbox.state import SandboxState, StoredReceipt
from plugin.sandbox.wire import parse_json

SHOWN = 50
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}caption{text-align:left}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{background:var(--soft)}td.number{text-align:right;font-variant-numeric:tabular-nums}
.table{overflow-x:auto}.faults{border:2px solid;padding:.5rem 1rem}
"""


class _Number(str):
    """A cell that is aligned to the right."""

    __slots__ = ()


def render_page(state: SandboxState, address: str) -> bytes:
    """Return the page as UTF-8 HTML; with the newest 50 of each kind. Everything that was received is escaped.

    address: the sandbox's own, for the commands that are shown.
    """
    data = state.data
    receipts = list(data.receipts.values())
    sections = [
        _faults(state.faults.settings, f"{address.rstrip('/')}/sandbox/faults"),
        _table("Contacts", len(data.contacts), ("Id", "Type", "Name", "E-mail", "Store", "Consents"), _contacts(state)),
        _table("Receipts", len(receipts), ("Id", "State", "Received", "Store", "Total", "Lines"), _receipts(receipts)),
        _table(
            "Redemptions",
            len(data.redemptions),
            ("Time", "Kind", "Id", "Channel", "Outcome"),
            ((r["time"], r["kind"], r["id"], r["channel"], r["outcome"]) for r in _newest(data.redemptions)),
        ),
        _table(
            "Stores",
            len(data.stores),
            ("External id", "Name", "Type", "Active"),
            ((s["externalId"], s["name"], s["type"], s["active"]) for s in _newest(list(data.stores.values()))),
        ),
        _table(
            "Integration log",
            len(data.integration_log),
            ("Time", "Kind", "Subject", "Outcome", "Reason"),
            ((n["time"], n["kind"], n["subject"], n["outcome"], n["reason"]) for n in _newest(data.integration_log)),
        ),
        _table(
            "Calls",
            state.last_sequence,
            ("Operation", "Status", "Calls"),
            ((name, status, _Number(n)) for (name, status), n in sorted(state.call_counts.items())),
        ),
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="3">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Engage sandbox</title>'
        f"<style>{_STYLE}</style></head><body><h1>Engage sandbox</h1>"
        "<p>A stand-in for Voyado Engage. Nothing leaves this machine; all data is lost when it stops.</p>"
    )
    return (head + "".join(sections) + "</body></html>").encode(errors="replace")


def _newest(items: Sequence[Any]) -> Iterable[Any]:
    return islice(reversed(items), SHOWN)


def _contacts(state: SandboxState) -> Iterable[Sequence[Any]]:
    for contact in islice(reversed(state.data.contacts.values()), SHOWN):
        attributes = contact.attributes
        name = " ".join(str(attributes[part]) for part in ("firstName", "lastName") if attributes.get(part))
        consents = ", ".join(f"{id_}: {'yes' if c['value'] else 'no'}" for id_, c in contact.consents.items())
        yield contact.id, contact.contact_type, name, attributes.get("email"), contact.store_external_id, consents


def _receipts(receipts: list[StoredReceipt]) -> Iterable[Sequence[Any]]:
    for receipt in _newest(receipts):
        body = parse_json(receipt.body)
        lines = "\n".join(
            f"{item['quantity']} × {item['articleName']} ({item['sku']}): {item['grossPaidPrice']}"
            for item in body["items"]
        )
        state = f"{receipt.state} ({receipt.reason})" if receipt.reason else receipt.state
        total = _Number(f"{body['totalGrossPrice']} {body['currency']}")
        times = _Number(f"{receipt.times_received}×")
        yield receipt.unique_receipt_id, state, times, body["storeExternalId"], total, lines


def _faults(settings: FaultSettings, address: str) -> str:
    plain = FaultSettings()
    names = FaultSettings.__dataclass_fields__
    changed = [
        f"{escape(name)} = {escape(str(getattr(settings, name)))}"
        for name in names
        if getattr(settings, name) != getattr(plain, name)
    ]
    active = f'<p class="faults">{"<br>".join(changed)}</p>' if changed else "<p>None is active.</p>"
    on, off = escape(f"""curl -d '{{"outage": true}}' {address}"""), escape(f"curl -X DELETE {address}")
    return (
        f"<h2>Faults</h2>{active}<p>Switch an outage on with <code>{on}</code>, and all faults off with "
        f"<code>{off}</code>. Others are set alike: {', '.join(names)}.</p>"
    )


def _table(title: str, total: int, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in headings)
    if not cells:
        return f"<h2>{escape(title)}</h2><p>None yet.</p>"
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>"
    return f'<h2>{escape(title)} ({total})</h2><div class="table">{table}</div>'


def _cell(value: Any) -> str:
    if isinstance(value, _Number):
        return f'<td class="number">{escape(value)}</td>'
    if value is None:
        return "<td></td>"
    text = value.isoformat(" ", "seconds") if hasattr(value, "isoformat") else str(value)
    return f"<td>{escape(text).replace(chr(10), '<br>')}</td>"
