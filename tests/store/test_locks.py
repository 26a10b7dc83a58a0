"""Named locks: one holder at a time, for a limited time, on both databases."""

from datetime import timedelta

import pytest
from support.helpers import Clock

from plugin.store.database.engine import Database
from plugin.store.locks import NamedLocks

MINUTE = timedelta(minutes=1)


@pytest.fixture
def locks(database: Database) -> NamedLocks:
    return NamedLocks(database)


def test_a_lock_has_one_holder(locks: NamedLocks, clock: Clock) -> None:
    assert locks.acquire("contact", clock(), MINUTE)
    assert locks.acquire("contact", clock(), MINUTE) is None
    assert locks.acquire("another contact", clock(), MINUTE)


def test_a_released_lock_is_free(locks: NamedLocks, clock: Clock) -> None:
    token = locks.acquire("contact", clock(), MINUTE)
    assert token is not None
    locks.release("contact", token)
    assert locks.acquire("contact", clock(), MINUTE)


def test_an_expired_lock_is_taken_over_and_its_former_holder_releases_nothing(locks: NamedLocks, clock: Clock) -> None:
    former = locks.acquire("contact", clock(), MINUTE)
    assert former is not None
    clock.forward(61)
    holder = locks.acquire("contact", clock(), MINUTE)
    assert holder not in {None, former}
    assert not locks.extend("contact", former, clock(), MINUTE)
    locks.release("contact", former)
    assert locks.acquire("contact", clock(), MINUTE) is None


def test_an_extended_lock_lasts_longer(locks: NamedLocks, clock: Clock) -> None:
    token = locks.acquire("contact", clock(), MINUTE)
    assert token is not None
    clock.forward(50)
    assert locks.extend("contact", token, clock(), MINUTE)
    clock.forward(50)
    assert locks.acquire("contact", clock(), MINUTE) is None


def test_a_block_that_fails_releases_its_lock(locks: NamedLocks, clock: Clock) -> None:
    def fail() -> None:
        with locks.hold("files", clock, MINUTE) as token:
            raise ValueError(f"a fault, {'with' if token else 'without'} the lock")

    with pytest.raises(ValueError, match="with the lock"):
        fail()
    assert locks.acquire("files", clock(), MINUTE)


def test_a_block_without_the_lock_releases_nothing(locks: NamedLocks, clock: Clock) -> None:
    assert locks.acquire("files", clock(), MINUTE)
    with locks.hold("files", clock, MINUTE) as token:
        assert token is None
    assert locks.acquire("files", clock(), MINUTE) is None
