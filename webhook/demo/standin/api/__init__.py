"""
Harbor's API v2.0, as far as it was seen and is used.
"""

from typing import Final

from webhook.demo.standin.api.artifacts import ARTIFACTS
from webhook.demo.standin.api.configuration import CONFIGURATION
from webhook.demo.standin.api.endpoints import ENDPOINTS
from webhook.demo.standin.api.projects import PROJECTS
from webhook.demo.standin.api.retentions import RETENTIONS
from webhook.demo.standin.api.robots import ROBOTS
from webhook.demo.standin.api.system import SYSTEM
from webhook.demo.standin.api.users import USERS
from webhook.demo.standin.routing import Router


__all__ = ["ROUTERS"]

ROUTERS: Final[tuple[Router, ...]] = (
    SYSTEM,
    ENDPOINTS,
    PROJECTS,
    RETENTIONS,
    ARTIFACTS,
    ROBOTS,
    USERS,
    CONFIGURATION,
)
