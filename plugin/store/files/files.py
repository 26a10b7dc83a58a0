"""Files of the fallback: what state each is in and why. Every change names the state that it must come from, so that of
two workers one continues and the other stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from plugin.errors import NotFoundHereError
from plugin.store.contacts.sync_state import sync_state_row, sync_state_upsert
from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.files.rows import NameOf, deliver, new_file
from plugin.store.orders.orders import write_refund
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FallbackFile, FallbackRow, FileState
from plugin.store.tables.orders import ShopOrder
from plugin.store.tables.shops import Shop

ENDED = (FileState.PICKED_UP, FileState.RECALLED, FileState.FAILED)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is recorded. See FallbackFile for what each field says."""

    id: int
    shop: str
    kind: str
    origin: str
    sequence: int
    name: str
    state: FileState
    reason: str
    sha256: str | None
    size: int | None
    lines: int | None
    rows: int
    cleaned: int
    temporary: str | None
    erased: bool
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    deleted_at: datetime | None


class FallbackFiles:
    """Reads and changes files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def live(self, shop: RegisteredShop, *states: FileState) -> list[StoredFile]:
        """Return files of a shop that are in these states, in the order of their sequence."""
        return self._find(FallbackFile.shop_id == shop.id, FallbackFile.state.in_(states))

    def has_open(self, shop: RegisteredShop) -> bool:
        """Return whether any file of a shop is on its way, or still has a copy here that is no longer needed."""
        ended = FallbackFile.state.in_([state.value for state in ENDED])
        lies_here = (FallbackFile.state != FileState.FAILED) & FallbackFile.deleted_at.is_(None)
        found = select(FallbackFile.id).where(FallbackFile.shop_id == shop.id, ~ended | lies_here).limit(1)
        with self._database.reading() as session:
            return session.scalar(found) is not None

    def undeleted(self, shop: RegisteredShop, taken_before: datetime) -> list[StoredFile]:
        """Return files whose copies here have served: recalled ones, and those taken before a time."""
        served = (FallbackFile.state == FileState.RECALLED) | (
            (FallbackFile.state == FileState.PICKED_UP) & (FallbackFile.ended_at < taken_before)
        )
        return self._find(FallbackFile.shop_id == shop.id, served, FallbackFile.deleted_at.is_(None))

    def known(self, shop: RegisteredShop, names: Sequence[str]) -> set[str]:
        """Return those of some names that are files of a shop."""
        statement = select(FallbackFile.name).where(FallbackFile.shop_id == shop.id, FallbackFile.name.in_(names))
        with self._database.reading() as session:
            return set(session.scalars(statement))

    def newest(self, shop: RegisteredShop | None, limit: int) -> list[StoredFile]:
        """Return the newest files, of one shop or of all, newest first."""
        mine = [] if shop is None else [FallbackFile.shop_id == shop.id]
        return self._find(*mine, limit=limit)

    def get(self, name: str) -> StoredFile:
        """Return a file by its name. Raises NotFoundHereError."""
        found = self._find(FallbackFile.name == name)
        if not found:
            raise NotFoundHereError(f"There is no file {name}: `engage-plugin fallback status` lists them.")
        return found[0]

    def counts(self, shop: RegisteredShop) -> dict[str, int]:
        """Return how many files of a shop are in each state."""
        statement = (
            select(FallbackFile.state, func.count()).where(FallbackFile.shop_id == shop.id).group_by(FallbackFile.state)
        )
        with self._database.reading() as session:
            return {str(state): int(number) for state, number in session.execute(statement)}

    def reserve(self, shop: RegisteredShop, kind: str, origin: str, name_of: NameOf, now: datetime) -> StoredFile:
        """Add a file without events, such as one of a shop's history, in state `writing`."""
        with self._database.transaction() as session:
            file = new_file(session, shop, kind, origin, 0, name_of, now)
        return self.get(file.name)

    def written(
        self, file_id: int, *, sha256: str, size: int, lines: int, rows: int, cleaned: int, now: datetime
    ) -> bool:
        """Note that a file has its final name here."""
        values = {"sha256": sha256, "size": size, "lines": lines, "row_count": rows, "cleaned": cleaned}
        return self._move(
            file_id,
            (FileState.WRITING,),
            FileState.WRITTEN,
            **values,
            reason="waits to be sent",
            next_attempt_at=now,
        )

    def begin_sending(self, file_id: int, temporary: str) -> bool:
        """Note that a file begins to travel under a temporary name; not one in which a person was erased."""
        return self._move(
            file_id,
            (FileState.WRITTEN,),
            FileState.SENDING,
            FallbackFile.erased.is_(False),
            temporary=temporary,
            reason="is on its way",
        )

    def begin_renaming(self, file_id: int, temporary: str) -> bool:
        """Note that a file lies there whole and gets its name now: from here on its end is unknown until it is seen."""
        return self._move(
            file_id,
            (FileState.SENDING,),
            FileState.RENAMING,
            FallbackFile.erased.is_(False),
            FallbackFile.temporary == temporary,
            reason="is being renamed on the server",
        )

    def back_to_written(self, file_id: int, states: Sequence[FileState], reason: str, at: datetime) -> bool:
        """Note that a file did not get there; it is sent again at a time."""
        return self._move(
            file_id,
            states,
            FileState.WRITTEN,
            reason=reason,
            next_attempt_at=at,
            attempts=FallbackFile.attempts + 1,
        )

    def explain(self, file_id: int, reason: str, at: datetime | None) -> None:
        """Say why a file is in its state, and when it is looked at again."""
        with self._database.transaction() as session:
            values = {"reason": reason, "next_attempt_at": at}
            run(session, update(FallbackFile).where(FallbackFile.id == file_id).values(**values))

    def sent(self, file_id: int, now: datetime, look_at: datetime) -> bool:
        """Note that a file is on the server under its name."""
        return self._move(
            file_id,
            (FileState.RENAMING,),
            FileState.SENT,
            reason="on the server; not picked up yet",
            sent_at=now,
            next_attempt_at=look_at,
        )

    def begin_recalling(self, file_id: int) -> bool:
        """Note that a file is being taken back out of a folder."""
        return self._move(
            file_id, (FileState.SENT,), FileState.RECALLING, reason="is being taken back out of the folder"
        )

    def fail(self, file_id: int, reason: str, now: datetime) -> bool:
        """Note that a file without events cannot be sent any more."""
        states = (FileState.WRITING, FileState.WRITTEN, FileState.SENDING)
        return self._move(file_id, states, FileState.FAILED, reason=reason, ended_at=now, next_attempt_at=None)

    def deleted(self, file_id: int, now: datetime) -> None:
        """Note that the copy here was deleted."""
        with self._database.transaction() as session:
            run(session, update(FallbackFile).where(FallbackFile.id == file_id).values(deleted_at=now))

    def send_now(self, shop: RegisteredShop, now: datetime) -> int:
        """Make files that wait for their next try due; return how many."""
        this = update(FallbackFile).where(FallbackFile.shop_id == shop.id, FallbackFile.state.not_in(ENDED))
        with self._database.transaction() as session:
            return run(session, this.where(FallbackFile.next_attempt_at.is_not(None)).values(next_attempt_at=now))

    def taken(self, shop: RegisteredShop, file: StoredFile, reason: str, now: datetime) -> bool:
        """Note that a file was taken, with all that follows: its receipts are sent, their events delivered."""
        before = (FileState.RENAMING, FileState.SENT, FileState.RECALLING)
        with self._database.transaction() as session:
            values = {"state": FileState.PICKED_UP, "reason": reason, "ended_at": now, "next_attempt_at": None}
            this = update(FallbackFile).where(FallbackFile.id == file.id, FallbackFile.state.in_(before))
            if run(session, this.values(**values)) != 1:
                return False
            if file.sent_at is None:
                run(session, update(FallbackFile).where(FallbackFile.id == file.id).values(sent_at=now))
            if file.kind == "receipts":
                _receipts_taken(session, self._database, shop, file.id, now)
            return True

    def forget_rows(self, shop: RegisteredShop, before: datetime) -> None:
        """Delete what is recorded of the rows of files that were taken before a time."""
        old = select(FallbackFile.id).where(
            FallbackFile.shop_id == shop.id, FallbackFile.state == FileState.PICKED_UP, FallbackFile.ended_at < before
        )
        with self._database.transaction() as session:
            session.execute(delete(FallbackRow).where(FallbackRow.file_id.in_(old)))

    def _move(
        self,
        file_id: int,
        states: Sequence[FileState],
        to: FileState,
        *conditions: ColumnElement[bool],
        **values: Any,
    ) -> bool:
        this = update(FallbackFile).where(FallbackFile.id == file_id, FallbackFile.state.in_(states), *conditions)
        with self._database.transaction() as session:
            return run(session, this.values(state=to, **values)) == 1

    def _find(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[StoredFile]:
        statement = select(FallbackFile, Shop.name).join(Shop, Shop.id == FallbackFile.shop_id).where(*conditions)
        order = FallbackFile.id if limit is None else FallbackFile.id.desc()
        with self._database.reading() as session:
            return [_stored(row, shop) for row, shop in session.execute(statement.order_by(order).limit(limit)).all()]


def _receipts_taken(session: Session, database: Database, shop: RegisteredShop, file_id: int, now: datetime) -> None:
    rows = session.execute(
        select(FallbackRow.event_id, FallbackRow.rest, FallbackRow.details).where(FallbackRow.file_id == file_id)
    ).all()
    orders = [row.details["order_id"] for row in rows if "refund_id" not in row.details]
    for start in range(0, len(orders), 500):
        these = update(ShopOrder).where(
            ShopOrder.shop_id == shop.id, ShopOrder.order_id.in_(orders[start : start + 500])
        )
        run(session, these.where(ShopOrder.receipt_sent_at.is_(None)).values(receipt_sent_at=now))
    for row in rows:
        if "refund_id" in row.details:
            write_refund(session, shop, row.details["order_id"], row.details["refund_id"], row.details["refund"])
    _forget_cached(session, database, shop, {row.details["contact_id"] for row in rows}, now)
    deliver(session, [row.event_id for row in rows if not row.rest], now)


def _forget_cached(
    session: Session, database: Database, shop: RegisteredShop, contact_ids: set[str], now: datetime
) -> None:
    """Make cached pages of contacts unreachable, as `SyncStates.bump_generation_write` does for one."""
    rows = [sync_state_row(shop, contact_id, {}, now) for contact_id in sorted(contact_ids)]
    if rows:
        session.connection().execute(sync_state_upsert(database), rows)


def _stored(row: FallbackFile, shop: str) -> StoredFile:
    return StoredFile(
        row.id, shop, row.kind, row.origin, row.sequence or row.id, row.name, FileState(row.state), row.reason,
        row.sha256, row.size, row.lines, row.row_count, row.cleaned, row.temporary, row.erased, row.attempts,
        row.next_attempt_at, row.created_at, row.sent_at, row.ended_at, row.deleted_at,
    )  # fmt: skip
