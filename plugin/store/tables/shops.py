"""Tables of shops: registration, installations, tokens and named locks."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ForeignKey,
    LargeBinary,
    String,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from plugin.store.database.types import BigId
from plugin.store.tables.base import Base


class Shop(Base):
    """A registered shop. Columns that end in _encrypted hold text sealed with SECRET_KEY.

    stopped_reason: why deliveries are stopped (Engage refuses the key); None while they run.
    """

    __tablename__ = "shops"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    platform: Mapped[str] = mapped_column(String(32))
    shop_domain: Mapped[str | None] = mapped_column(String(255))
    engage_url: Mapped[str] = mapped_column(String(255))
    engage_key_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    webhook_secrets_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    shopper_secret_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    credentials_encrypted: Mapped[bytes | None] = mapped_column(LargeBinary)
    file_access_encrypted: Mapped[bytes | None] = mapped_column(LargeBinary)
    settings: Mapped[dict[str, Any]] = mapped_column()
    stopped_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column()


class PendingInstallation(Base):
    """An installation that was begun: its one-time state, as a hash, and what must be known when it comes back."""

    __tablename__ = "pending_installations"

    state_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    data_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ApiToken(Base):
    """A token of a shop's own server for this plugin's API: a keyed hash, and its last characters to recognise it by."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    hint: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[datetime] = mapped_column()
    revoked_at: Mapped[datetime | None] = mapped_column()


class UsedToken(Base):
    """A shopper's hand-over token that was used; a second use is refused until the token has expired."""

    __tablename__ = "used_tokens"

    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"), primary_key=True)
    token_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class NamedLease(Base):
    """A lock with an end, for what only one worker may do at a time (creating one contact)."""

    __tablename__ = "named_leases"

    name: Mapped[str] = mapped_column(String(160), primary_key=True)
    token: Mapped[str] = mapped_column(String(32))
    expires_at: Mapped[datetime] = mapped_column()
