"""
Make Pods pull through a Harbor proxy cache, and never keep a Pod from starting.
"""

__version__ = "0.1.0.dev0"
