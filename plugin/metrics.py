"""Figures for Prometheus. No label ever holds anything of a person."""

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from plugin.engage.transport import CallRecord
from plugin.store.inbox_desk import InboxDesk


class Metrics:
    """Counters of this process, and gauges that are read from the database when somebody asks."""

    def __init__(self, desk: InboxDesk) -> None:
        self.registry = CollectorRegistry()
        self._received = Counter(
            "engage_plugin_webhooks_total", "Webhooks by outcome", ("shop", "topic", "outcome"), registry=self.registry
        )
        self._tries = Counter(
            "engage_plugin_tries_total", "Tries by outcome", ("shop", "outcome"), registry=self.registry
        )
        self._calls = Histogram(
            "engage_plugin_call_seconds", "Calls to Engage", ("operation", "status"), registry=self.registry
        )
        self._unknown = Counter(
            "engage_plugin_unknown_answer_fields_total",
            "Fields of Engage's answers that the contract does not know",
            ("schema", "field"),
            registry=self.registry,
        )
        self.registry.register(_InboxCollector(desk))

    def received(self, shop: str, topic: str, outcome: str) -> None:
        """Count a webhook at the door."""
        self._received.labels(shop, topic, outcome).inc()

    def tried(self, shop: str, outcome: str) -> None:
        """Count a try at an event."""
        self._tries.labels(shop, outcome).inc()

    def called(self, call: CallRecord) -> None:
        """Measure a call to Engage."""
        self._calls.labels(call.operation, str(call.status or "none")).observe(call.duration_s)

    def unknown_field(self, schema: str, field: str) -> None:
        """Count a field that the contract does not know."""
        self._unknown.labels(schema, field).inc()

    def render(self) -> bytes:
        """Return all figures in Prometheus' text form."""
        return generate_latest(self.registry)


class _InboxCollector:
    """Reads the inbox when it is asked, so that every process tells the same."""

    def __init__(self, desk: InboxDesk) -> None:
        self._desk = desk

    def describe(self) -> list[Metric]:
        """Tell nothing at registration: the database may not be there yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield events by state, the balance and the age of the oldest unfinished event."""
        status = self._desk.status()
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
        for shop, received_at in self._desk.oldest_pending().items():
            oldest.add_metric([shop], (now - received_at).total_seconds())
        yield oldest
