"""Every setting of a shop: typed, with its default and its meaning. `shops set` writes them, no restart needed."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from plugin.errors import ConfigurationError

_HANDLE = re.compile(r"^[\w.\-]{1,64}$")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
#: An address that can stand in a Content-Security-Policy as it is: no query, no fragment, no sign that means something there.
_PICTURE = re.compile(r"(https|http)://[a-z0-9.\-]{1,253}(:[0-9]{1,5})?/[A-Za-z0-9._~/%@+\-]{1,300}")
_LANGUAGE = re.compile(r"[a-z]{2}")
_MAX_TEXT = 300
#: What a shopper may change on My Pages by default: not the key of the contact, and not what clubs check (birthday).
EDITABLE_FIELDS = (
    "firstName", "lastName", "mobilePhone", "street", "careOf", "zipCode", "city", "acceptsEmail", "acceptsSms", "acceptsPostal",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The settings of one shop, read from its row. See SETTINGS for what each one means."""

    store: str
    source: str = "ECOM"
    contact_type: str = "Member"
    guest_contact_type: str = "Contact"
    guest_orders: bool = True
    key_attribute: str = "email"
    email_trust: str = "verified"
    send_external_id: bool = True
    redeem_wait_s: int = 3600
    give_up_after_h: int = 72
    order_wait_s: int = 3600
    parked_hold_contacts: bool = True
    bulk_from: int = 500
    group_currency: str = ""
    shipping_sku: str = "SHIPPING"
    fee_sku: str = "FEE"
    tip_sku: str = "TIP"
    refund_sku: str = "REFUND"
    voucher_field: str = "usedRewardVouchers"
    reactivate_promotions: str = ""
    checkout_origins: str = ""
    country_stores: Mapping[str, str] = field(default_factory=dict)
    consent_ids: Mapping[str, str] = field(default_factory=dict)
    consent_fields: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    receipt_extra: Mapping[str, str] = field(default_factory=dict)
    erase_in_engage: bool = False
    keep_bodies_days: int = 30
    login_url: str = ""
    page_title: str = ""
    theme_accent: str = ""
    theme_scheme: str = "auto"
    theme_corners: str = "soft"
    theme_font: str = "system"
    theme_logo_url: str = ""
    theme_welcome: Mapping[str, str] = field(default_factory=dict)
    theme_help: Mapping[str, str] = field(default_factory=dict)
    theme_help_url: str = ""
    locale: str = ""
    time_zone: str = "UTC"
    transactions_path: str = "list_transactions"
    frame_ancestors: str = ""
    fallback: bool = False
    fallback_transfer: str = "sftp"
    fallback_host: str = "ftp.voyado.com"
    fallback_port: int = 22
    fallback_user: str = ""
    fallback_host_key: str = ""
    fallback_base: str = ""
    fallback_receipts_folder: str = "integration/transactionImport"
    fallback_contacts_folder: str = ""
    fallback_redemptions_folder: str = ""
    fallback_contacts: str = "bulk"
    fallback_folder: str = ""
    fallback_receipts_xslt: str = ""
    fallback_contacts_xslt: str = ""
    fallback_redemptions_xslt: str = ""
    fallback_lines: int = 20_000
    fallback_keep_days: int = 7
    watch: bool = True
    repair_webhooks: bool = True
    poll_missed: bool = True
    backfill_months: int = 24
    backfill_new: str = "single"
    reconcile_daily: bool = False
    reconcile_sample: int = 20
    signup_url: str = ""
    editable_fields: tuple[str, ...] = EDITABLE_FIELDS
    points: str = "auto"
    vouchers: str = "auto"
    points_found: str = ""
    vouchers_found: str = ""


def _boolean(text: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError("must be yes or no")
    return words[text.lower()]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return read


def _handle(text: str) -> str:
    if not _HANDLE.match(text):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores")
    return text


def _handle_or_nothing(text: str) -> str:
    return _handle(text) if text else ""


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone such as Europe/Stockholm") from None
    return text


def _text(text: str) -> str:
    return text


def _currency(text: str) -> str:
    if text and not re.fullmatch(r"[A-Z]{3}", text):
        raise ValueError("must be a currency code of three capitals (ISO 4217), or empty")
    return text


def _address(text: str) -> str:
    # a line break would end as a fault of every answer that leads there
    if text and (
        urlsplit(text).scheme not in {"http", "https"}
        or not urlsplit(text).hostname
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError("must be an address that begins with https:// and has no spaces, or empty")
    return text


def _colour(text: str) -> str:
    if text and not _COLOUR.fullmatch(text):
        raise ValueError("must be a colour such as #1b5e4b, or empty")
    return text.lower()


def _picture(text: str) -> str:
    loopback = urlsplit(text).hostname in {"127.0.0.1", "localhost"}
    if text and (not _PICTURE.fullmatch(text) or not (text.startswith("https://") or loopback)):
        raise ValueError("must be an https address of a picture, without a query, or empty")
    return text


def _texts(text: str) -> dict[str, str]:
    """Read one text for all languages, or a JSON object of texts by language ("" for the rest)."""
    found: dict[str, Any] = {"": text} if text else {}
    if text.strip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            raise ValueError("is no JSON object") from None
    for language, words in found.items():
        if language and not _LANGUAGE.fullmatch(language):
            raise ValueError(f"has {language!r} where a language of two letters is wanted, such as sv")
        if not isinstance(words, str) or len(words) > _MAX_TEXT or not words.isprintable():
            raise ValueError(f"must be texts of one line, at most {_MAX_TEXT} characters each")
    return found


def _origins(text: str) -> str:
    for origin in text.split():
        parts = urlsplit(origin)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.path
            or any(c in origin for c in ";,'\"")
        ):
            raise ValueError("must be origins such as https://shop.example, separated by spaces")
    return " ".join(text.split())


def _reactivation_path(text: str) -> str:
    if text and not re.fullmatch(r"/api/[\w./\-]*\{assignmentId\}[\w./\-]*", text):
        raise ValueError("must be a path that begins with /api/ and has {assignmentId} in it, or empty")
    return text


def _host_key(text: str) -> str:
    if text and not re.fullmatch(r"(\S+ )?(ssh-|ecdsa-)\S+ [A-Za-z0-9+/]+=*( .*)?", text):
        raise ValueError("must be TYPE BASE64 as `engage-plugin fallback check NAME` shows it, or empty")
    return text


def _remote_path(text: str) -> str:
    if ".." in text.split("/") or any(ord(letter) < 32 for letter in text):
        raise ValueError("must be a path of folders without ..")
    return text.rstrip("/")


def _local_path(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError("must be a path that begins with /, or empty")
    return text


def _names(text: str) -> dict[str, str]:
    """Read NAME:VALUE pairs separated by commas, or a JSON object of texts."""
    if text.strip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            raise ValueError("is no JSON object") from None
        if not all(isinstance(value, str) for value in found.values()):
            raise ValueError("must hold texts only")
        return dict(found)
    pairs: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = pair.partition(":")
        if not separator or not name.strip() or not value.strip():
            raise ValueError("must be pairs NAME:VALUE separated by commas")
        pairs[name.strip()] = value.strip()
    return pairs


def _list(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    odd = [name for name in names if not _HANDLE.match(name)]
    if odd:
        raise ValueError(f"must be names separated by commas, not {odd[0]!r}")
    return () if names == ("none",) else names


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: how its text is read and what it means."""

    read: Callable[[str], Any]
    meaning: str


SETTINGS: Mapping[str, Setting] = {
    "store": Setting(_handle, "externalId of the Engage store that contacts are created in and receipts belong to"),
    "source": Setting(_handle, "source of new contacts; Voyado must have registered it"),
    "contact_type": Setting(_handle, "contact type of customers with an account"),
    "guest_contact_type": Setting(_handle, "contact type of guests; the same as contact_type makes everybody a member"),
    "guest_orders": Setting(_boolean, "whether orders of guests are sent (yes or no)"),
    "key_attribute": Setting(
        _one_of("email", "mobilePhone", "externalId"),
        "key attribute of the contact type (email, mobilePhone, externalId)",
    ),
    "email_trust": Setting(_one_of("verified", "always"), "whose e-mail finds a contact: verified only, or always"),
    "send_external_id": Setting(_boolean, "whether the shop's customer id is stored in externalId (yes or no)"),
    "redeem_wait_s": Setting(_whole(0, 7 * 86400), "seconds that a failing redemption may hold its receipt"),
    "give_up_after_h": Setting(
        _whole(1, 24 * 90), "hours of retries before an event is parked, breaker time not counted"
    ),
    "order_wait_s": Setting(
        _whole(0, 7 * 86400), "seconds that a refund waits for its unknown order before it is parked"
    ),
    "parked_hold_contacts": Setting(_boolean, "whether a parked event holds the same customer's later contact changes"),
    "bulk_from": Setting(
        _whole(0, 1_000_000),
        "how many waiting profile changes go through the bulk API, merged per contact; 0 for never",
    ),
    "group_currency": Setting(_currency, "the tenant's group currency, for exchange rates (ISO 4217)"),
    "shipping_sku": Setting(_handle, "SKU of shipping on receipts"),
    "fee_sku": Setting(_handle, "SKU of fees on receipts"),
    "tip_sku": Setting(_handle, "SKU of tips on receipts"),
    "refund_sku": Setting(_handle, "SKU of a refunded amount without lines"),
    "voucher_field": Setting(
        _handle, "name of the receipt field that lists used vouchers (inferred, compare the tenant's Swagger)"
    ),
    "reactivate_promotions": Setting(
        _reactivation_path,
        "path that gives a promotion back after a cancellation or full return; empty for never, because none is documented: "
        "/api/v3/promotion-assignments/{assignmentId}/reactivate is inferred, ask Voyado",
    ),
    "checkout_origins": Setting(_origins, "origins whose pages may ask /api/checkout from a shopper's browser"),
    "country_stores": Setting(_names, "country or channel to store, such as SE:web-se,NO:web-no; else `store` is used"),
    "consent_ids": Setting(_names, "shop consent to Engage consent id, such as newsletter:newsletterConsent"),
    "consent_fields": Setting(
        _names,
        "shop field of a customer that holds a yes or no (metadata.accepts_email in Saleor, a meta_data key in WooCommerce) to "
        "email, sms, postal or another consent, with the field of its time where it has one: newsletter:email@newsletter_at",
    ),
    "attributes": Setting(_names, "shop field to Engage attribute, such as customer.size:shoeSize"),
    "receipt_extra": Setting(_names, "shop order field to extraData name on receipts"),
    "erase_in_engage": Setting(_boolean, "whether erasing a customer in the shop deletes the contact in Engage too"),
    "keep_bodies_days": Setting(_whole(0, 3650), "days that bodies of finished events are kept"),
    "login_url": Setting(_address, "the shop's login page, shown to shoppers without a session"),
    "page_title": Setting(_text, "name of the shop on My Pages; else the shop's NAME"),
    "theme_accent": Setting(
        _colour, "colour of buttons and links on My Pages, such as #1b5e4b; made readable where it is not"
    ),
    "theme_scheme": Setting(
        _one_of("auto", "light", "dark"),
        "light or dark My Pages; auto follows the shopper's device (auto, light, dark)",
    ),
    "theme_corners": Setting(_one_of("square", "soft", "round"), "corners of My Pages (square, soft, round)"),
    "theme_font": Setting(
        _one_of("system", "humanist", "serif"), "kind of letters; none is fetched (system, humanist, serif)"
    ),
    "theme_logo_url": Setting(
        _picture, "the shop's logo, on the host of login_url or frame_ancestors; else the title stands in words"
    ),
    "theme_welcome": Setting(_texts, 'a line under the greeting: a text, or by language {"sv": "...", "": "..."}'),
    "theme_help": Setting(_texts, "a line at the foot of each page, such as opening hours: a text, or by language"),
    "theme_help_url": Setting(_address, "where the line at the foot leads to"),
    "locale": Setting(
        _handle_or_nothing, "language of My Pages, such as sv-SE; empty: the contact, then the browser decides"
    ),
    "time_zone": Setting(_zone, "zone of the times on receipts, such as Europe/Stockholm: Engage prefers local time"),
    "transactions_path": Setting(
        _one_of("list_transactions", "list_contact_transactions"),
        "which of two candidate addresses the tenant answers for purchase history; found out by itself",
    ),
    "frame_ancestors": Setting(_origins, "origins that may show My Pages in a frame"),
    "fallback": Setting(_boolean, "whether receipts go to Engage as files while its API stays away (yes or no)"),
    "fallback_transfer": Setting(
        _one_of("sftp", "folder"), "how files leave: sftp, or folder for merchants who move them themselves"
    ),
    "fallback_host": Setting(_handle, "the SFTP server"),
    "fallback_port": Setting(_whole(1, 65535), "its port"),
    "fallback_user": Setting(_text, "the user there; also fallback_password= or fallback_key=@FILE, stored encrypted"),
    "fallback_host_key": Setting(_host_key, "the server's pinned host key; `engage-plugin fallback check` shows it"),
    "fallback_base": Setting(_remote_path, "folder under which the folders below lie"),
    "fallback_receipts_folder": Setting(_remote_path, "folder for receipts"),
    "fallback_contacts_folder": Setting(_remote_path, "folder for contacts; empty keeps such files here"),
    "fallback_redemptions_folder": Setting(_remote_path, "folder for redemptions; empty keeps such files here"),
    "fallback_contacts": Setting(
        _one_of("bulk", "file"), "whether changes of known contacts wait for the bulk API, or go to a file too"
    ),
    "fallback_folder": Setting(
        _local_path, "with fallback_transfer=folder: where files are placed; empty for STATE_DIR/fallback/NAME/outbox"
    ),
    "fallback_receipts_xslt": Setting(_local_path, "style sheet (XSLT 1.0) that reshapes receipts files"),
    "fallback_contacts_xslt": Setting(_local_path, "style sheet that reshapes contacts files"),
    "fallback_redemptions_xslt": Setting(_local_path, "style sheet that reshapes redemptions files"),
    "fallback_lines": Setting(_whole(100, 20_000), "number of lines that every file stays below"),
    "fallback_keep_days": Setting(_whole(0, 365), "days that a file is kept here after it was taken"),
    "watch": Setting(_boolean, "whether the shop's webhook subscriptions are checked and missed changes looked for"),
    "repair_webhooks": Setting(
        _boolean, "whether wrong webhook subscriptions are mended at the shop, or only reported"
    ),
    "poll_missed": Setting(_boolean, "whether changes that no webhook told of are fetched from the shop's API"),
    "backfill_months": Setting(_whole(1, 600), "how old, in months, an order of the history may be to be sent"),
    "backfill_new": Setting(
        _one_of("single", "bulk"),
        "how customers of the history without a contact are created: single, in their store, or bulk, without one",
    ),
    "reconcile_daily": Setting(_boolean, "whether shop, inbox and Engage are compared once a day"),
    "reconcile_sample": Setting(_whole(0, 1000), "how many contacts a reconciliation asks Engage about"),
    "signup_url": Setting(_address, "where a shopper without a contact signs up for the programme"),
    "editable_fields": Setting(
        _list, "attributes and preferences of Engage that shoppers may change on My Pages, by commas; none for nothing"
    ),
    "points": Setting(
        _one_of("auto", "yes", "no"), "whether My Pages show points; auto finds out from Engage's answers"
    ),
    "vouchers": Setting(
        _one_of("auto", "yes", "no"), "whether My Pages show reward vouchers; auto finds out from Engage's answers"
    ),
    "points_found": Setting(_one_of("yes", "no"), "what auto found out of points; empty it to find out anew"),
    "vouchers_found": Setting(_one_of("yes", "no"), "what auto found out of vouchers; empty it to find out anew"),
}


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
