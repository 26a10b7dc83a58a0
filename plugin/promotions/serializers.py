"""Promotions, assignments and reports as JSON, the same from the command and over HTTP. They contain no e-mail of a list."""

from collections.abc import Sequence
from typing import Any

from plugin.engage.data.models import Money, Promotion, PromotionAssignment
from plugin.promotions.bulk_assignment import Report
from plugin.promotions.recipients import Recipient
from plugin.promotions.service import ListedPromotion
from plugin.store.orders.promotions import StoredRow


def promotion_json(promotion: Promotion) -> dict[str, Any]:
    """Return a promotion under both of its names."""
    channel = next((c for c in promotion.redemption_channels if c.type == "ECOM"), None)
    value = channel.value if channel else None
    return {
        "promotion_id": promotion.id,
        "external_id": promotion.external_id,
        "name": promotion.name,
        "status": promotion.status,
        "value_type": channel.value_type if channel else None,
        "value": str(value.amount) if isinstance(value, Money) else None if value is None else str(value),
    }


def listed_promotion_json(entry: ListedPromotion) -> dict[str, Any]:
    """Return a promotion that was created here, with its present status."""
    known = entry.known
    return {
        "promotion_id": known.promotion_id,
        "external_id": known.external_id,
        "name": known.name,
        "status": entry.status,
        "value_type": known.value_type,
        "value": known.value,
        "created_at": known.created_at.isoformat(),
    }


def assignment_json(assignment: PromotionAssignment) -> dict[str, Any]:
    """Return a contact's assignment: its id is the one to redeem."""
    return {
        "assignment_id": assignment.id,
        "promotion_id": assignment.promotion_id,
        "external_id": assignment.external_id,
        "redeemed": assignment.redeemed,
        "redeemed_on": assignment.redeemed_on.isoformat() if assignment.redeemed_on else None,
        "expires_on": assignment.expires_on.isoformat() if assignment.expires_on else None,
    }


def report_json(report: Report, recipients: Sequence[Recipient]) -> dict[str, Any]:
    """Return the result of a list, row by row."""
    lines = {recipient.position: recipient.line for recipient in recipients}
    return {
        "counts": dict(report.counts),
        "rows": [row_json(row, lines.get(row.position, row.position)) for row in report.rows],
    }


def row_json(row: StoredRow, line: int) -> dict[str, Any]:
    """Return a row; line: of the file."""
    return {
        "row": row.position,
        "line": line,
        "state": row.state.value,
        "assignment_id": row.assignment_id,
        "reason": row.reason,
    }
