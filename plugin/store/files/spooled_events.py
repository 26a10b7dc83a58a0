"""Events of the inbox that go into files while Engage stays away, and how they come back.

An event is `spooled` as soon as it is in the rows of a file, before the file is written: what a crash leaves behind
is a file in state `writing`, whose events are released. So the same event is never in a file and under work at once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, exists, insert, select, update
from sqlalchemy.orm import Session, aliased

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.files.rows import (
    CHUNK,
    UPLOADED_STATES,
    NameOf,
    PendingEvent,
    ReservedFile,
    Spooled,
    chunks,
    deliver,
    new_file,
    note,
)
from plugin.store.inbox.claiming import UNBLOCKED, release_next, unblock
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FallbackFile, FallbackRow, FileOrigin, FileState
from plugin.store.tables.inbox import InboxEvent, State, is_in, is_unfinished


class FallbackInbox:
    """Moves events into files and back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting_customers(
        self, shop: RegisteredShop, kinds: Sequence[EventKind], after: str, limit: int
    ) -> tuple[str, dict[str, list[PendingEvent]]]:
        """Return unfinished events of the next customers with pending events of these kinds, each in their order.

        after: the ordering key that the last call ended with, "" at first. The key returned is "" at the end.
        """
        with self._database.reading() as session:
            keys = list(
                session.scalars(
                    select(InboxEvent.ordering_key)
                    .where(
                        is_in(State.PENDING),
                        is_unfinished(),
                        InboxEvent.shop_id == shop.id,
                        InboxEvent.kind.in_(kinds),
                        InboxEvent.ordering_key > after,
                    )
                    .distinct()
                    .order_by(InboxEvent.ordering_key)
                    .limit(limit)
                )
            )
            rows = session.execute(
                select(
                    InboxEvent.id, InboxEvent.kind, InboxEvent.state, InboxEvent.platform, InboxEvent.topic,
                    InboxEvent.meta, InboxEvent.body, InboxEvent.occurred_at, InboxEvent.received_at,
                    InboxEvent.progress, InboxEvent.non_blocking, InboxEvent.blocks_later_changes, InboxEvent.ordering_key,
                )
                .where(is_unfinished(), InboxEvent.shop_id == shop.id, InboxEvent.ordering_key.in_(keys))
                .order_by(InboxEvent.occurred_at, InboxEvent.id)
            ).all()  # fmt: skip
        found: dict[str, list[PendingEvent]] = {key: [] for key in keys}
        for row in rows:
            found[row.ordering_key].append(
                PendingEvent(
                    row.id, row.kind, row.state, row.platform, row.topic, row.meta, row.body, row.occurred_at,
                    row.received_at, dict(row.progress), row.non_blocking, row.blocks_later_changes,
                )
            )  # fmt: skip
        return (keys[-1] if len(keys) == limit else ""), found

    def open_files(
        self, shop: RegisteredShop, planned: Sequence[Spooled], name_of: NameOf, now: datetime
    ) -> tuple[ReservedFile, ...]:
        """Move events from the inbox into rows of new files, one file per kind, in one commit.

        Events that changed since they were planned stay in the inbox, with the later ones of the same customer.
        """
        with self._database.transaction() as session:
            accepted = self._accepted(session, shop, planned)
            if not accepted:
                return ()
            kinds = dict.fromkeys(entry.kind for spooled in accepted for entry in spooled.entries)
            files = {kind: self._new_file(session, shop, kind, accepted, name_of, now) for kind in kinds}
            session.connection().execute(
                insert(FallbackRow),
                [
                    {
                        "file_id": files[entry.kind].id,
                        "event_id": spooled.event_id,
                        "shop_id": shop.id,
                        "key": entry.key,
                        "rest": spooled.rest if place == 0 else False,
                        "details": dict(entry.details),
                    }
                    for spooled in accepted
                    for place, entry in enumerate(spooled.entries)
                ],
            )
            for spooled in accepted:
                _spool(session, spooled, files[spooled.entries[0].kind].name)
            note(
                session,
                [spooled.event_id for spooled in accepted],
                "spooled",
                "written to a file; Engage stays away",
                now,
            )
            for key in dict.fromkeys(spooled.ordering_key for spooled in accepted):
                release_next(session, shop.id, key, now)
            return tuple(
                ReservedFile(
                    file.id,
                    kind,
                    file.name,
                    tuple(entry for spooled in accepted for entry in spooled.entries if entry.kind == kind),
                    tuple(spooled.event_id for spooled in accepted for entry in spooled.entries if entry.kind == kind),
                )
                for kind, file in files.items()
            )

    def _accepted(self, session: Session, shop: RegisteredShop, planned: Sequence[Spooled]) -> list[Spooled]:
        free: set[int] = set()
        taken: set[str] = set()
        for chunk in chunks([spooled.event_id for spooled in planned]):
            locked = select(InboxEvent.id).where(InboxEvent.id.in_(chunk), is_in(State.PENDING))
            free.update(session.scalars(locked.order_by(InboxEvent.id).with_for_update(skip_locked=True)))
        for keys in chunks([entry.key for spooled in planned for entry in spooled.entries]):
            same = select(FallbackRow.key).where(FallbackRow.shop_id == shop.id, FallbackRow.key.in_(keys))
            taken.update(session.scalars(same))
        accepted, stopped = [], set()
        for spooled in planned:
            if spooled.event_id not in free or spooled.entries[0].key in taken or spooled.ordering_key in stopped:
                stopped.add(spooled.ordering_key)
                continue
            entries = tuple(entry for entry in spooled.entries if entry.key not in taken)
            taken.update(entry.key for entry in entries)
            accepted.append(
                Spooled(spooled.event_id, spooled.ordering_key, entries, spooled.rest, spooled.steps, spooled.write)
            )
        return accepted

    def _new_file(
        self,
        session: Session,
        shop: RegisteredShop,
        kind: str,
        accepted: Sequence[Spooled],
        name_of: NameOf,
        now: datetime,
    ) -> FallbackFile:
        rows = sum(entry.kind == kind for spooled in accepted for entry in spooled.entries)
        return new_file(session, shop, kind, FileOrigin.INBOX, rows, name_of, now)

    def release(
        self, file_id: int, states: Sequence[FileState], reason: str, now: datetime, *, failed: bool = False
    ) -> bool:
        """Take a file back whose rows did not get anywhere, or whose end is unknown: its events are due again.

        states: in which it must be. What an erased person had in it is discarded. Returns whether it was done.
        """
        with self._database.transaction() as session:
            state = FileState.FAILED if failed else FileState.RECALLED
            values = {"state": state, "reason": reason, "ended_at": now, "next_attempt_at": None}
            this = update(FallbackFile).where(FallbackFile.id == file_id, FallbackFile.state.in_(states))
            if run(session, this.values(**values)) != 1:
                return False
            kind = session.scalar(select(FallbackFile.kind).where(FallbackFile.id == file_id))
            ids = list(session.scalars(select(FallbackRow.event_id).where(FallbackRow.file_id == file_id)))
            session.execute(delete(FallbackRow).where(FallbackRow.file_id == file_id))
            if kind != "redemptions":  # an order with redemptions has its own place in a receipts file
                for chunk in chunks(ids):
                    _back_to_inbox(session, chunk, now)
            note(session, ids, "recalled", reason, now)
            return True

    def release_rest(self, shop: RegisteredShop, now: datetime) -> int:
        """Engage answers: let events whose files were uploaded do through the API what no file does.

        Contacts and redemptions are checked, a receipt is not sent again. Returns how many are due now.
        """
        with self._database.transaction() as session:
            rows = session.execute(
                select(FallbackRow.id, FallbackRow.event_id, FallbackRow.key, FallbackFile.kind)
                .join(FallbackFile, FallbackFile.id == FallbackRow.file_id)
                .where(FallbackRow.shop_id == shop.id, FallbackRow.rest, FallbackFile.state.in_(UPLOADED_STATES))
                .limit(CHUNK)
            ).all()
            if not rows:
                return 0
            run(session, update(FallbackRow).where(FallbackRow.id.in_([row.id for row in rows])).values(rest=False))
            released = 0
            for row in rows:
                step = {"receipt": row.key} if row.kind == "receipts" else {"filed": True}
                released += _make_due(session, row.event_id, step, now)
            return released

    def settle(self, shop: RegisteredShop, now: datetime) -> int:
        """End events whose receipts were taken and that need nothing more. Returns how many."""
        other_file, other = aliased(FallbackFile), aliased(FallbackRow)
        taken = exists().where(
            FallbackRow.event_id == InboxEvent.id,
            FallbackRow.file_id == FallbackFile.id,
            FallbackFile.kind == "receipts",
            FallbackFile.state == FileState.PICKED_UP,
        )
        unfinished = exists().where(
            other.event_id == InboxEvent.id,
            other.file_id == other_file.id,
            other.rest | ((other_file.kind == "receipts") & (other_file.state != FileState.PICKED_UP)),
        )
        with self._database.transaction() as session:
            ids = list(
                session.scalars(
                    select(InboxEvent.id)
                    .where(InboxEvent.shop_id == shop.id, is_in(State.SPOOLED), taken, ~unfinished)
                    .limit(CHUNK)
                )
            )
            deliver(session, ids, now)
            return len(ids)

    def has_spooled(self, shop: RegisteredShop) -> bool:
        """Return whether any event of a shop is spooled."""
        spooled = select(InboxEvent.id).where(InboxEvent.shop_id == shop.id, is_in(State.SPOOLED)).limit(1)
        with self._database.reading() as session:
            return session.scalar(spooled) is not None

    def file_of(self, shop: RegisteredShop, receipt_id: str) -> str | None:
        """Return the name of the file that holds a receipt and was not taken yet, or None."""
        with self._database.reading() as session:
            return session.scalar(
                select(FallbackFile.name)
                .join(FallbackRow, FallbackRow.file_id == FallbackFile.id)
                .where(
                    FallbackRow.shop_id == shop.id,
                    FallbackRow.key == receipt_id,
                    FallbackFile.state != FileState.PICKED_UP,
                )
            )


def _spool(session: Session, spooled: Spooled, name: str) -> None:
    progress = session.scalar(select(InboxEvent.progress).where(InboxEvent.id == spooled.event_id)) or {}
    values = {
        "state": State.SPOOLED,
        "progress": {**progress, **spooled.steps},
        "next_attempt_at": None,
        "blocked_by_id": None,
        "non_blocking": False,
        "last_error": f"In the file {name}.",
        "error_code": "in_file",
        "finished_at": None,
    }
    run(session, update(InboxEvent).where(InboxEvent.id == spooled.event_id).values(**values))
    if spooled.write is not None:
        spooled.write(session)


_DUE_AGAIN = {
    "state": State.PENDING,
    "attempts": 0,
    "first_attempt_at": None,
    "lost_leases": 0,
    **UNBLOCKED,
    "last_error": None,
    "error_code": None,
    "finished_at": None,
}
_GONE = {"state": State.DISCARDED, "last_error": "The customer was erased.", "error_code": "erased"}


def _back_to_inbox(session: Session, ids: Sequence[int], now: datetime) -> None:
    spooled = and_(InboxEvent.id.in_(ids), is_in(State.SPOOLED))
    run(session, update(InboxEvent).where(spooled, InboxEvent.body.is_(None)).values(**_GONE, finished_at=now))
    run(session, update(InboxEvent).where(spooled).values(**_DUE_AGAIN, next_attempt_at=now))


def _make_due(session: Session, event_id: int, steps: Mapping[str, Any], now: datetime) -> int:
    event = session.execute(
        select(InboxEvent.progress, InboxEvent.body)
        .where(InboxEvent.id == event_id, is_in(State.SPOOLED))
        .with_for_update()
    ).one_or_none()
    this = update(InboxEvent).where(InboxEvent.id == event_id, is_in(State.SPOOLED))
    if event is None:
        return 0
    if event.body is None:  # erased: a receipt on its way ends when its file is taken, a contact's change ends here
        if "filed" in steps:
            run(session, this.values(**_GONE, finished_at=now))
            unblock(session, event_id)
        return 0
    return run(session, this.values(**_DUE_AGAIN, progress={**event.progress, **steps}, next_attempt_at=now))
