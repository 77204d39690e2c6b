"""
What every long-running process shares: its ops port, mounted files, metrics and the log.
"""
