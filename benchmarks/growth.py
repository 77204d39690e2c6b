"""
How the cost of a decision grows: in this process, from a review's bytes to the answer's bytes.
"""

import time

from benchmarks.pods import pod_of, review_of
from webhook.admission.answers import Answers
from webhook.admission.review import read_review
from webhook.image.availability import Availability
from webhook.image.rules import Rule, Rules
from webhook.pod.decision import Policy


__all__ = ["growth", "growth_row"]


def growth() -> dict[str, list[dict[str, float]]]:
    """
    Return tables by what grows: its size, microseconds per review, microseconds per image.
    """
    return {
        "containers": [growth_row(n, containers=n) for n in (1, 10, 100, 1000)],
        "rules": [growth_row(n, containers=10, rules=n) for n in (4, 100, 1000)],
        "quarantined images": [
            growth_row(n, containers=10, quarantined=n) for n in (0, 100, 10_000)
        ],
    }


def growth_row(
    size: int, *, containers: int, rules: int = 4, quarantined: int = 0
) -> dict[str, float]:
    listed = tuple(Rule(f"registry-{n}.example", f"proxy.{n}") for n in range(rules))
    policy = Policy(Rules("harbor.example", listed))
    available = Availability.of_all(tuple(rule.project for rule in listed))
    known = Availability(
        available.harbor,
        available.projects,
        frozenset(f"registry-0.example/other/{n}:1" for n in range(quarantined)),
    )
    body = _review(containers, rules)
    per_review = min(_time(body, policy, known, max(10, 3000 // containers)) for _ in range(5))
    return {"size": size, "review": per_review * 1e6, "image": per_review * 1e6 / containers}


def _time(body: bytes, policy: Policy, known: Availability, times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        Answers().to(read_review(body), policy, known, "enforce")
    return (time.process_time() - started) / times


def _review(containers: int, rules: int) -> bytes:
    listed = [
        {"name": f"c{n}", "image": f"registry-{n * 7 % rules}.example/team/app-{n}:1"}
        for n in range(containers)
    ]
    return review_of(pod_of({"containers": listed}))
