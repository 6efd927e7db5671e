"""What does everybody know of a local chain? Its chain id and its keys."""

from __future__ import annotations

__all__ = ["DEVNET_CHAIN_ID", "TEST_MNEMONIC"]

DEVNET_CHAIN_ID = 31337

TEST_MNEMONIC = "test test test test test test test test test test test junk"
"""Known to everybody: what these keys hold on a real chain is stolen at once."""
