"""The addresses of a Saleor shop: its API address names it, and its keys are at the same origin.

See docs/platforms/saleor.md#signature.
"""

import ipaddress
from urllib.parse import urlsplit

from plugin.errors import VerificationError
from plugin.platforms.base import ShopCredentials
from plugin.platforms.http import ShopHttp, shop_http

API_PATH = "/graphql/"
JWKS_PATH = "/.well-known/jwks.json"
MAX_LENGTH = 255
DEFAULT_PORTS = {"http": 80, "https": 443}


def domain_of(api_url: str) -> str | None:
    """Return what names a shop: host[:port] of its API address, lower case, without a default port; None when it has none."""
    try:
        parts = urlsplit(api_url.strip())
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in DEFAULT_PORTS or not host:
        return None
    named = f"[{host}]" if ":" in host else host
    return named if port in {None, DEFAULT_PORTS[parts.scheme]} else f"{named}:{port}"


def api_url_of(shop: ShopCredentials) -> str | None:
    """Return the API address that the installation stored, else the usual one of the domain that the operator typed."""
    stored = shop.credentials.get("api_url")
    if isinstance(stored, str) and stored:
        return stored
    if not shop.shop_domain:
        return None
    scheme = "http" if _is_local(shop.shop_domain) else "https"
    return f"{scheme}://{shop.shop_domain}{API_PATH}"


def jwks_url_of(api_url: str) -> str:
    """Return the address of the keys that belong to an API address."""
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc}{JWKS_PATH}"


def http_for(shop: ShopCredentials, api_url: str) -> ShopHttp:
    """Return the HTTP client for a shop; private addresses only for the host that the operator typed
    (docs/platforms/common.md#addresses-from-outside)."""
    return shop_http(operator_typed=bool(shop.shop_domain) and domain_of(api_url) == shop.shop_domain)


def checked_api_url(text: str) -> str:
    """Return an API address that came from outside. Raises VerificationError.

    It decides where the app's token is sent: plain http is for a shop on this machine or in a private network alone, so
    that https cannot be downgraded from outside.
    """
    url = text.strip()
    domain = domain_of(url)
    if domain is None or len(url) > MAX_LENGTH or not url.isascii() or not url.isprintable():
        raise VerificationError("Saleor-Api-Url is not the address of an API.")
    parts = urlsplit(url)
    if parts.query or parts.fragment or parts.username is not None or "\\" in url:
        raise VerificationError("Saleor-Api-Url must be a plain address, without user, query or fragment.")
    if parts.scheme != "https" and not _is_local(domain):
        raise VerificationError("Saleor-Api-Url must begin with https://.")
    return url


def _is_local(domain: str) -> bool:
    host = domain.rpartition(":")[0] if domain.rpartition(":")[2].isdigit() and domain.count(":") == 1 else domain
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_private
    except ValueError:
        return False
