"""
The API server: the client, lists, the Lease and Events.
"""
