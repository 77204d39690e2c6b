"""
How the cost of a decision grows: in this process, from a review's bytes to the answer's bytes.
"""

import json
import time

from webhook.admission import Policy, admit
from webhook.availability import Availability
from webhook.review import read_review
from webhook.rules import Rule, Rules


__all__ = ["growth"]


def growth() -> dict[str, list[dict[str, float]]]:
    """
    Return tables by what grows: its size, microseconds per review, microseconds per image.
    """
    return {
        "containers": [_row(n, containers=n) for n in (1, 10, 100, 1000)],
        "rules": [_row(n, containers=10, rules=n) for n in (4, 100, 1000)],
        "quarantined images": [_row(n, containers=10, quarantined=n) for n in (0, 100, 10_000)],
    }


def _row(size: int, *, containers: int, rules: int = 4, quarantined: int = 0) -> dict[str, float]:
    listed = tuple(Rule(f"registry-{n}.example", f"proxy.{n}") for n in range(rules))
    policy = Policy(Rules("harbor.example", listed))
    available = Availability.of_all(tuple(rule.project for rule in listed))
    known = Availability(
        available.harbor,
        available.projects,
        frozenset(f"registry-0.example/other/{n}:1" for n in range(quarantined)),
    )
    body = _review(containers, rules)
    per_review = min(_time(body, policy, known, max(3, 1000 // containers)) for _ in range(5))
    return {"size": size, "review": per_review * 1e6, "image": per_review * 1e6 / containers}


def _time(body: bytes, policy: Policy, known: Availability, times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        admit(read_review(body), policy, known, "enforce")
    return (time.process_time() - started) / times


def _review(containers: int, rules: int) -> bytes:
    listed = [
        {"name": f"c{n}", "image": f"registry-{n * 7 % rules}.example/team/app-{n}:1"}
        for n in range(containers)
    ]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": listed}}
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "object": pod,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()
