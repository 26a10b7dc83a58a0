"""Registered shops: who they are, how to verify them and where their data goes."""

import hashlib
import json
import logging
import re
import secrets as random_secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from plugin.errors import ConfigurationError, ConflictError, NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.inbox.claiming import reset_attempts
from plugin.store.shops.settings import ShopSettings, parse_settings
from plugin.store.shops.vault import Vault
from plugin.store.tables.shops import Shop

log = logging.getLogger(__name__)
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")
_HOST = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^/?#]*")
SHOPPER_SECRET_BYTES = 32
#: How long, in seconds, a process works with a shop as it read it; a changed setting counts after that.
RECENT_S = 1.0


@dataclass(frozen=True, slots=True)
class RegisteredShop:
    """A shop with its secrets opened, for the time of one piece of work.

    credentials: the platform's own keys and tokens, as its installation stored them. file_access: password or key of
    the SFTP user.
    tenant: stands for the Engage tenant without naming it; links made in one tenant are not used in another.
    stopped_reason: why deliveries stand still, None while they run. created_at: when it was registered here, aware UTC.
    """

    id: int
    name: str
    platform: str
    shop_domain: str | None
    engage_url: str
    tenant: str
    settings: ShopSettings
    stopped_reason: str | None
    created_at: datetime
    stored_settings: Mapping[str, str]
    engage_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    shopper_secret: str = field(repr=False)
    credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    file_access: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class NewShop:
    """What `shops add` is given."""

    name: str
    platform: str
    engage_url: str
    engage_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    settings: Mapping[str, str]
    shop_domain: str | None = None


def with_lower_host(domain: str) -> str:
    """Return a shop's domain with scheme and host in lower case. A folder after them stays: hosts tell its case apart."""
    return _HOST.sub(lambda found: found[0].lower(), domain, count=1)


def faults_of(new: NewShop) -> list[str]:
    """Return every fault of a shop that is to be registered, as far as no database is needed to find it."""
    faults = []
    if not _NAME.match(new.name):
        faults.append(
            f"The name {new.name!r} must be lower-case letters, digits and dashes, at most 63: it stands in addresses "
            "and in every receipt's id."
        )
    if not new.engage_key:
        faults.append("The Engage key is empty.")
    try:
        parse_settings(new.settings)
    except ConfigurationError as error:
        faults += error.faults
    return faults


def changed_settings(shop: RegisteredShop, changes: Mapping[str, str]) -> dict[str, str]:
    """Return a shop's settings as they would be stored after changes. Raises ConfigurationError with every fault."""
    wanted = {**shop.stored_settings, **changes}
    wanted = {key: value for key, value in wanted.items() if value != "" or key not in changes}
    parse_settings(wanted)
    return wanted


def holds_shops(database_url: str) -> bool:
    """Tell whether a database holds shops already; one that is not there, or has no tables yet, holds none."""
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
        if faults := faults_of(new):
            raise ConfigurationError(faults)
        row = Shop(
            name=new.name,
            platform=new.platform,
            shop_domain=with_lower_host(new.shop_domain) if new.shop_domain else None,
            engage_url=new.engage_url.rstrip("/"),
            engage_key_encrypted=self._vault.seal(new.engage_key),
            webhook_secrets_encrypted=self._vault.seal(json.dumps([new.webhook_secret])),
            shopper_secret_encrypted=self._vault.seal(_new_shopper_secret()),
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
        known = None if fresh else self._recently((platform, name))
        if known is not None:
            return known
        if not _NAME.match(name):  # PostgreSQL takes no statement with a NUL, which addresses may hold
            return None
        with self._database.reading() as session:
            row = session.scalar(select(Shop).where(Shop.name == name, Shop.platform == platform))
        return None if row is None else self._keep((platform, name), self._opened(row))

    def named(self, name: str) -> RegisteredShop | None:
        """Return the shop of an address /mypages/<name>, or None. Up to a second old."""
        known = self._recently(("", name))
        if known is not None:
            return known
        if not _NAME.match(name):
            return None
        with self._database.reading() as session:
            row = session.scalar(select(Shop).where(Shop.name == name))
        return None if row is None else self._keep(("", name), self._opened(row))

    def by_id(self, shop_id: int) -> RegisteredShop:
        """Return a shop by row id, up to a second old. Raises NotFoundHereError."""
        known = self._recently(shop_id)
        if known is not None:
            return known
        with self._database.reading() as session:
            row = session.get(Shop, shop_id)
        if row is None:
            raise NotFoundHereError(f"There is no shop with the row id {shop_id}.")
        return self._keep(shop_id, self._opened(row))

    def of_domain(self, platform: str, domain: str) -> RegisteredShop | None:
        """Return the shop of a platform's domain, its host in lower case, or None. Up to a second old."""
        known = self._recently((platform, f"@{domain}"))
        if known is not None:
            return known
        with self._database.reading() as session:
            row = session.scalar(select(Shop).where(Shop.platform == platform, Shop.shop_domain == domain))
        return None if row is None else self._keep((platform, f"@{domain}"), self._opened(row))

    def of_platform(self, platform: str) -> tuple[RegisteredShop, ...]:
        """Return every shop of a platform that can be opened, for app-wide addresses."""
        with self._database.reading() as session:
            rows = session.scalars(select(Shop).where(Shop.platform == platform).order_by(Shop.id)).all()
        return tuple(self._that_open(rows))

    def all(self) -> tuple[RegisteredShop, ...]:
        """Return every shop by name; one that cannot be opened is left out, told in the log, and in `unopened`."""
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
        """Where a shop's secrets cannot be opened, store others, so that it can be set up again; tell whether it was so.

        Its Engage key is lost: deliveries must be stopped.
        """
        with self._database.transaction() as session:
            sealed = session.scalars(select(Shop.engage_key_encrypted).where(Shop.id == shop_id)).one()
            if self._vault.opens(sealed):
                return False
            values = {
                "engage_key_encrypted": self._vault.seal(""),
                "webhook_secrets_encrypted": self._vault.seal(json.dumps([webhook_secret])),
                "shopper_secret_encrypted": self._vault.seal(_new_shopper_secret()),
                "credentials_encrypted": None,
                "file_access_encrypted": None,
            }
            session.execute(update(Shop).where(Shop.id == shop_id).values(**values))
        self._recent.clear()
        return True

    def change(self, name: str, changes: Mapping[str, str]) -> RegisteredShop:
        """Set settings; an empty text takes one back to its default. Raises ConfigurationError, NotFoundHereError."""
        shop = self.get(name)
        wanted = changed_settings(shop, changes)
        with self._database.transaction() as session:
            session.execute(update(Shop).where(Shop.id == shop.id).values(settings=wanted))
        self._recent.clear()
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
            again = webhook_secret == shop.webhook_secrets[0]
            kept = [webhook_secret] if again else [webhook_secret, shop.webhook_secrets[0]]
            values["webhook_secrets_encrypted"] = self._vault.seal(json.dumps(kept))
        if values:
            with self._database.transaction() as session:
                session.execute(update(Shop).where(Shop.id == shop.id).values(**values))
                if "stopped_reason" in values:
                    reset_attempts(session, shop.id)
            self._recent.clear()
        return self.get(name)

    def keep_domain(self, name: str, domain: str) -> RegisteredShop:
        """Change the domain that a shop is found by. Raises ConflictError when another shop has it, NotFoundHereError."""
        shop = self.get(name)
        try:
            with self._database.transaction() as session:
                moved = update(Shop).where(Shop.id == shop.id).values(shop_domain=with_lower_host(domain))
                session.execute(moved)
        except IntegrityError as error:
            raise ConflictError(
                f"Another shop on {shop.platform} has this domain: `engage-plugin shops list` shows them."
            ) from error
        self._recent.clear()
        return self.get(name)

    def save_credentials(self, name: str, credentials: Mapping[str, Any]) -> RegisteredShop:
        """Store a platform's keys and tokens, sealed; they take the place of those before. Raises NotFoundHereError."""
        self.get(name)  # with another SECRET_KEY than the shop's nothing is stored
        sealed = self._vault.seal(json.dumps(dict(credentials)))
        with self._database.transaction() as session:
            session.execute(update(Shop).where(Shop.name == name).values(credentials_encrypted=sealed))
        self._recent.clear()
        return self.get(name)

    def keep_file_access(self, name: str, access: Mapping[str, str]) -> RegisteredShop:
        """Store the SFTP user's password or key, sealed, in the place of what was there. Raises NotFoundHereError."""
        self.get(name)  # with another SECRET_KEY than the shop's nothing is stored
        sealed = self._vault.seal(json.dumps(dict(access)))
        with self._database.transaction() as session:
            session.execute(update(Shop).where(Shop.name == name).values(file_access_encrypted=sealed))
        self._recent.clear()
        return self.get(name)

    def uninstall(self, shop_id: int, reason: str) -> None:
        """Stop a shop's deliveries and drop its keys and tokens: the platform took them back."""
        with self._database.transaction() as session:
            session.execute(
                update(Shop).where(Shop.id == shop_id).values(stopped_reason=reason, credentials_encrypted=None)
            )
        self._recent.clear()

    def stop(self, shop_id: int, reason: str) -> None:
        """Stop a shop's deliveries until an operator mends the cause. One that is stopped keeps its first reason."""
        runs = (Shop.id == shop_id, Shop.stopped_reason.is_(None))
        with self._database.transaction() as session:
            session.execute(update(Shop).where(*runs).values(stopped_reason=reason))
        self._recent.clear()

    def start(self, shop_id: int) -> None:
        """Let a stopped shop's deliveries go on, with the patience of a first try."""
        with self._database.transaction() as session:
            session.execute(update(Shop).where(Shop.id == shop_id).values(stopped_reason=None))
            reset_attempts(session, shop_id)
        self._recent.clear()

    def _recently(self, key: tuple[str, str] | int) -> RegisteredShop | None:
        read_at, shop = self._recent.get(key, (-RECENT_S, None))
        return shop if time.monotonic() - read_at < RECENT_S else None

    def _keep(self, key: tuple[str, str] | int, shop: RegisteredShop) -> RegisteredShop:
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
        """Open a shop's secrets. Raises ConfigurationError that names the shop."""
        try:
            return self._with_open_secrets(row)
        except ConfigurationError as error:
            raise ConfigurationError([f"shop {row.name}: {fault}" for fault in error.faults]) from error

    def _with_open_secrets(self, row: Shop) -> RegisteredShop:
        return RegisteredShop(
            id=row.id,
            name=row.name,
            platform=row.platform,
            shop_domain=row.shop_domain,
            engage_url=row.engage_url,
            tenant=hashlib.sha256(row.engage_url.encode()).hexdigest()[:16],
            settings=parse_settings(row.settings),
            stopped_reason=row.stopped_reason,
            created_at=row.created_at,
            stored_settings=row.settings,
            engage_key=self._vault.open(row.engage_key_encrypted),
            webhook_secrets=tuple(json.loads(self._vault.open(row.webhook_secrets_encrypted))),
            shopper_secret=self._vault.open(row.shopper_secret_encrypted),
            credentials={}
            if row.credentials_encrypted is None
            else json.loads(self._vault.open(row.credentials_encrypted)),
            file_access={}
            if row.file_access_encrypted is None
            else json.loads(self._vault.open(row.file_access_encrypted)),
        )


def _new_shopper_secret() -> str:
    return random_secrets.token_urlsafe(SHOPPER_SECRET_BYTES)


def _no_shop(name: str) -> NotFoundHereError:
    return NotFoundHereError(f"There is no shop named {name!r}: `engage-plugin shops list` shows those that are.")
