"""Installations that were begun: a one-time state identifies the shop and what must be known when the browser returns."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete

from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.shops import PendingInstallation

STATE_BYTES = 32
LIFE = timedelta(hours=1)


class PendingInstallations:
    """Remembers states as hashes, so that whoever reads the database cannot finish an installation."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    def begin(self, shop: RegisteredShop, data: Mapping[str, str], now: datetime) -> str:
        """Return a new state, valid for an hour; states that are over are forgotten."""
        state = secrets.token_urlsafe(STATE_BYTES)
        with self._database.transaction() as session:
            session.execute(delete(PendingInstallation).where(PendingInstallation.expires_at < now))
            session.add(
                PendingInstallation(
                    state_hash=_hash(state),
                    shop_id=shop.id,
                    data_encrypted=self._vault.seal(json.dumps(dict(data))),
                    expires_at=now + LIFE,
                )
            )
        return state

    def finish(self, state: str, now: datetime) -> tuple[int, dict[str, str]] | None:
        """Use a state up and return the shop's row id and the data; None when it is unknown, used or expired."""
        with self._database.transaction() as session:
            found = session.execute(
                delete(PendingInstallation)
                .where(PendingInstallation.state_hash == _hash(state), PendingInstallation.expires_at >= now)
                .returning(PendingInstallation.shop_id, PendingInstallation.data_encrypted)
            ).one_or_none()
        if found is None:
            return None
        return found.shop_id, json.loads(self._vault.open(found.data_encrypted))


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()  # a JSON body may hold half a pair
