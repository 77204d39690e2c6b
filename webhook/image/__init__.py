"""
One image: its reference, the rules, the decision, and what is known of its source.  Pure.
"""
