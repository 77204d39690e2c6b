"""
Harbor set up from the config: what is desired, what is actual, and the steps between.
"""
