"""
The config file: what may stand in it, and how it is read.
"""

from webhook.config.load import default_config, load_config, parse_config
from webhook.config.model import Config, Harbor, Recovery, Registry


__all__ = [
    "Config",
    "Harbor",
    "Recovery",
    "Registry",
    "default_config",
    "load_config",
    "parse_config",
]
