"""
A certificate authority and serving pairs that look after themselves.

This package holds code only, no keys, and knows nothing of `webhook`.
"""
