"""Signed queries: Shopify proves its redirects (OAuth) and what it proxies by an HMAC over the query's parameters.

Both carry the time of signing; a query that is more than 90 s off is refused
(docs/platforms/shopify.md#app-proxy-and-session-tokens).
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlencode

from plugin.errors import VerificationError

MAX_AGE_S = 90
MAX_QUERY = 8192
MAX_PARAMETERS = 64
#: Every shop name is matched with this before it becomes part of an address, against SSRF and token theft.
_SHOP = re.compile(r"[a-z0-9][a-z0-9-_]*\.(myshopify\.com|shopify\.com|myshopify\.io|shop\.dev)")
#: The names that the platform itself puts into a proxied query.
_PROXY_NAMES = ("logged_in_customer_id", "path_prefix", "shop", "signature", "timestamp")
_ONCE = frozenset({"hmac", *_PROXY_NAMES, "state", "code"})


def shop_domain(text: str | None) -> str | None:
    """Return a shop's permanent domain in lower case, or None when the text is not such a domain."""
    domain = (text or "").strip().lower().rstrip("/")
    return domain if len(domain) <= 255 and _SHOP.fullmatch(domain) else None


def read_query(query: str) -> dict[str, list[str]]:
    """Parse a query, including empty values. Raises VerificationError, also when a name that must occur once occurs twice."""
    if len(query) > MAX_QUERY:
        raise VerificationError("The query is too long.")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise VerificationError("The query cannot be read.") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    doubled = sorted(name for name in _ONCE & found.keys() if len(found[name]) > 1)
    if doubled:
        raise VerificationError(f"The query holds {', '.join(doubled)} more than once.")
    return found


def check_redirect(query: str, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Check the `hmac` of a redirect to an installation page and return the parameters. Raises VerificationError."""
    found = read_query(query)
    flat = {name: values[0] for name, values in found.items()}
    if any(len(values) > 1 for values in found.values()):
        raise VerificationError("A redirect of Shopify holds each parameter once.")
    given = flat.pop("hmac", "")
    flat_signed = {name: value for name, value in flat.items() if name != "signature"}
    if any("&" in text for pair in flat_signed.items() for text in pair) or any("=" in name for name in flat_signed):
        raise VerificationError("The query holds a parameter that Shopify does not send.")  # could be split in two ways
    if not any(_equal(given, _hex(text, secret)) for text in _signed_texts(flat_signed) for secret in secrets):
        raise VerificationError("The query's hmac does not fit: check SHOPIFY_CLIENT_SECRET.")
    _check_time(flat.get("timestamp"), now)
    return flat


def check_proxied(query: str, secrets: Sequence[str], now: datetime) -> Mapping[str, str]:
    """Check the `signature` of a proxied request and return its parameters. Raises VerificationError.

    Shopify joins names and values without any separator, so one signed text can be cut in several ways. Only one cut
    is accepted: each of the platform's own names occurs exactly once in the text, as a parameter.
    """
    found = read_query(query)
    given = found.pop("signature", [""])[0]
    joined = {name: ",".join(values) for name, values in found.items()}
    text = "".join(sorted(f"{name}={value}" for name, value in joined.items()))
    for name in _PROXY_NAMES:
        if text.count(f"{name}=") != (name in joined):
            raise VerificationError(f"The query could be read in two ways: {name} is in another parameter.")
    if not any(_equal(given, _hex(text, secret)) for secret in secrets):
        raise VerificationError("The query's signature does not fit: check that the shop's secret is the app's.")
    _check_time(joined.get("timestamp"), now)
    return joined


def _signed_texts(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the text that was signed. How special characters are written is inferred, so each way is tried."""
    ordered = sorted(parameters.items())
    plain = "&".join(f"{name}={value}" for name, value in ordered)
    return tuple(dict.fromkeys((plain, urlencode(ordered), urlencode(ordered, quote_via=quote))))


def _hex(text: str, secret: str) -> str:
    return hmac.new(secret.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def _check_time(text: str | None, now: datetime) -> None:
    if not text or not text.isascii() or not text.isdigit() or len(text) > 12:
        raise VerificationError("The query's timestamp is missing or not a number of seconds.")
    if abs(now.timestamp() - int(text)) > MAX_AGE_S:
        raise VerificationError(f"The query was signed more than {MAX_AGE_S} s ago, or a clock is wrong.")
