"""
What the demo and the tests run against: a throw-away cluster on loopback.

Nothing outside of `webhook.cli` imports this package.
"""
