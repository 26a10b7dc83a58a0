"""Hand-over tokens that were used: each works once."""

from datetime import datetime

from plugin.store.database.engine import Database
from plugin.store.tables.shops import UsedToken


class UsedTokens:
    """Remembers token ids until the tokens have expired."""

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

    def bind(self, shop_id: int, token_id: str, bound_id: str, expires_at: datetime) -> bool:
        """Bind a token to one purpose at its first use, after which it works for that purpose alone, and again.

        bound_id: a digest of token and purpose. False when the token was used for something else before.
        """
        with self._database.reading() as session:
            if session.get(UsedToken, (shop_id, bound_id)) is not None:
                return True
        rows = [{"shop_id": shop_id, "token_id": name, "expires_at": expires_at} for name in (token_id, bound_id)]
        with self._database.transaction() as session:
            stored = session.scalars(
                self._database.insert(UsedToken)
                .values(rows[:1])
                .on_conflict_do_nothing(index_elements=["shop_id", "token_id"])
                .returning(UsedToken.token_id)
            ).all()
            if stored:
                session.execute(self._database.insert(UsedToken).values(rows[1:]))
                return True
            return session.get(UsedToken, (shop_id, bound_id)) is not None
