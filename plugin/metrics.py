"""Metrics for Prometheus. No label ever holds personal data.

The processes of one machine count into files of one folder; the process that serves /metrics adds them up.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy.exc import SQLAlchemyError

from plugin.engage.http.transport import CallRecord
from plugin.errors import ConfigurationError
from plugin.store.inbox.admin import EventAdmin

log = logging.getLogger(__name__)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


def share_metrics(folder: Path) -> None:
    """Make this process count into a folder that all processes of the machine share. Call it before Metrics is created."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ[FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


def delete_old_metrics(folder: Path) -> None:
    """Delete what the processes of an earlier start counted."""
    for path in folder.glob("*.db"):
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ShopHealth:
    """What the last check of a shop's webhook subscriptions and its last reconciliation found.

    differences: their number by kind. stopped: whether deliveries are stopped until an operator fixes the cause.
    """

    webhook_problems: int
    unreachable: bool
    checked_at: datetime | None
    differences: Mapping[str, int]
    stopped: bool = False


class Metrics:
    """Counters of this machine, and gauges that are read from database and Redis at each request.

    breakers: returns for each shop whether its circuit breaker is open. health: returns the ShopHealth of each shop.
    """

    def __init__(
        self,
        event_admin: EventAdmin,
        breakers: Callable[[], Mapping[str, bool]] = dict,
        health: Callable[[], Mapping[str, ShopHealth]] = dict,
    ) -> None:
        self.registry = CollectorRegistry()
        self._shared = os.environ.get(FOLDER)
        self._received = Counter(
            "engage_plugin_webhooks_total", "Webhooks by outcome", ("shop", "topic", "outcome"), registry=self.registry
        )
        self._tries = Counter(
            "engage_plugin_tries_total", "Tries by outcome", ("shop", "outcome"), registry=self.registry
        )
        self._calls = Histogram(
            "engage_plugin_call_seconds", "Calls to Engage", ("operation", "status"), registry=self.registry
        )
        self._waits = Histogram(
            "engage_plugin_throttle_wait_seconds",
            "Waits for the rate budget",
            ("lane",),
            registry=self.registry,
            buckets=WAITS,
        )
        self._cached = Counter(
            "engage_plugin_cache_reads_total", "Reads for My Pages", ("operation", "outcome"), registry=self.registry
        )
        self._unknown = Counter(
            "engage_plugin_unknown_answer_fields_total",
            "Fields of Engage's answers that the contract does not know",
            ("schema", "field"),
            registry=self.registry,
        )
        self._inbox = _InboxCollector(event_admin, breakers)
        self._shops = _ShopCollector(health)
        self.registry.register(self._inbox)
        self.registry.register(self._shops)

    def received(self, shop: str, topic: str, outcome: str) -> None:
        """Count a received webhook."""
        self._received.labels(shop, topic, outcome).inc()

    def tried(self, shop: str, outcome: str) -> None:
        """Count an attempt to process an event."""
        self._tries.labels(shop, outcome).inc()

    def called(self, call: CallRecord) -> None:
        """Record the duration of a call to Engage."""
        self._calls.labels(call.operation, str(call.status or "none")).observe(call.duration_s)

    def waited(self, lane: str, seconds: float) -> None:
        """Record how long a call waited for the rate limiter."""
        self._waits.labels(lane).observe(seconds)

    def read_through_cache(self, operation: str, outcome: str) -> None:
        """Count a read for My Pages: hit, miss or stale."""
        self._cached.labels(operation, outcome).inc()

    def unknown_field(self, schema: str, field: str) -> None:
        """Count a field of an answer that the contract does not have."""
        self._unknown.labels(schema, field).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if self._shared is None:
            return generate_latest(self.registry)
        all_processes = CollectorRegistry()
        MultiProcessCollector(all_processes, self._shared)  # type: ignore[no-untyped-call]
        all_processes.register(self._inbox)
        all_processes.register(self._shops)
        return generate_latest(all_processes)


class _InboxCollector:
    """Reads the inbox at each request, so that every process reports the same."""

    def __init__(self, event_admin: EventAdmin, breakers: Callable[[], Mapping[str, bool]]) -> None:
        self._event_admin = event_admin
        self._breakers = breakers

    def describe(self) -> list[Metric]:
        """Return nothing at registration: the database may not exist yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield whether the database answers; if so, events by state, the balance, what is late, and open breakers."""
        metrics, up = _read(self._inbox_metrics)
        yield GaugeMetricFamily("engage_plugin_database_up", "1 while the database answers", float(up))
        yield from metrics
        yield from _read(self._breaker_metrics)[0] if up else ()

    def _inbox_metrics(self) -> Iterator[Metric]:
        status = self._event_admin.status()
        states = GaugeMetricFamily("engage_plugin_events", "Events by state", labels=["state"])
        for state, amount in status.items():
            if state != "accepted":
                states.add_metric([state], amount)
        yield states
        accepted = status.pop("accepted")
        yield GaugeMetricFamily("engage_plugin_accepted", "Events accepted", accepted)
        yield GaugeMetricFamily(
            "engage_plugin_balance", "Accepted less the sum of all states; 0 is right", accepted - sum(status.values())
        )
        oldest = GaugeMetricFamily(
            "engage_plugin_oldest_pending_seconds", "Age of the oldest unfinished event", labels=["shop"]
        )
        now = datetime.now(UTC)
        for shop, received_at in self._event_admin.oldest_pending().items():
            oldest.add_metric([shop], (now - received_at).total_seconds())
        yield oldest
        yield GaugeMetricFamily(
            "engage_plugin_overdue",
            "Events that are due for more than a minute; 0 is right",
            self._event_admin.overdue(now),
        )

    def _breaker_metrics(self) -> Iterator[Metric]:
        breakers = GaugeMetricFamily("engage_plugin_breaker_open", "1 while Engage does not answer", labels=["shop"])
        for shop, is_open in self._breakers().items():
            breakers.add_metric([shop], float(is_open))
        yield breakers


class _ShopCollector:
    """Reports the health of each shop, read at each request."""

    def __init__(self, health: Callable[[], Mapping[str, ShopHealth]]) -> None:
        self._health = health

    def describe(self) -> list[Metric]:
        """Return nothing at registration: the database may not exist yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield stopped shops, wrong webhook subscriptions, shops that do not answer, and differences of the last reconciliation."""
        yield from _read(self._shop_metrics)[0]

    def _shop_metrics(self) -> Iterator[Metric]:
        problems = GaugeMetricFamily(
            "engage_plugin_webhook_problems", "Wrong webhook subscriptions at the shop; 0 is right", labels=["shop"]
        )
        away = GaugeMetricFamily(
            "engage_plugin_shop_unreachable", "1 while the shop's own API does not answer", labels=["shop"]
        )
        differences = GaugeMetricFamily(
            "engage_plugin_reconciliation_differences",
            "Differences that the last reconciliation found; 0 is right",
            labels=["shop", "difference"],
        )
        stopped = GaugeMetricFamily(
            "engage_plugin_shop_stopped", "1 while the shop's deliveries are stopped, 0 is right", labels=["shop"]
        )
        for shop, health in self._health().items():
            stopped.add_metric([shop], float(health.stopped))
            if health.checked_at is not None:
                problems.add_metric([shop], health.webhook_problems)
                away.add_metric([shop], float(health.unreachable))
            for name, number in health.differences.items():
                differences.add_metric([shop, name], number)
        yield from (stopped, problems, away, differences)


def _read(collect: Callable[[], Iterator[Metric]]) -> tuple[list[Metric], bool]:
    """Return metrics and whether the database answered. What cannot be read is left out; other metrics are not affected."""
    try:
        return list(collect()), True
    except SQLAlchemyError as error:
        log.error("error=%s metrics are left out: the database does not answer", type(error).__name__)
        return [], False
    except ConfigurationError as error:
        log.error("error=ConfigurationError metrics are left out: %s", " ".join(error.faults))
        return [], True
