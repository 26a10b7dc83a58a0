"""A request of an authenticated shopper, how it was authenticated, and the reasons why a request is refused."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode

from mypages.auth.sessions import Shopper
from plugin.store.shops.shops import RegisteredShop


class Mode(StrEnum):
    """How a page is embedded.

    PAGE: a whole document. FRAGMENT: only the contents of `main`, for embedding (`?embed=1`). LIQUID: inside the
    shop's theme (`application/liquid`), without html and head; braces are made harmless after rendering.
    """

    PAGE = "page"
    FRAGMENT = "fragment"
    LIQUID = "liquid"


class AuthMethod(StrEnum):
    """How a shopper is authenticated. All but BEARER, which no browser adds on its own, need a CSRF token for changes."""

    COOKIE = "cookie"
    BEARER = "bearer"
    PROXY = "proxy"


class MessageKind(StrEnum):
    """What a message page says. The comments name the HTTP status."""

    LOGIN = "login"  # 401: the shopper is not logged in, or the session has expired
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - 401: the hand-over from the shop was refused; log in again
    NO_SHOP = "no_shop"  # 404: no shop under this address
    NO_PAGE = "no_page"  # 404: no such page, or no such purchase of this shopper
    FORM_TOO_OLD = "form_too_old"  # 403: the form is too old or was not ours; open the page again
    NOT_YOURS_TO_CHANGE = "not_yours_to_change"  # 403: no verified link to a contact
    NOT_SAVED = "not_saved"  # 503: the change could not be stored; try again
    BUSY = "busy"  # 503: the database is away; try again


class AccessDeniedError(Exception):
    """The request is refused with a message page. reason: for the log, "" where the message says it all."""

    def __init__(self, kind: MessageKind, status: int, shop: RegisteredShop | None, reason: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.status = status
        self.shop = shop


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of an authenticated shopper.

    base: the beginning of the page's addresses, with a slash at its end. renewed_session: the session's new value when
    this request prolongs it, else "".
    """

    shop: RegisteredShop
    shopper: Shopper
    auth_method: AuthMethod
    mode: Mode
    base: str
    renewed_session: str = ""

    def link(self, part: str, **query: Any) -> str:
        """Return an address within My Pages that keeps base and mode. id: of a purchase."""
        return link(self.base, self.mode, part, **query)


def link(base: str, mode: Mode, part: str, **query: Any) -> str:
    """Return an address within My Pages."""
    path = "" if part == "overview" else part
    if "id" in query:
        path += "/" + quote(str(query.pop("id")), safe="")
    if mode is Mode.FRAGMENT:
        query["embed"] = 1
    return base + path + (f"?{urlencode(query)}" if query else "")
