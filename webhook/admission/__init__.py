"""
A review: read, decided, answered.  Pure.
"""
