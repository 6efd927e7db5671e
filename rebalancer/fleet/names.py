"""What things of a fleet are called, in Redis and in logs."""

from __future__ import annotations

import secrets
import socket

__all__ = ["instance_name", "lease_name"]


def instance_name(name: str = "") -> str:
    """A name that no other process has, this one on another day included."""
    return f"{name or socket.gethostname()}-{secrets.token_hex(4)}"


def lease_name(chain_id: int, sender: str) -> str:
    """What the lease of an account on a chain is called."""
    return f"{chain_id}:{sender.lower()}"
