"""Public facts about chains: id and keys of a local chain, and chains with a sequencer."""

from __future__ import annotations

__all__ = ["DEVNET_CHAIN_ID", "SEQUENCED", "TEST_MNEMONIC"]

DEVNET_CHAIN_ID = 31337

SEQUENCED = {
    10: ("OP Mainnet", "0x371EAD81c9102C9BF4874A9075FFFf170F2Ee389"),
    196: ("X Layer", "0x45c2b8C204568A03Dc7A2E32B71D67Fe97F908A9"),
    324: ("ZKsync", "0x0E6AC8B967393dcD3D36677c126976157F993940"),
    1088: ("Metis Andromeda", "0x58218ea7422255EBE94e56b504035a784b7AA204"),
    1868: ("Soneium", "0xaDE1b9AbB98c6A542E4B49db2588a3Ec4bF7Cdf0"),
    4326: ("MegaETH", "0x78B2195A21B8BBe82acaB43F90F9180E9513FD0C"),
    5000: ("Mantle", "0xaDE1b9AbB98c6A542E4B49db2588a3Ec4bF7Cdf0"),
    8453: ("Base", "0xBCF85224fc0756B9Fa45aA7892530B47e10b6433"),
    42161: ("Arbitrum One", "0xFdB631F5EE196F0ed6FAa767959853A9F217697D"),
    42220: ("Celo", "0x4CD491Dc27C8B0BbD10D516A502856B786939d18"),
    534352: ("Scroll", "0x45c2b8C204568A03Dc7A2E32B71D67Fe97F908A9"),
}
"""Chains with a sequencer uptime feed, by chain id: name and feed. Source:
docs.chain.link/data-feeds/l2-sequencer-feeds, August 2026."""

TEST_MNEMONIC = "test test test test test test test test test test test junk"
"""Mnemonic of the public test keys. Funds that these keys hold on a real chain are stolen immediately."""
