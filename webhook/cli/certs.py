"""
`harbor-cache certs`: the commands of `certs`, which can also be run as ``python -m certs``.
"""

from certs.__main__ import main as certs


__all__ = ["certs"]
