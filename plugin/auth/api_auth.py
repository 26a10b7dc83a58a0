"""Authentication of the API: a shop's server by its API token, a shopper's browser by a short-lived token of the shop."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from plugin.auth.shopper_token import AUDIENCE, MAX_LIFE_S, MAX_TOKEN_LENGTH, check_token, claimed_issuer, is_id
from plugin.errors import VerificationError
from plugin.platforms.base import Platform
from plugin.store.shops.api_tokens import PREFIX, ApiTokens
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop

#: Tokens for the checkout alone: a page's script holds it, so it does not open My Pages, and lasts as long as a checkout.
CHECKOUT_AUDIENCE = "engage-plugin-checkout"
CHECKOUT_LIFE_S = 15 * 60
LIVES = {AUDIENCE: MAX_LIFE_S, CHECKOUT_AUDIENCE: CHECKOUT_LIFE_S}
HOW_TO_AUTHENTICATE = (
    "Send the header Authorization: Bearer TOKEN, with an API token of the shop or a shopper's signed token."
)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. customer_id: the shopper; None where a shop's server named none. from_server: by an API token."""

    shop: RegisteredShop
    customer_id: str | None
    from_server: bool


@dataclass(frozen=True, slots=True)
class ApiAuthenticator:
    """Authenticates the callers of the API."""

    shops: Shops
    platform_for: Callable[[str], Platform]
    tokens: ApiTokens
    used: UsedTokens
    clock: Callable[[], datetime]

    def merchant(self, authorization: str) -> RegisteredShop:
        """Return the shop of an API token. Raises VerificationError."""
        token = _bearer(authorization)
        name = self.tokens.shop_of(token) if token.startswith(f"{PREFIX}.") else None
        shop = None if name is None else self._shop(name)
        if shop is None:
            raise VerificationError("The API token is not valid; `engage-plugin api-tokens create SHOP` makes one.")
        return shop

    def shopper(self, authorization: str, shop_name: str | None, customer_id: str | None) -> Principal:
        """Authenticate a request of the checkout.

        shop_name: where the request names it, needed with a platform's own token only. customer_id: the shopper
        whom a shop's server asks for; a shopper's token names its own. Raises VerificationError, UnverifiableError.
        """
        token = _bearer(authorization)
        if token.startswith(f"{PREFIX}."):
            return Principal(self.merchant(authorization), customer_id, from_server=True)
        shop = self._shop(shop_name or claimed_issuer(token) or "")
        if shop is None:
            raise VerificationError("The token names no shop that is registered here; is its iss the shop's NAME?")
        if claimed_issuer(token) == shop.name:
            return Principal(shop, self._shopper(shop, token), from_server=False)
        proof = self.platform_for(shop.platform).verify_shopper_token(token, shop, self.clock())
        if not is_id(proof.customer_id):
            raise VerificationError("The token's customer is not an id.")
        if proof.token_id is not None:
            self._bind(shop, proof.token_id, proof.expires_at or self.clock())
        return Principal(shop, proof.customer_id, from_server=False)

    def _shopper(self, shop: RegisteredShop, token: str) -> str:
        found = check_token(shop, token, self.clock(), LIVES)
        if found.audience == AUDIENCE:
            self._bind(shop, found.token_id, found.until)
        return found.customer_id

    def _bind(self, shop: RegisteredShop, token_id: str, until: datetime) -> None:
        """Let a hand-over token be used here again, but for nothing else: a token that a script has seen must not open My Pages."""
        if not self.used.bind(shop.id, _hash(token_id), _hash(f"checkout {token_id}"), until):
            raise VerificationError("The token was used for My Pages before; the checkout needs one of its own.")

    def _shop(self, name: str) -> RegisteredShop | None:
        return next((shop for shop in self.shops.all() if shop.name == name), None)


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN_LENGTH or not token.isascii():
        raise VerificationError(HOW_TO_AUTHENTICATE)
    return token


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
