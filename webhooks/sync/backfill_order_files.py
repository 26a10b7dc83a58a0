"""Historical orders as files, as Voyado asks for large amounts (docs/engage.md#import-delay-and-duplicates).

An order whose contact is linked goes into a file, its refunds after it; every other order goes through the inbox, where
the contact is found or created. A page's receipts are in finished files before the cursor moves past it: after a crash
they are written once more, and the importer ignores a receipt that it has already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from plugin.errors import ConflictError, PayloadError
from plugin.events import OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import PolledResource
from plugin.store.files.files import FallbackFiles
from plugin.store.orders.orders import StoredOrder, write_refund
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.runtime import Stores
from webhooks.contacts.identify import store_for
from webhooks.fallback.receipt_stream import ReceiptStream
from webhooks.orders.receipts import purchase_receipt, return_receipt
from webhooks.orders.records import order_record, refund_record
from webhooks.sync.backfill_customers import Page


@dataclass(frozen=True, slots=True)
class OrdersInFiles:
    """Writes pages of orders into files. folder_for: where a shop's files are on this machine."""

    stores: Stores
    files: FallbackFiles
    folder_for: Callable[[RegisteredShop], Path]
    clock: Callable[[], datetime]

    def check(self, shop: RegisteredShop) -> None:
        """Raise ConflictError when no file transfer is set up."""
        settings = shop.settings
        if settings.fallback_transfer == "sftp" and not settings.fallback_user:
            raise ConflictError(
                f"{shop.name} has no file transfer set up: see docs/fallback.md, or leave --files out to send orders by the API."
            )

    def write(self, shop: RegisteredShop, page: Page, resources: Sequence[PolledResource]) -> None:
        """Write the orders of a page that may go into files; add the rest to `page.single_events`. Raises FileFaultError."""
        orders: dict[str, StoredOrder] = {}
        refunds: list[OrderRefunded] = []
        with ReceiptStream(self.files, shop, self.folder_for(shop), self.clock) as stream:
            for resource in resources:
                try:
                    written = self._write_resource(shop, stream, resource, orders, refunds)
                except PayloadError as error:
                    page.refuse(resource.resource_id, f"payload:{error.field or 'body'}", str(error))
                    continue
                if written:
                    page.counts["in_files"] += 1
                else:
                    page.single_events.append(resource)
            stream.finish()
        self._record(shop, orders, refunds)

    def _write_resource(
        self,
        shop: RegisteredShop,
        stream: ReceiptStream,
        resource: PolledResource,
        orders: dict[str, StoredOrder],
        refunds: list[OrderRefunded],
    ) -> bool:
        """Write the receipts of one resource; return False when it must go through the inbox. Raises PayloadError.

        orders and refunds: those of the page that were written so far, to which its own are added.
        """
        platform = PLATFORMS[resource.platform or shop.platform]
        mapped = platform.normalise(Delivery(resource.topic, meta=resource.meta), resource.body, self.clock())
        receipts, paid, refunded = [], dict(orders), []
        for event in mapped.events:
            if isinstance(event, OrderPaid):
                order = self._order(shop, event)
                if order is None or event.order_id in paid:
                    return False
                paid[event.order_id] = order
                contact_id = str(order.contact_id)
                receipts.append(purchase_receipt(shop, event, contact_id, order.store_external_id, (), ()))
            elif isinstance(event, OrderRefunded):
                order = paid.get(event.order_id)
                if order is None or not event.lines or not event.total or event.total_refunded is not None:
                    return False
                receipts.append(return_receipt(shop, event, order))
                refunded.append(event)
            else:
                return False
        for receipt in receipts:
            stream.add(receipt)
        orders.update(paid)
        refunds += refunded
        return bool(receipts)

    def _order(self, shop: RegisteredShop, event: OrderPaid) -> StoredOrder | None:
        customer = event.customer
        link = None if customer.customer_id is None else self.stores.links.find(shop, customer.customer_id)
        if link is None:
            return None
        store = store_for(shop.settings, event.channel, event.country_code, customer.address.country_code)
        return order_record(shop, event, link.contact_id, store)

    def _record(self, shop: RegisteredShop, orders: dict[str, StoredOrder], refunds: Sequence[OrderRefunded]) -> None:
        """Store the orders and refunds of a page as sent, in one commit."""
        now, store = self.clock(), self.stores.orders
        if not orders:
            return
        with store.transaction() as session:
            for order_id, order in orders.items():
                store.write_first(session, shop, order, None)
                store.write_change(session, shop, order_id, receipt_sent_at=now)
            for refund in refunds:
                write_refund(session, shop, refund.order_id, refund.refund_id, refund_record(refund))
