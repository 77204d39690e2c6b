"""
A stand-in for Harbor 2.15: what `harbor-cache demo` and the tests talk to.

It answers as a running Harbor was seen to answer, its traps included, from a state in memory.  It
can fail in every way that matters: refuse, hang, drop packets, answer nonsense, lose a component
or an upstream.  It is a web server on a port, and clients can't tell it from Harbor.

    async with HarborStandIn() as harbor:
        await harbor.set_fault(Fault.HANG)

Nothing in the product but the demo imports it.
"""

from webhook.demo.standin.faults import Fault
from webhook.demo.standin.server import HarborStandIn, UnknownRequestError
from webhook.demo.standin.state import (
    ADMIN,
    ADMIN_PASSWORD,
    Endpoint,
    Project,
    Robot,
    State,
    article_state,
)
from webhook.demo.standin.thread import ThreadedStandIn
from webhook.demo.standin.upstream import (
    Image,
    RealUpstream,
    SimulatedUpstream,
    Upstream,
    UpstreamState,
)


__all__ = [
    "ADMIN",
    "ADMIN_PASSWORD",
    "Endpoint",
    "Fault",
    "HarborStandIn",
    "Image",
    "Project",
    "RealUpstream",
    "Robot",
    "SimulatedUpstream",
    "State",
    "ThreadedStandIn",
    "UnknownRequestError",
    "Upstream",
    "UpstreamState",
    "article_state",
]
