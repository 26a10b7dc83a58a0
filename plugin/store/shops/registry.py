"""The register of shops: reads them with their secrets opened, and changes them."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from plugin.errors import ConfigurationError, ConflictError, NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.shops.secrets import seal_json, seal_new_secrets
from plugin.store.shops.shops import NewShop, RegisteredShop, open_shop
from plugin.store.shops.validation import changed_settings, is_shop_name, registration_faults, with_lower_host
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import InboxEvent, State, is_in, is_unfinished
from plugin.store.tables.shops import Shop

log = logging.getLogger(__name__)
#: How long, in seconds, a process works with a shop as it read it; a changed setting counts after that.
RECENT_S = 1.0


def holds_shops(database_url: str) -> bool:
    """Return whether a database holds shops already; a database that is missing, or has no tables yet, holds none."""
    database = Database(database_url)
    try:
        if database.sqlite and not Path(database.url.database or "").is_file():  # asking would make the file
            return False
        with database.reading() as session:
            return session.scalar(select(Shop.id).limit(1)) is not None
    except SQLAlchemyError:
        return False
    finally:
        database.close()


class Shops:
    """Reads and writes shops."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._recent: dict[tuple[str, str] | int, tuple[float, RegisteredShop]] = {}
        self._told_unopened: set[str] = set()

    def add(self, new: NewShop, now: datetime) -> RegisteredShop:
        """Register a shop. Raises ConfigurationError with every fault, ConflictError when the name or domain is taken.

        With another SECRET_KEY than that of the shops that are registered already, nothing is stored.
        """
        if faults := registration_faults(new.name, new.engage_key, new.settings):
            raise ConfigurationError(faults)
        row = Shop(
            name=new.name,
            platform=new.platform,
            shop_domain=with_lower_host(new.shop_domain) if new.shop_domain else None,
            engage_url=new.engage_url.rstrip("/"),
            **seal_new_secrets(self._vault, new.engage_key, new.webhook_secret),
            settings=dict(new.settings),
            stopped_reason=None,
            created_at=now,
        )
        try:
            with self._database.transaction() as session:
                self._check_key(session)
                session.add(row)
        except IntegrityError as error:
            raise ConflictError(
                f"A shop named {new.name!r}, or one with that domain on {new.platform}, is registered already: "
                "`engage-plugin shops list` shows them."
            ) from error
        return self._opened(row)

    def get(self, name: str) -> RegisteredShop:
        """Return a shop by name. Raises NotFoundHereError."""
        with self._database.reading() as session:
            row = session.scalar(select(Shop).where(Shop.name == name))
        if row is None:
            raise _no_shop(name)
        return self._opened(row)

    def find(self, platform: str, name: str, *, fresh: bool = False) -> RegisteredShop | None:
        """Return the shop of an address /<platform>/<name>, or None. Up to a second old unless `fresh`."""
        if not is_shop_name(name):
            return None
        return self._recent_or_read((platform, name), Shop.name == name, Shop.platform == platform, fresh=fresh)

    def named(self, name: str) -> RegisteredShop | None:
        """Return the shop of an address /mypages/<name>, or None. Up to a second old."""
        return self._recent_or_read(("", name), Shop.name == name) if is_shop_name(name) else None

    def by_id(self, shop_id: int) -> RegisteredShop:
        """Return a shop by row id, up to a second old. Raises NotFoundHereError."""
        shop = self._recent_or_read(shop_id, Shop.id == shop_id)
        if shop is None:
            raise NotFoundHereError(f"There is no shop with the row id {shop_id}.")
        return shop

    def of_domain(self, platform: str, domain: str) -> RegisteredShop | None:
        """Return the shop of a platform's domain, its host in lower case, or None. Up to a second old."""
        return self._recent_or_read((platform, f"@{domain}"), Shop.platform == platform, Shop.shop_domain == domain)

    def of_platform(self, platform: str) -> tuple[RegisteredShop, ...]:
        """Return every shop of a platform that can be opened, for app-wide addresses."""
        with self._database.reading() as session:
            rows = session.scalars(select(Shop).where(Shop.platform == platform).order_by(Shop.id)).all()
        return tuple(self._that_open(rows))

    def all(self) -> tuple[RegisteredShop, ...]:
        """Return every shop by name; one that cannot be opened is left out, logged, and listed by `unopened`."""
        with self._database.reading() as session:
            rows = session.scalars(select(Shop).order_by(Shop.name)).all()
        return tuple(self._that_open(rows))

    def unopened(self) -> dict[str, str]:
        """Return the names of shops that cannot be opened, each with the reason."""
        with self._database.reading() as session:
            rows = session.scalars(select(Shop).order_by(Shop.name)).all()
        faults = {}
        for row in rows:
            try:
                self._opened(row)
            except ConfigurationError as error:
                faults[row.name] = " ".join(error.faults)
        return faults

    def check_key(self) -> None:
        """Raise ConfigurationError when shops are registered and this SECRET_KEY opens none of them."""
        with self._database.reading() as session:
            self._check_key(session)

    def id_and_platform(self, name: str) -> tuple[int, str]:
        """Return a shop's row id and platform without opening its secrets. Raises NotFoundHereError."""
        with self._database.reading() as session:
            found = session.execute(select(Shop.id, Shop.platform).where(Shop.name == name)).one_or_none()
        if found is None:
            raise _no_shop(name)
        return found.id, found.platform

    def renew_lost_secrets(self, shop_id: int, webhook_secret: str) -> bool:
        """Replace a shop's secrets that cannot be opened, so that it can be set up again; return whether that was so.

        Its Engage key is lost: deliveries must be stopped.
        """
        with self._database.transaction() as session:
            sealed = session.scalars(select(Shop.engage_key_encrypted).where(Shop.id == shop_id)).one()
            if self._vault.opens(sealed):
                return False
            values: dict[str, bytes | None] = {
                **seal_new_secrets(self._vault, "", webhook_secret),
                "credentials_encrypted": None,
                "file_access_encrypted": None,
            }
            session.execute(update(Shop).where(Shop.id == shop_id).values(**values))
        self._recent.clear()
        return True

    def change(self, name: str, changes: Mapping[str, str]) -> RegisteredShop:
        """Set settings; an empty text takes one back to its default. Raises ConfigurationError, NotFoundHereError."""
        shop = self.get(name)
        self._write(shop.id, settings=changed_settings(shop.stored_settings, changes))
        return self.get(name)

    def replace_secrets(
        self,
        name: str,
        *,
        engage_key: str | None = None,
        engage_url: str | None = None,
        webhook_secret: str | None = None,
    ) -> RegisteredShop:
        """Change the key, the address or the webhook secret.

        The former webhook secret stays valid beside the new one, until the new one is set once more.
        A changed key or address also starts stopped deliveries again.
        """
        shop = self.get(name)
        values: dict[str, object] = {}
        if engage_key is not None:
            values["engage_key_encrypted"] = self._vault.seal(engage_key)
        if engage_url is not None:
            values["engage_url"] = engage_url.rstrip("/")
        if values:
            values["stopped_reason"] = None
        if webhook_secret is not None:
            valid = list(dict.fromkeys([webhook_secret, shop.webhook_secrets[0]]))
            values["webhook_secrets_encrypted"] = seal_json(self._vault, valid)
        if values:
            self._write(shop.id, restart="stopped_reason" in values, **values)
        return self.get(name)

    def keep_domain(self, name: str, domain: str) -> RegisteredShop:
        """Change the domain that a shop is found by. Raises ConflictError when another shop has it, NotFoundHereError."""
        shop = self.get(name)
        try:
            self._write(shop.id, shop_domain=with_lower_host(domain))
        except IntegrityError as error:
            raise ConflictError(
                f"Another shop on {shop.platform} has this domain: `engage-plugin shops list` shows them."
            ) from error
        return self.get(name)

    def save_credentials(self, name: str, credentials: Mapping[str, Any]) -> RegisteredShop:
        """Store a platform's keys and tokens, sealed; they take the place of those before. Raises NotFoundHereError."""
        shop = self.get(name)  # with another SECRET_KEY than the shop's nothing is stored
        self._write(shop.id, credentials_encrypted=seal_json(self._vault, credentials))
        return self.get(name)

    def keep_file_access(self, name: str, access: Mapping[str, str]) -> RegisteredShop:
        """Store the SFTP user's password or key, sealed, in the place of what was there. Raises NotFoundHereError."""
        shop = self.get(name)  # with another SECRET_KEY than the shop's nothing is stored
        self._write(shop.id, file_access_encrypted=seal_json(self._vault, access))
        return self.get(name)

    def uninstall(self, shop_id: int, reason: str) -> None:
        """Stop a shop's deliveries and delete its keys and tokens: the platform revoked them."""
        self._write(shop_id, stopped_reason=reason, credentials_encrypted=None)

    def stop(self, shop_id: int, reason: str) -> None:
        """Stop a shop's deliveries until an operator repairs the cause. A shop that is stopped keeps its first reason."""
        self._write(shop_id, Shop.stopped_reason.is_(None), stopped_reason=reason)

    def start(self, shop_id: int) -> None:
        """Start a stopped shop's deliveries again, with the patience of a first try."""
        self._write(shop_id, restart=True, stopped_reason=None)

    def _write(self, shop_id: int, *where: ColumnElement[bool], restart: bool = False, **values: object) -> None:
        """Change a shop. restart: also reset the attempts of what waits, because the time of a stop counts against no event."""
        with self._database.transaction() as session:
            session.execute(update(Shop).where(Shop.id == shop_id, *where).values(**values))
            if restart:
                tried = (InboxEvent.shop_id == shop_id, is_unfinished(), is_in(State.PENDING), InboxEvent.attempts > 0)
                run(session, update(InboxEvent).where(*tried).values(attempts=0, first_attempt_at=None))
        self._recent.clear()

    def _recent_or_read(
        self, key: tuple[str, str] | int, *where: ColumnElement[bool], fresh: bool = False
    ) -> RegisteredShop | None:
        """Return the shop read within the last RECENT_S under a key, else read it; None when there is none."""
        read_at, shop = self._recent.get(key, (-RECENT_S, None))
        if shop is not None and not fresh and time.monotonic() - read_at < RECENT_S:
            return shop
        with self._database.reading() as session:
            row = session.scalar(select(Shop).where(*where))
        if row is None:
            return None
        shop = self._opened(row)
        self._recent[key] = (time.monotonic(), shop)
        return shop

    def _check_key(self, session: Session) -> None:
        rows = session.execute(select(Shop.name, Shop.engage_key_encrypted).order_by(Shop.id)).all()
        if rows and not any(self._vault.opens(row.engage_key_encrypted) for row in rows):
            raise ConfigurationError(
                [
                    f"SECRET_KEY is not the one that the registered shops ({', '.join(row.name for row in rows[:5])}) were "
                    "stored with. Set that one (SECRET_KEY or SECRET_KEY_FILE), or unset SECRET_KEY where theirs lies in "
                    "STATE_DIR/secret-key."
                ]
            )

    def _that_open(self, rows: Sequence[Shop]) -> Iterator[RegisteredShop]:
        for row in rows:
            try:
                yield self._opened(row)
            except ConfigurationError as error:
                if row.name not in self._told_unopened:  # once a process: some ask every second
                    self._told_unopened.add(row.name)
                    log.error("shop=%s is left out: %s", row.name, " ".join(error.faults))

    def _opened(self, row: Shop) -> RegisteredShop:
        return open_shop(self._vault, row)


def _no_shop(name: str) -> NotFoundHereError:
    return NotFoundHereError(f"There is no shop named {name!r}: `engage-plugin shops list` shows those that are.")
