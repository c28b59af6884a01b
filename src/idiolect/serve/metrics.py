"""Prometheus metrics. Labels hold neither user ids nor text."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from idiolect.pipeline import Idiolect
from idiolect.store.finishing import queue

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class _Inner:
    # What the pipeline counts itself.
    def __init__(self, idiolect: Idiolect) -> None:
        self._idiolect = idiolect

    def collect(self) -> Iterator[Metric]:
        background = CounterMetricFamily(
            "idiolect_background_failures", "Jobs after an answer that failed", labels=["error"]
        )
        failures = self._idiolect.worker.failures + self._idiolect.journal.worker.failures
        for name, count in sorted(failures.items()):
            background.add_metric([name], count)
        yield background
        malformed = CounterMetricFamily("idiolect_events", "What the methods counted", labels=["event"])
        for name, count in sorted(self._idiolect.counters.items()):
            malformed.add_metric([name], count)
        yield malformed
        turns = GaugeMetricFamily("idiolect_waiting_turns", "Turns still to be learnt from", labels=["state"])
        found = queue(self._idiolect.store)
        for name, count in (("new", found.new), ("failed", found.failed), ("given_up", found.given_up)):
            turns.add_metric([name], count)
        yield turns


class Metrics:
    """The counters of one server, in a registry of its own."""

    def __init__(self, idiolect: Idiolect) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Inner(idiolect))
        registry = self.registry
        self._requests = Counter("idiolect_requests", "Requests answered", ["endpoint", "status"], registry=registry)
        self._seconds = Histogram(
            "idiolect_request_seconds", "Until the answer is complete [s]", ["endpoint"], registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.plan_seconds = Histogram(
            "idiolect_plan_seconds", "Finding and assembling personal context [s]", registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.plan_failures = Counter(
            "idiolect_plan_failures", "Answers given without personalization because it failed", ["error"],
            registry=registry,
        )  # fmt: skip
        self.personalized = Counter(
            "idiolect_personalized", "Model calls by whether they were personalized", ["outcome"], registry=registry
        )
        self.upstream_errors = Counter(
            "idiolect_upstream_errors", "Error answers of the upstream model", ["status"], registry=registry
        )

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one finished request."""
        self._requests.labels(endpoint, status).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        return generate_latest(self.registry)
