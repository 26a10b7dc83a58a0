"""Deleting and forgetting a customer, requests for data, and the end of an installation."""

from collections import Counter
from datetime import datetime

from plugin.errors import EngageNotFoundError
from plugin.events import CustomerDeleted, CustomerErased, DataRequested, ShopUninstalled
from plugin.store.inbox.keys import customer_key, guest_key
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import DELIVERED, Ignored, Outcome, Parked, Waiting


def handle_deleted(context: Context, event: CustomerDeleted) -> Outcome:
    """Erase what is stored here of a deleted customer."""
    return _erase(context, event.customer_id, (), ())


def handle_erased(context: Context, event: CustomerErased) -> Outcome:
    """Erase what is stored here of a person who is to be forgotten."""
    guest = tuple(text for text in (event.email, event.mobile_phone) if text)
    return _erase(context, event.customer_id, guest, event.order_ids)


def handle_data_request(context: Context, event: DataRequested) -> Outcome:  # noqa: ARG001
    """Put the request in front of a person: the law wants an answer within 30 days."""
    number = context.claimed.id
    return Parked(
        f"A shopper asks which data is stored of them. `engage-plugin data-request {number}` prints it: "
        f"answer through the shop, then `engage-plugin events discard {number} --why answered`.",
        "data_request",
        blocks_later_changes=False,
    )


def handle_uninstalled(context: Context, event: ShopUninstalled) -> Outcome:
    """Stop the shop's deliveries and delete its dead token; erase the data of its customers where it asks for that."""
    if _installed_since(context, event):
        if not event.erase:
            return Ignored("the plugin was installed again since")
        return Parked(
            "The shop asks for its data to be erased, but was installed again since. If it must go: "
            f"`engage-plugin shops erase {context.shop.name}`; then discard this event.",
            "shop_erasure",
            blocks_later_changes=False,
        )
    wish = " and its data was erased" if event.erase else ""
    context.stores.shops.uninstall(context.shop.id, f"The shop removed the plugin{wish}.")
    return _erase_shop(context) if event.erase else DELIVERED


def _installed_since(context: Context, event: ShopUninstalled) -> bool:
    """Return whether the present installation is newer than the event, which then came late."""
    installed_at = context.shop.credentials.get("installed_at")
    return isinstance(installed_at, str) and datetime.fromisoformat(installed_at) > event.occurred_at


def _erase_shop(context: Context) -> Outcome:
    """Erase in bounded steps, each stored with the event, so that nothing is repeated after a crash."""
    erasures, shop_id, event_id = context.stores.shop_erasures, context.shop.id, context.claimed.id
    progress = context.progress
    total = Counter(progress.erased or {})
    while done := erasures.erase_some(shop_id, context.now(), but=event_id):
        total.update(done)
        progress.erased = dict(total)
        context.save()
    if erasures.under_way(shop_id, but=event_id):
        return Waiting("Some of the shop's events are being worked on; they are erased after that.", context.lease)
    if not progress.recorded:
        erasures.record(shop_id, event_id, context.now(), dict(total))
        progress.recorded = True
        context.save()
    context.note("erase", ", ".join(f"{name}: {number}" for name, number in total.items()) or "nothing was stored")
    return DELIVERED


def _erase(context: Context, customer_id: str | None, guest: tuple[str, ...], order_ids: tuple[str, ...]) -> Outcome:
    link = None if customer_id is None else context.stores.links.find(context.shop, customer_id)
    # over an unverified link the contact may be another person's
    contact_id = link.contact_id if link is not None and link.verified else None
    if contact_id is not None and context.shop.settings.erase_in_engage:
        _delete_in_engage(context, contact_id, customer_id)
    keys = [customer_key(customer_id)] if customer_id is not None else []
    keys += [guest_key(text, context.stores.vault.digest) for text in guest]
    if contact_id is not None:
        _purge_cache(context, contact_id)
    done = context.stores.erasures.erase(
        context.shop,
        customer_id=customer_id,
        contact_id=contact_id,
        ordering_keys=keys,
        order_ids=order_ids,
        event_id=context.claimed.id,
        now=context.now(),
    )
    if contact_id is not None:
        _purge_cache(context, contact_id)  # a page may have been under way
    context.note("erase", ", ".join(f"{name}: {number}" for name, number in done.items()))
    context.on_commit(context.stores.erasures.request_emptied(context.claimed.id))
    return DELIVERED


def _delete_in_engage(context: Context, contact_id: str, customer_id: str | None) -> None:
    """Delete a contact that is this customer's alone."""
    if context.stores.erasures.is_anothers(context.shop, contact_id, customer_id):
        context.note("erase", "The contact stays in Engage: another customer of the shop is the same one.")
        return
    try:
        context.client.delete_contact(contact_id)
    except EngageNotFoundError:
        context.note("erase", "The contact was gone in Engage already.")


def _purge_cache(context: Context, contact_id: str) -> None:
    """Delete cached pages. Where the cache cannot be reached they are not used any more, and expire."""
    if not context.purge_cache(contact_id):
        context.note(
            "erase", "The cache of My Pages cannot be reached; what it holds is unreadable and ends within 24 h."
        )
