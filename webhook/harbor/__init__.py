"""
Everything that talks to Harbor: the probes, and its provisioning.
"""
