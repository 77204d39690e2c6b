"""
The webhook process.
"""
