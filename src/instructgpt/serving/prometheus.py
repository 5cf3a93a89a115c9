"""The few numbers of /metrics, in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Histogram:
    """How many observations lie at or below each of a few bounds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in seconds."""
        self.counts[sum(value > bound for bound in _BUCKETS)] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        below = 0
        for bound, count in zip((*_BUCKETS, "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.total}"
        yield f"{name}_count {below}"


class Metrics:
    """What the server counts while it runs."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # path, status
        self.disconnected = 0
        self.seconds = Histogram()
        self.first_token_seconds = Histogram()

    def text(self, gauges: Mapping[str, Mapping[str, float]]) -> str:
        """Everything as text; `gauges` holds the numbers of the moment: name -> model -> value."""
        lines = ["# TYPE instructgpt_requests_total counter"]
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'instructgpt_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE instructgpt_disconnected_total counter")
        lines.append(f"instructgpt_disconnected_total {self.disconnected}")
        histograms = {
            "instructgpt_request_seconds": self.seconds,
            "instructgpt_first_token_seconds": self.first_token_seconds,
        }
        for name, histogram in histograms.items():
            lines += [f"# TYPE {name} histogram", *histogram.lines(name)]
        for name, by_model in gauges.items():
            lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
            for model, value in by_model.items():
                lines.append(f'{name}{{model="{_escaped(model)}"}} {value}')
        return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
