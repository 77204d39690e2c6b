"""
The controller process.
"""
