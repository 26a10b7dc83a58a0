"""Faults that can be switched on while the sandbox runs: slowness, errors, outages, and work done without an answer."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


class FaultError(ValueError):
    """A fault has a name or a value that the sandbox does not know. The text names what is allowed."""


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """The faults in force. Rates are between 0 and 1, times in seconds.

    next: with a number N, the given faults are applied to the next N matching calls for certain (every rate above 0
    counts as 1) and are then cleared. operations: the operationIds concerned; empty means all.
    """

    latency_s: float = 0.0
    latency_jitter_s: float = 0.0
    error_rate: float = 0.0
    error_statuses: tuple[int, ...] = (500, 502, 503)
    outage: bool = False
    outage_mode: str = "503"
    done_but_504_rate: float = 0.0
    done_but_dropped_rate: float = 0.0
    rate_429: float = 0.0
    retry_after_s: int | None = None
    operations: tuple[str, ...] = ()
    next: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Strike:
    """The faults of one call. status: answered instead of doing the work; after: what becomes of the answer to work that was done."""

    name: str | None = None
    delay_s: float = 0.0
    status: int | None = None
    drop: bool = False
    after: str | None = None
    retry_after_s: int | None = None


NO_STRIKE = Strike()
OUTAGE_MODES = ("503", "drop")
_RATES = ("error_rate", "done_but_504_rate", "done_but_dropped_rate", "rate_429")


class Faults:
    """The faults in force and the random numbers that choose the calls; the same seed chooses the same calls."""

    def __init__(self) -> None:
        self.settings = FaultSettings()
        self._random = random.Random(0)  # noqa: S311 - chooses which calls fail, guards nothing
        self._quiet = True

    def clear(self) -> None:
        """End all faults."""
        self._set(FaultSettings())

    def update(self, changes: Mapping[str, Any], operation_ids: frozenset[str]) -> None:
        """Change some faults. Raises FaultError for an unknown name, a wrong value or an unknown operation."""
        names = [item.name for item in fields(FaultSettings)]
        unknown = sorted(set(changes) - set(names))
        if unknown:
            raise FaultError(f"Unknown fault {', '.join(unknown)}; known are {', '.join(names)}.")
        checked = {name: _checked(name, value, operation_ids) for name, value in changes.items()}
        self._set(replace(self.settings, **checked), reseed="seed" in changes)

    def as_json(self) -> dict[str, Any]:
        """Return the faults in force."""
        return asdict(self.settings)

    def strike(self, operation_id: str) -> Strike:
        """Return the faults of a call of this operation, and count it where `next` is set."""
        if self._quiet:
            return NO_STRIKE
        now = self.settings
        if now.operations and operation_id not in now.operations:
            return NO_STRIKE
        if now.next is not None:
            left = now.next - 1
            self._set(FaultSettings() if left <= 0 else replace(now, next=left))
        struck = self._choose(now)
        jitter = self._random.random() * now.latency_jitter_s
        return replace(
            struck, delay_s=now.latency_s + jitter, name=struck.name or ("latency" if now.latency_s else None)
        )

    def _choose(self, now: FaultSettings) -> Strike:
        wait = now.retry_after_s
        if now.outage:
            down = now.outage_mode == "drop"
            return Strike("outage", drop=True) if down else Strike("outage", status=503, retry_after_s=wait)
        if self._hits(now.rate_429, now):
            return Strike("rate_429", status=429, retry_after_s=wait)
        if self._hits(now.error_rate, now):
            return Strike("error", status=self._random.choice(now.error_statuses), retry_after_s=wait)
        if self._hits(now.done_but_504_rate, now):
            return Strike("done_but_504", after="504")
        dropped = self._hits(now.done_but_dropped_rate, now)
        return Strike("done_but_dropped", after="drop") if dropped else NO_STRIKE

    def _hits(self, rate: float, now: FaultSettings) -> bool:
        if rate <= 0:
            return False
        return now.next is not None or self._random.random() < rate

    def _set(self, settings: FaultSettings, *, reseed: bool = False) -> None:
        if reseed or settings.seed != self.settings.seed:
            self._random.seed(settings.seed)
        self.settings = settings
        plain = FaultSettings(operations=settings.operations, seed=settings.seed)
        self._quiet = (
            replace(plain, error_statuses=settings.error_statuses, outage_mode=settings.outage_mode) == settings
        )


def _checked(name: str, value: Any, operation_ids: frozenset[str]) -> Any:
    if name == "operations":
        return _operations(value, operation_ids)
    if name == "error_statuses":
        return _statuses(value)
    if name == "outage_mode":
        if value not in OUTAGE_MODES:
            raise FaultError("outage_mode must be 503 or drop.")
        return value
    if name == "outage":
        if not isinstance(value, bool):
            raise FaultError("outage must be true or false.")
        return value
    if value is None and name in {"next", "retry_after_s"}:
        return None
    return _number(name, value)


def _number(name: str, value: Any) -> float | int:
    minimum, maximum = (0, 1) if name in _RATES else (1, 1_000_000) if name == "next" else (0, 3_600)
    if name == "seed":
        minimum, maximum = 0, 2**31
    whole = name in {"next", "retry_after_s", "seed"}
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else (int, float))
        or not minimum <= value <= maximum
    ):
        raise FaultError(f"{name} must be a {'whole ' if whole else ''}number from {minimum} to {maximum}.")
    return int(value) if whole else float(value)


def _statuses(value: Any) -> tuple[int, ...]:
    allowed = (400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504)
    if not isinstance(value, list) or not value or not all(entry in allowed and type(entry) is int for entry in value):
        raise FaultError(f"error_statuses must be a list out of {', '.join(map(str, allowed))}.")
    return tuple(value)


def _operations(value: Any, operation_ids: frozenset[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise FaultError("operations must be a list of operation ids.")
    unknown = sorted(set(value) - operation_ids)
    if unknown:
        raise FaultError(
            f"operations has unknown ids: {', '.join(unknown)}; known are {', '.join(sorted(operation_ids))}."
        )
    return tuple(value)
