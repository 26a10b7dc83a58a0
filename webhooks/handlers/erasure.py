"""Deleting and forgetting a customer, requests for data, and the end of an installation."""

from plugin.errors import EngageNotFoundError, ParkedError
from plugin.events import CustomerDeleted, CustomerErased, DataRequested, ShopUninstalled
from plugin.store.keys import customer_key
from webhooks.context import Context


def handle_deleted(context: Context, event: CustomerDeleted) -> None:
    """Erase what is kept here of a deleted customer."""
    _erase(context, event.customer_id, None, ())


def handle_erased(context: Context, event: CustomerErased) -> None:
    """Erase what is kept here of a person who is to be forgotten."""
    _erase(context, event.customer_id, event.email or event.mobile_phone, event.order_ids)


def handle_data_request(context: Context, event: DataRequested) -> None:  # noqa: ARG001
    """Put the request in front of a person: the law wants an answer within 30 days."""
    raise ParkedError(
        "A shopper asks which data is stored of them: answer through the shop, then discard this event with a note.",
        "data_request",
        holds=False,
    )


def handle_uninstalled(context: Context, event: ShopUninstalled) -> None:
    """Stop the shop's deliveries; its stored data is erased by a person or by the shop's own erasure request."""
    wish = " and asks for its data to be erased" if event.erase else ""
    context.stores.shops.stop(context.shop.id, f"The shop removed the plugin{wish}.")
    if event.erase:
        raise ParkedError("The shop asks for its data to be erased.", "shop_erasure", holds=False)


def _erase(context: Context, customer_id: str | None, guest: str | None, order_ids: tuple[str, ...]) -> None:
    link = None if customer_id is None else context.stores.contacts.link(context.shop, customer_id)
    if link is not None and link.verified and context.shop.settings.erase_in_engage:
        try:
            context.client.delete_contact(link.contact_id)
        except EngageNotFoundError:
            context.note("erase", "The contact was gone in Engage already.")
    keys = [customer_key(customer_id)] if customer_id is not None else []
    if guest is not None:
        keys.append(f"guest:{context.stores.vault.digest(guest.strip().lower())}")
    if link is not None:
        _forget_kept(context, link.contact_id)
    done = context.stores.erasures.erase(
        context.shop,
        customer_id=customer_id,
        contact_id=None if link is None else link.contact_id,
        ordering_keys=keys,
        order_ids=order_ids,
        event_id=context.claimed.id,
        now=context.now(),
    )
    if link is not None:
        _forget_kept(context, link.contact_id)  # a page may have been under way
    context.note("erase", ", ".join(f"{name}: {number}" for name, number in done.items()))


def _forget_kept(context: Context, contact_id: str) -> None:
    """Delete cached pages. Where the cache is away nothing leads to them any more, and they end by themselves."""
    if not context.forget_kept(contact_id):
        context.note(
            "erase", "The cache of My Pages cannot be reached; what it holds is unreadable and ends within 24 h."
        )
