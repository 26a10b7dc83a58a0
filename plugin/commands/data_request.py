"""`engage-plugin data-request`: print the stored data of a shopper who asked for it."""

import click

from plugin.app import Services
from plugin.commands.common import open_services, report_errors, show
from plugin.errors import ConflictError
from plugin.events import DataRequested
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.store.inbox.keys import customer_key, guest_key
from plugin.store.privacy.data_requests import DataRequests, DataSubject


@click.command("data-request")
@click.argument("event_id", type=int)
@report_errors
def data_request(event_id: int) -> None:
    """Print as JSON what this plugin stores about the shopper whose request for data is parked. Nothing is changed.

    Example: engage-plugin data-request 42 > answer.json
    """
    with open_services() as services:
        row, _ = services.event_admin.show(event_id)
        shop = services.stores.shops.get(row.shop)
        data = DataRequests(services.database).gather(shop, _subject(services, event_id))
        show({"request": event_id, **data})
        click.echo(
            f"When it is answered: engage-plugin events discard {event_id} --why answered. What Engage stores about the "
            "contacts above is exported there.",
            err=True,
        )


def _subject(services: Services, event_id: int) -> DataSubject:
    """Return who asks. Raises ConflictError if the event is not a request for data, or its body was deleted."""
    stored = services.event_admin.stored(event_id)
    if stored.body:
        delivery = Delivery(stored.topic, meta=stored.meta)
        mapped = PLATFORMS[stored.platform].normalise(delivery, stored.body, stored.received_at)
        for event in mapped.events:
            if isinstance(event, DataRequested):
                return _subject_of(services, event)
    raise ConflictError(f"Event {event_id} is not a request for data, or its body is no longer stored.")


def _subject_of(services: Services, event: DataRequested) -> DataSubject:
    keys = [customer_key(event.customer_id)] if event.customer_id else []
    guests = [text for text in (event.email, event.mobile_phone) if text]
    keys += [guest_key(text, services.vault.digest) for text in guests]
    return DataSubject(event.customer_id, keys, event.order_ids)
