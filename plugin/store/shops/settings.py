"""Every setting of a shop, declared once: type, parser, meaning and default. `shops set` writes them, no restart needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from plugin.errors import ConfigurationError
from plugin.store.shops.setting_parsers import (
    any_text,
    boolean,
    colour,
    currency,
    handle,
    host_key,
    local_path,
    name_list,
    name_pairs,
    one_of,
    optional_handle,
    origins,
    picture_url,
    reactivation_path,
    remote_path,
    texts_by_language,
    time_zone,
    url,
    whole_number,
)

T = TypeVar("T")
#: What a shopper may change on My Pages by default: not the key of the contact, and not what clubs check (birthday).
EDITABLE_FIELDS = (
    "firstName", "lastName", "mobilePhone", "street", "careOf", "zipCode", "city", "acceptsEmail", "acceptsSms", "acceptsPostal",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """How a setting's text is read, and what it means."""

    read: Callable[[str], Any]
    meaning: str


def _setting(read: Callable[[str], T], meaning: str, default: T) -> T:
    """Declare a setting as a field. read: turns the stored text into a value, or raises ValueError that says what is wrong."""
    metadata = {"setting": Setting(read, meaning)}
    if isinstance(default, dict):
        return cast("T", field(default_factory=dict, metadata=metadata))
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The settings of one shop, read from its row."""

    store: str = field(
        metadata={
            "setting": Setting(
                handle, "externalId of the Engage store that contacts are created in and receipts belong to"
            )
        }
    )
    source: str = _setting(handle, "source of new contacts; Voyado must have registered it", "ECOM")
    contact_type: str = _setting(handle, "contact type of customers with an account", "Member")
    guest_contact_type: str = _setting(
        handle, "contact type of guests; the same as contact_type makes everybody a member", "Contact"
    )
    guest_orders: bool = _setting(boolean, "whether orders of guests are sent (yes or no)", True)
    key_attribute: str = _setting(
        one_of("email", "mobilePhone", "externalId"),
        "key attribute of the contact type (email, mobilePhone, externalId)",
        "email",
    )
    email_trust: str = _setting(
        one_of("verified", "always"), "whose e-mail finds a contact: verified only, or always", "verified"
    )
    send_external_id: bool = _setting(
        boolean, "whether the shop's customer id is stored in externalId (yes or no)", True
    )
    redeem_wait_s: int = _setting(
        whole_number(0, 7 * 86400), "seconds that a failing redemption may hold its receipt", 3600
    )
    give_up_after_h: int = _setting(
        whole_number(1, 24 * 90), "hours of retries before an event is parked, breaker time not counted", 72
    )
    order_wait_s: int = _setting(
        whole_number(0, 7 * 86400), "seconds that a refund waits for its unknown order before it is parked", 3600
    )
    parked_hold_contacts: bool = _setting(
        boolean, "whether a parked event holds the same customer's later contact changes", True
    )
    bulk_from: int = _setting(
        whole_number(0, 1_000_000),
        "how many waiting profile changes go through the bulk API, merged per contact; 0 for never",
        500,
    )
    group_currency: str = _setting(currency, "the tenant's group currency, for exchange rates (ISO 4217)", "")
    shipping_sku: str = _setting(handle, "SKU of shipping on receipts", "SHIPPING")
    fee_sku: str = _setting(handle, "SKU of fees on receipts", "FEE")
    tip_sku: str = _setting(handle, "SKU of tips on receipts", "TIP")
    refund_sku: str = _setting(handle, "SKU of a refunded amount without lines", "REFUND")
    voucher_field: str = _setting(
        handle,
        "name of the receipt field that lists used vouchers (inferred, compare the tenant's Swagger)",
        "usedRewardVouchers",
    )
    reactivate_promotions: str = _setting(
        reactivation_path,
        "path that gives a promotion back after a cancellation or full return; empty for never, because none is documented: "
        "/api/v3/promotion-assignments/{assignmentId}/reactivate is inferred, ask Voyado",
        "",
    )
    checkout_origins: str = _setting(origins, "origins whose pages may ask /api/checkout from a shopper's browser", "")
    country_stores: Mapping[str, str] = _setting(
        name_pairs, "country or channel to store, such as SE:web-se,NO:web-no; else `store` is used", {}
    )
    consent_ids: Mapping[str, str] = _setting(
        name_pairs, "shop consent to Engage consent id, such as newsletter:newsletterConsent", {}
    )
    consent_fields: Mapping[str, str] = _setting(
        name_pairs,
        "shop field of a customer that holds a yes or no (metadata.accepts_email in Saleor, a meta_data key in WooCommerce) to "
        "email, sms, postal or another consent, with the field of its time where it has one: newsletter:email@newsletter_at",
        {},
    )
    attributes: Mapping[str, str] = _setting(
        name_pairs, "shop field to Engage attribute, such as customer.size:shoeSize", {}
    )
    receipt_extra: Mapping[str, str] = _setting(name_pairs, "shop order field to extraData name on receipts", {})
    erase_in_engage: bool = _setting(
        boolean, "whether erasing a customer in the shop deletes the contact in Engage too", False
    )
    keep_bodies_days: int = _setting(whole_number(0, 3650), "days that bodies of finished events are stored", 30)
    login_url: str = _setting(url, "the shop's login page, shown to shoppers without a session", "")
    page_title: str = _setting(any_text, "name of the shop on My Pages; else the shop's NAME", "")
    theme_accent: str = _setting(
        colour, "colour of buttons and links on My Pages, such as #1b5e4b; made readable where it is not", ""
    )
    theme_scheme: str = _setting(
        one_of("auto", "light", "dark"),
        "light or dark My Pages; auto follows the shopper's device (auto, light, dark)",
        "auto",
    )
    theme_corners: str = _setting(
        one_of("square", "soft", "round"), "corners of My Pages (square, soft, round)", "soft"
    )
    theme_font: str = _setting(
        one_of("system", "humanist", "serif"), "kind of letters; none is fetched (system, humanist, serif)", "system"
    )
    theme_logo_url: str = _setting(
        picture_url, "the shop's logo, on the host of login_url or frame_ancestors; otherwise the title is text", ""
    )
    theme_welcome: Mapping[str, str] = _setting(
        texts_by_language, 'a line under the greeting: a text, or by language {"sv": "...", "": "..."}', {}
    )
    theme_help: Mapping[str, str] = _setting(
        texts_by_language, "a line at the foot of each page, such as opening hours: a text, or by language", {}
    )
    theme_help_url: str = _setting(url, "where the line at the foot leads to", "")
    locale: str = _setting(
        optional_handle, "language of My Pages, such as sv-SE; empty: the contact, then the browser decides", ""
    )
    time_zone: str = _setting(
        time_zone, "zone of the times on receipts, such as Europe/Stockholm: Engage prefers local time", "UTC"
    )
    transactions_path: str = _setting(
        one_of("list_transactions", "list_contact_transactions"),
        "which of two candidate addresses the tenant answers for purchase history; found out by itself",
        "list_transactions",
    )
    frame_ancestors: str = _setting(origins, "origins that may show My Pages in a frame", "")
    fallback: bool = _setting(
        boolean, "whether receipts go to Engage as files while its API stays away (yes or no)", False
    )
    fallback_transfer: str = _setting(
        one_of("sftp", "folder"), "how files leave: sftp, or folder for merchants who move them themselves", "sftp"
    )
    fallback_host: str = _setting(handle, "the SFTP server", "ftp.voyado.com")
    fallback_port: int = _setting(whole_number(1, 65535), "its port", 22)
    fallback_user: str = _setting(
        any_text, "the user there; also fallback_password= or fallback_key=@FILE, stored encrypted", ""
    )
    fallback_host_key: str = _setting(
        host_key, "the server's pinned host key; `engage-plugin fallback check` shows it", ""
    )
    fallback_base: str = _setting(remote_path, "folder under which the folders below lie", "")
    fallback_receipts_folder: str = _setting(remote_path, "folder for receipts", "integration/transactionImport")
    fallback_contacts_folder: str = _setting(remote_path, "folder for contacts; empty keeps such files here", "")
    fallback_redemptions_folder: str = _setting(remote_path, "folder for redemptions; empty keeps such files here", "")
    fallback_contacts: str = _setting(
        one_of("bulk", "file"), "whether changes of known contacts wait for the bulk API, or go to a file too", "bulk"
    )
    fallback_folder: str = _setting(
        local_path,
        "with fallback_transfer=folder: where files are placed; empty for STATE_DIR/fallback/NAME/outbox",
        "",
    )
    fallback_receipts_xslt: str = _setting(local_path, "style sheet (XSLT 1.0) that reshapes receipts files", "")
    fallback_contacts_xslt: str = _setting(local_path, "style sheet that reshapes contacts files", "")
    fallback_redemptions_xslt: str = _setting(local_path, "style sheet that reshapes redemptions files", "")
    fallback_lines: int = _setting(whole_number(100, 20_000), "number of lines that every file stays below", 20_000)
    fallback_keep_days: int = _setting(whole_number(0, 365), "days that a file stays here after it was picked up", 7)
    watch: bool = _setting(
        boolean, "whether the shop's webhook subscriptions are checked and missed changes looked for", True
    )
    repair_webhooks: bool = _setting(
        boolean, "whether wrong webhook subscriptions are repaired at the shop, or only reported", True
    )
    poll_missed: bool = _setting(
        boolean, "whether changes that no webhook reported are fetched from the shop's API", True
    )
    backfill_months: int = _setting(
        whole_number(1, 600), "how old, in months, an order of the history may be to be sent", 24
    )
    backfill_new: str = _setting(
        one_of("single", "bulk"),
        "how customers of the history without a contact are created: single, in their store, or bulk, without one",
        "single",
    )
    reconcile_daily: bool = _setting(boolean, "whether shop, inbox and Engage are compared once a day", False)
    reconcile_sample: int = _setting(whole_number(0, 1000), "how many contacts a reconciliation asks Engage about", 20)
    signup_url: str = _setting(url, "where a shopper without a contact signs up for the programme", "")
    editable_fields: tuple[str, ...] = _setting(
        name_list,
        "attributes and preferences of Engage that shoppers may change on My Pages, by commas; none for nothing",
        EDITABLE_FIELDS,
    )
    points: str = _setting(
        one_of("auto", "yes", "no"), "whether My Pages show points; auto finds out from Engage's answers", "auto"
    )
    vouchers: str = _setting(
        one_of("auto", "yes", "no"),
        "whether My Pages show reward vouchers; auto finds out from Engage's answers",
        "auto",
    )
    points_found: str = _setting(one_of("yes", "no"), "what auto found out of points; empty it to find out again", "")
    vouchers_found: str = _setting(
        one_of("yes", "no"), "what auto found out of vouchers; empty it to find out again", ""
    )


SETTINGS: Mapping[str, Setting] = {entry.name: entry.metadata["setting"] for entry in fields(ShopSettings)}


def parse_settings(stored: Mapping[str, str]) -> ShopSettings:
    """Turn stored texts into typed settings, defaults where nothing is stored.

    Raises ConfigurationError that lists every fault.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    for name, text in stored.items():
        setting = SETTINGS.get(name)
        if setting is None:
            faults.append(f"{name}: no such setting; `engage-plugin shops show NAME` lists them")
            continue
        try:
            values[name] = setting.read(text)
        except ValueError as error:
            faults.append(f"{name}={text!r} {error}")
    if "store" not in stored:
        faults.append("store: is needed, because the store a contact is created in can never be changed")
    logo = urlsplit(values.get("theme_logo_url", "")).hostname
    own = (values.get("login_url", ""), *values.get("frame_ancestors", "").split())
    if logo and logo not in {urlsplit(address).hostname for address in own}:
        faults.append("theme_logo_url: must lie on the host of login_url or of one of frame_ancestors; set that first")
    if faults:
        raise ConfigurationError(faults)
    return ShopSettings(**values)


def defaults() -> dict[str, str]:
    """Return each setting's default as an operator would type it; `store` has none."""
    shown = {}
    for entry in fields(ShopSettings):
        value = ",".join(entry.default) if isinstance(entry.default, tuple) else entry.default
        value = value if isinstance(value, (str, bool, int)) else ""
        shown[entry.name] = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return shown
