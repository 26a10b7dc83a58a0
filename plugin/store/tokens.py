"""Hand-over tokens that were used: each works once."""

from datetime import datetime

from plugin.store.db import Database
from plugin.store.models import UsedToken


class UsedTokens:
    """Remembers token ids until the tokens are expired anyhow."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def use(self, shop_id: int, token_id: str, expires_at: datetime) -> bool:
        """Mark a token as used; False when it was used before."""
        with self._database.transaction() as session:
            stored = session.scalar(
                self._database.insert(UsedToken)
                .values(shop_id=shop_id, token_id=token_id, expires_at=expires_at)
                .on_conflict_do_nothing(index_elements=["shop_id", "token_id"])
                .returning(UsedToken.token_id)
            )
            return stored is not None
