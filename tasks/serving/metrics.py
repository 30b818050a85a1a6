"""What the service reports to Prometheus, in the units and names of its conventions.

https://prometheus.io/docs/practices/naming/
"""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One service's figures; a registry of their own, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "thinkreward_requests", "Requests by route and status", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "thinkreward_request_seconds",
            "From a request to its answer",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "thinkreward_requests_in_flight", "Requests that are being answered", registry=self.registry
        )
        self.waiting = Gauge("thinkreward_texts_waiting", "Texts that wait for their batch", registry=self.registry)
        self.batches = Histogram(
            "thinkreward_batch_size", "Texts generated together", buckets=SIZES, registry=self.registry
        )
        self.batch_seconds = Counter("thinkreward_batch_seconds", "Time spent generating", registry=self.registry)
        self.swaps = Counter("thinkreward_model_swaps", "Times that the name came to mean another model",
                             registry=self.registry)  # fmt: skip
        self.following = Gauge("thinkreward_model_is_current", "1 if the served model is what the name means",
                               registry=self.registry)  # fmt: skip
        self.following.set(1)
        self.follow_failures = Counter("thinkreward_model_load_failures", "Failed loads of what the name means",
                                       registry=self.registry)  # fmt: skip

    def batch(self, size: int, seconds: float) -> None:
        """One batch was generated."""
        self.batches.observe(size)
        self.batch_seconds.inc(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class MetricsMiddleware:
    """ASGI middleware: counts and times every request by its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - began)
