"""Calls to a shop's Admin API and the tokens for them (docs/platforms/shopify.md#installation).

Tokens come by the authorization code grant. An expiring one brings a refresh token, which Shopify replaces at each
refresh; one that does not expire brings none, and both are accepted.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from plugin.errors import ShopApiError
from plugin.platforms.base import ShopCredentials
from plugin.platforms.fields import read_instant
from plugin.platforms.http import ShopResponse, shop_http

EXCHANGE = "/admin/oauth/access_token"
TIMEOUT_S = 20.0
#: A token is refreshed this long before it ends.
EARLY = timedelta(minutes=5)


def origin(domain: str) -> str:
    """Return where a shop's Admin API is. domain: checked by `queries.shop_domain` or taken from a registered shop."""
    return f"https://{domain}"


def send(
    domain: str,
    method: str,
    path: str,
    *,
    token: str | None = None,
    query: Mapping[str, str] | None = None,
    body: Any = None,
) -> ShopResponse:
    """Send a request to a shop. Raises ShopUnavailableError (also for 429, with what Retry-After asks for), ShopApiError."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["X-Shopify-Access-Token"] = token
    return shop_http().send(method, origin(domain) + path, headers=headers, query=query, body=body, timeout_s=TIMEOUT_S)


def exchange_code(domain: str, client_id: str, client_secret: str, code: str, now: datetime) -> dict[str, Any]:
    """Exchange the code of a finished authorization for the credentials to store. Raises ShopApiError."""
    # public apps must use expiring tokens from 2027 on; an app that still gets a lasting token keeps it
    asked = {"client_id": client_id, "client_secret": client_secret, "code": code, "expiring": "1"}
    return {**_token_answer(domain, asked, now), "client_id": client_id, "installed_at": now.isoformat()}


class Tokens:
    """The access token of one shop, refreshed before it ends.

    save: stores changed credentials. Raises ShopApiError when the shop must be installed again.
    """

    def __init__(
        self, shop: ShopCredentials, save: Callable[[Mapping[str, Any]], None], clock: Callable[[], datetime]
    ) -> None:
        self._shop = shop
        self._save = save
        self._clock = clock
        self._credentials: dict[str, Any] = dict(shop.credentials)

    @property
    def scope(self) -> str:
        """The scopes that were granted with the token, separated by commas."""
        return str(self._credentials.get("scope") or "")

    @property
    def refreshable(self) -> bool:
        """Whether a new token can be had without the merchant."""
        return bool(self._credentials.get("refresh_token"))

    def current(self) -> str:
        """Return a token that is good for some minutes more."""
        ends = read_instant(self._credentials.get("expires_at"))
        if ends is not None and self.refreshable and self._clock() > ends - EARLY:
            self.refresh()
        return str(self._credentials["access_token"])

    def refresh(self) -> None:
        """Exchange the refresh token for a new pair and store it."""
        asked = {
            "client_id": self._credentials.get("client_id"),
            "client_secret": next(iter(self._shop.webhook_secrets), ""),
            "grant_type": "refresh_token",
            "refresh_token": self._credentials["refresh_token"],
        }
        fresh = _token_answer(str(self._shop.shop_domain), asked, self._clock())
        self._credentials = {**self._credentials, **fresh}
        self._save(self._credentials)


def _token_answer(domain: str, asked: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Ask the token endpoint and return what is stored of its answer. Its texts are not repeated: they may contain a token."""
    answer = send(domain, "POST", EXCHANGE, body=dict(asked))
    if answer.status != 200:
        raise ShopApiError(
            f"{domain} answered {answer.status} to the request for a token: check SHOPIFY_CLIENT_ID and "
            "SHOPIFY_CLIENT_SECRET, then open the installation address again.",
            status=answer.status,
        )
    found = answer.json()
    token = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(token, str) or not token:
        raise ShopApiError(f"{domain} gave no access token.", status=answer.status)
    if found.get("associated_user"):
        raise ShopApiError(f"{domain} gave a person's own token (online); the plugin needs the shop's (offline).")
    credentials: dict[str, Any] = {"access_token": token}
    if isinstance(found.get("scope"), str):
        credentials["scope"] = found["scope"]
    ends = _end(found.get("expires_in"), now)
    if ends is not None and isinstance(found.get("refresh_token"), str):
        credentials |= {"expires_at": ends, "refresh_token": found["refresh_token"]}
        credentials["refresh_expires_at"] = _end(found.get("refresh_token_expires_in"), now)
    return credentials


def _end(seconds: Any, now: datetime) -> str | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds < 10**9:
        return None
    return (now + timedelta(seconds=seconds)).isoformat()
