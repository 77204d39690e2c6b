"""
A whole Pod: what we read of it, what is decided about it, and the patch.  Pure.
"""
