"""
`python -m tests.support.audit_sample FILE`: the page of an audit, of a fleet made for it.
"""

import asyncio
import sys

from pathlib import Path

from tests.support.fleet import surveyed
from webhook.survey import PreflightResult, ProbeResult, Survey, Unseen
from webhook.survey.formats.page import as_html


__all__ = ["sample"]


async def sample(namespaces: int = 12, pods: int = 600) -> Survey:
    """
    Return a survey in which every part of the page has something to say.
    """
    _, survey = await surveyed(namespaces=namespaces, pods=pods)
    survey.name = "production-eu"
    survey.unseen = [Unseen("pods in secret", 'pods is forbidden: User "me" cannot list')]
    survey.probes = [
        ProbeResult("Harbor", "available"),
        ProbeResult("proxy.docker.io", "available"),
        ProbeResult("proxy.quay.io", "unavailable", "there is no such project"),
    ]
    image = f"{survey.harbor}/proxy.docker.io/library/nginx:1.27"
    survey.preflight = [
        PreflightResult("team-00", image, "accepted"),
        PreflightResult(
            "team-01",
            image,
            "refused",
            "ValidatingAdmissionPolicy 'only-docker-io'",
            "pods is forbidden: ValidatingAdmissionPolicy 'only-docker-io' denied request",
        ),
    ]
    return survey


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_html(asyncio.run(sample())), encoding="utf-8")
    sys.stdout.write(f"{file}\n")
