"""
Harbor's API v2.0, as far as it was seen and is used.
"""

from typing import Final

from webhook.standin.api.configuration import CONFIGURATION
from webhook.standin.api.endpoints import ENDPOINTS
from webhook.standin.api.projects import PROJECTS
from webhook.standin.api.robots import ROBOTS
from webhook.standin.api.system import SYSTEM
from webhook.standin.routing import Router


__all__ = ["ROUTERS"]

ROUTERS: Final[tuple[Router, ...]] = (SYSTEM, ENDPOINTS, PROJECTS, ROBOTS, CONFIGURATION)
