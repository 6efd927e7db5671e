"""Names of processes and leases of a fleet, in Redis and in logs."""

from __future__ import annotations

import secrets
import socket

__all__ = ["instance_name", "lease_name"]


def instance_name(name: str = "") -> str:
    """A unique name for this process; a later process of the same machine has another name."""
    return f"{name or socket.gethostname()}-{secrets.token_hex(4)}"


def lease_name(chain_id: int, sender: str) -> str:
    """Name of the lease of an account on a chain."""
    return f"{chain_id}:{sender.lower()}"
