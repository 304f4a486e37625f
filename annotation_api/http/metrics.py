"""What this process counts for Prometheus. `scrape` adds what the database knows and serves both.

No label ever names a person or a job: the number of series stays small.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

REGISTRY = CollectorRegistry()
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)  # imports take minutes

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which nobody draws
ProcessCollector(registry=REGISTRY)
REQUESTS = Histogram(
    "rankloop_http_request_seconds",
    "Time until a request was answered (a stream of events: until it began), by route and class of status.",
    ("method", "route", "status"),
    buckets=BUCKETS,
    registry=REGISTRY,
)
SHED = Counter(
    "rankloop_shed",
    "Requests that were refused so that others are served: by what there was too little of.",
    ("what",),
    registry=REGISTRY,
)
STREAMS = Gauge("rankloop_event_streams", "Streams of events that are open.", registry=REGISTRY)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """`method` may be anything that a caller sent; `route` is one of ours or `unknown`."""
    known = method if method in METHODS else "OTHER"
    REQUESTS.labels(known, route, f"{status // 100}xx").observe(seconds)
