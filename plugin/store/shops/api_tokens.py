"""Tokens by which a shop's own server proves itself to /api: shown once, stored as keyed hashes."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from plugin.errors import NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.database.statements import changed_rows
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.shops import ApiToken, Shop

PREFIX = "ept"
SECRET_BYTES = 32
HINT_LENGTH = 4


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as an operator sees it. hint: its last characters."""

    id: int
    hint: str
    created_at: datetime
    revoked_at: datetime | None


class ApiTokens:
    """Makes, checks and revokes tokens. A token reads ept.SHOP.SECRET, so that its shop is found without a search."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    def create(self, shop: RegisteredShop, now: datetime) -> str:
        """Make a token beside those that the shop has, and return it: it cannot be shown again."""
        token = f"{PREFIX}.{shop.name}.{secrets.token_urlsafe(SECRET_BYTES)}"
        row = ApiToken(shop_id=shop.id, digest=self._digest(token), hint=token[-HINT_LENGTH:], created_at=now)
        with self._database.transaction() as session:
            session.add(row)
        return token

    def shop_of(self, token: str) -> str | None:
        """Return the name of the shop whose token this is, or None."""
        prefix, _, rest = token.partition(".")
        name = rest.rpartition(".")[0]
        digest = self._digest(token)
        statement = (
            select(ApiToken.digest)
            .join(Shop, Shop.id == ApiToken.shop_id)
            .where(Shop.name == name, ApiToken.revoked_at.is_(None))
        )
        with self._database.reading() as session:
            digests = session.scalars(statement).all()
        # every one is compared, so that the time reveals nothing
        matches = [hmac.compare_digest(digest, known) for known in digests]
        return name if prefix == PREFIX and any(matches) else None

    def all_of(self, shop: RegisteredShop) -> list[TokenRow]:
        """Return a shop's tokens, newest last."""
        with self._database.reading() as session:
            rows = session.scalars(select(ApiToken).where(ApiToken.shop_id == shop.id).order_by(ApiToken.id)).all()
        return [TokenRow(row.id, row.hint, row.created_at, row.revoked_at) for row in rows]

    def revoke(self, shop: RegisteredShop, token_id: int, now: datetime) -> None:
        """End a token at once. Raises NotFoundHereError."""
        ended = update(ApiToken).where(
            ApiToken.id == token_id, ApiToken.shop_id == shop.id, ApiToken.revoked_at.is_(None)
        )
        with self._database.transaction() as session:
            if not changed_rows(session.execute(ended.values(revoked_at=now))):
                raise NotFoundHereError(f"The shop {shop.name} has no valid token {token_id}.")

    def _digest(self, token: str) -> str:
        return self._vault.digest(f"api token {token}")
