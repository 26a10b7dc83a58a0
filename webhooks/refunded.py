"""How much of a refund is new: shops that name the sum given back, beside or instead of single refunds, count once."""

from dataclasses import replace
from decimal import Decimal

from plugin.events import Line, LineKind, OrderRefunded, Payment
from plugin.store.orders import StoredOrder


def only_what_is_new(event: OrderRefunded, order: StoredOrder) -> OrderRefunded | None:
    """Return the refund cut to what was not returned yet; None when nothing of it is new.

    Without a sum (`given_back_in_all`) a refund is as the shop says it is.
    """
    if event.given_back_in_all is None:
        return event
    others = [entry for name, entry in order.details.get("refunds", {}).items() if name != event.refund_id]
    returned = sum((Decimal(entry["total"]) for entry in others), Decimal(0))
    room = event.given_back_in_all - returned
    if room <= 0:
        return None
    if room >= event.total:
        return event
    rest = Line("amount", LineKind.AMOUNT, Decimal(1), room, Decimal(0), Decimal(0), name="Refund")
    payment = Payment(event.payments[0].type if event.payments else "other", room)
    return replace(event, total=room, lines=(rest,), payments=(payment,))
