"""The shops' public keys: cached, chosen by their id, fetched again when a key is unknown or old, with a pause between fetches.

Saleor signs webhooks and shoppers' tokens with one RSA key a shop and publishes it as a JWKS (docs/platforms/saleor.md#signature).
The address is made from our own table, never from a header. A rotation shows as an unknown key id: then the JWKS is
fetched once. Forged key ids must neither flood the shop with requests nor get a real webhook refused.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt

from plugin.errors import ShopApiError, UnverifiableError, VerificationError
from plugin.platforms.base import ShopCredentials
from plugin.platforms.fields import read_instant
from plugin.platforms.saleor.addresses import api_url_of, http_for, jwks_url_of

ALGORITHM = "RS256"
#: Between two fetches for one shop. Saleor sends again after 10, 20, 40, 80 and 160 s, so a pause costs no event.
PAUSE = timedelta(seconds=20)
#: Keys older than this are fetched again when one is used, so that a key that the shop withdrew stops working.
OLD = timedelta(hours=24)
#: The shop gives a webhook 20 s in all.
TIMEOUT_S = 6.0
MAX_KEYS = 20

Keys = Mapping[str, jwt.PyJWK]


@dataclass(slots=True)
class _CachedKeys:
    """The cached keys of one JWKS. absent: a key id that the last fetch did not hold. asking: held while it is fetched."""

    keys: Keys = field(default_factory=dict)
    fetched_at: datetime | None = None
    asked_at: datetime | None = None
    absent: str | None = None
    asking: threading.Lock = field(default_factory=threading.Lock)


class KeyRing:
    """The keys of all shops, in one process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[str, _CachedKeys] = {}
        self._lock = threading.Lock()

    def key(self, shop: ShopCredentials, key_id: str, now: datetime) -> jwt.PyJWK:
        """Return a shop's key.

        Raises VerificationError when the shop has no such key, UnverifiableError while that cannot be checked.
        """
        api_url = api_url_of(shop)
        if api_url is None:
            raise VerificationError("This shop is not installed, and no --shop-domain says where its keys are.")
        with self._lock:
            known = self._known.setdefault(jwks_url_of(api_url), _CachedKeys())
        _take_stored(known, shop)
        found = known.keys.get(key_id)
        if found is not None and not _is_old(known, now):
            return found
        # a known key, however old, is never waited for; for an unknown key, a thread waits for the one that is fetching
        if known.asking.acquire(blocking=found is None):
            try:
                return self._ask(known, shop, api_url, key_id, now)
            finally:
                known.asking.release()
        assert found is not None
        return found

    def _ask(self, known: _CachedKeys, shop: ShopCredentials, api_url: str, key_id: str, now: datetime) -> jwt.PyJWK:
        """Fetch the keys where it is time to; a failure counts only for a key that is not known."""
        found = known.keys.get(key_id)
        if (found is None or _is_old(known, now)) and _may_ask(known, now):
            known.asked_at = now
            try:
                keys = fetch_keys(shop, api_url)
            except ShopApiError as error:
                if found is not None:
                    return found
                raise UnverifiableError(f"The shop's keys could not be fetched: {error}") from None
            known.keys, known.fetched_at = keys, now
            found = keys.get(key_id)
            known.absent = key_id if found is None else None
        if found is not None:
            return found
        if key_id == known.absent:
            raise VerificationError("The signature names a key that the shop does not have.")
        raise UnverifiableError("The signature names an unknown key, and the shop's keys were fetched a moment ago.")


def fetch_keys(shop: ShopCredentials, api_url: str) -> dict[str, jwt.PyJWK]:
    """Fetch a shop's keys by their ids. Raises ShopApiError, also when there is no key that could sign."""
    answer = http_for(shop, api_url).send("GET", jwks_url_of(api_url), timeout_s=TIMEOUT_S)
    if answer.status != 200:
        raise ShopApiError(f"The shop answered {answer.status} instead of its keys.", status=answer.status)
    keys = read_keys(answer.json())
    if not keys:
        raise ShopApiError("The shop's JWKS holds no RSA key for signatures.")
    return keys


def fetch_jwks(shop: ShopCredentials, api_url: str) -> dict[str, Any]:
    """Fetch a shop's keys as JSON to be stored. Raises ShopApiError."""
    return {"keys": [_as_json(key_id, key) for key_id, key in fetch_keys(shop, api_url).items()]}


def read_keys(jwks: Any) -> dict[str, jwt.PyJWK]:
    """Read the RSA keys of a JWKS; anything else in it is ignored."""
    entries = jwks.get("keys") if isinstance(jwks, dict) else None
    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries[:MAX_KEYS] if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
            continue
        key_id = entry.get("kid")
        if not isinstance(key_id, str) or not key_id or entry.get("alg", ALGORITHM) != ALGORITHM:
            continue
        try:
            keys[key_id] = jwt.PyJWK({"kty": "RSA", "n": entry.get("n"), "e": entry.get("e")}, algorithm=ALGORITHM)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    return keys


def _as_json(key_id: str, key: jwt.PyJWK) -> dict[str, Any]:
    whole = jwt.algorithms.RSAAlgorithm.to_jwk(key.key, as_dict=True)
    return {"kid": key_id, "kty": "RSA", "alg": ALGORITHM, "use": "sig", "n": whole["n"], "e": whole["e"]}


def _take_stored(known: _CachedKeys, shop: ShopCredentials) -> None:
    """Take the keys that an installation stored, where they are newer than the fetched ones."""
    stored_at = read_instant(shop.credentials.get("jwks_at"))
    if stored_at is None or (known.fetched_at is not None and stored_at <= known.fetched_at):
        return
    known.keys, known.fetched_at = read_keys(shop.credentials.get("jwks")), stored_at
    known.absent = None


def _is_old(known: _CachedKeys, now: datetime) -> bool:
    return known.fetched_at is None or now - known.fetched_at > OLD


def _may_ask(known: _CachedKeys, now: datetime) -> bool:
    return known.asked_at is None or abs(now - known.asked_at) >= PAUSE
