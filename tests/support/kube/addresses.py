"""
Where an API server's proxy reaches what the tests play: Pods' ops ports, kubelets.
"""

import socket


__all__ = ["own_address"]


def own_address() -> str:
    """
    Return an address of this machine that is not loopback: an API server's proxy asks no other.

    Raises:
        OSError: if the machine has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # Sends nothing: it only chooses the address.
        return str(probe.getsockname()[0])
