"""Balancer V2 on a chain, and weighted pools of `rebalancer.venues` put there in exactly their state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from rebalancer.abi import decode_logs
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import ContractReverted
from rebalancer.venues import BalancerWeightedPool, Token

__all__ = ["NOBODY", "BalancerV2", "coins"]

NOBODY = "0x" + "0" * 40
_GIVEN_IN, _GIVEN_OUT = 0, 1


def coins(chain: LocalChain, decimals: Sequence[int]) -> tuple[Token, ...]:
    """New tokens, by address."""
    made = [Token(chain.deploy("MockToken", f"Coin {d}", f"C{d}", d).address, f"C{d}", d) for d in decimals]
    return tuple(sorted(made, key=lambda token: int(token.address, 16)))


@dataclass(frozen=True)
class BalancerV2:
    """The Vault and both kinds of factory; whoever deployed them owns the pools."""

    chain: LocalChain
    owner: str
    vault: BoundContract
    factories: dict[str, BoundContract]

    @classmethod
    def install(cls, chain: LocalChain, owner: str) -> Self:
        """Deploy the Vault, the factory of 2021 and that of 2022."""
        weth = chain.deploy("WETH9", sender=owner)
        vault = chain.deploy("Vault", NOBODY, weth.address, 0, 0, sender=owner)
        provider = chain.deploy("ProtocolFeePercentagesProvider", vault.address, 10**18, 10**18, sender=owner)
        first = chain.deploy("WeightedPoolFactory", vault.address, sender=owner)
        second = chain.deploy("WeightedPoolFactoryV2", vault.address, provider.address, sender=owner)
        return cls(chain, owner, vault, {"v1": first, "v2": second})

    def rebuild(self, pool: BalancerWeightedPool) -> BalancerWeightedPool:
        """The pool on chain, by the factory of its version; the one on paper with its places. Anybody may mint its tokens."""
        assets = [token.address for token in pool.tokens]
        factory = self.factories[pool.pow_version]
        rates = [] if pool.pow_version == "v1" else [[NOBODY] * len(assets)]
        receipt = self.chain.transact(
            factory,
            "create",
            *("Pool", "POOL", assets, list(pool.weights_e18), *rates, pool.fee_e18, NOBODY),
            sender=self.owner,
        )
        (registered,) = [
            event for event in decode_logs(receipt.logs, self.vault.interface) if event.name == "PoolRegistered"
        ]
        pool_id = "0x" + bytes(registered.values["poolId"]).hex()
        for asset, balance in zip(assets, pool.balances, strict=True):
            token = contract_at(self.chain.rpc, "MockToken", asset)
            self.chain.transact(token, "mint", self.owner, balance)
            self.chain.transact(token, "approve", self.vault.address, 2**256 - 1, sender=self.owner)
        count = len(assets)
        # abi.encode(INIT, amounts)
        init = b"".join(n.to_bytes(32) for n in (0, 64, count, *pool.balances))
        join = (assets, list(pool.balances), init, False)
        ends = (bytes.fromhex(pool_id[2:]), self.owner, self.owner, join)
        self.chain.transact(self.vault, "joinPool", *ends, sender=self.owner)
        made = replace(pool, address=pool_id[:42], vault=self.vault.address, pool_id=pool_id, block=0)
        self.check_state(made)
        return made

    def join(self, pool: BalancerWeightedPool, amounts: Sequence[int]) -> None:
        """Provide to a pool, which pays its protocol fees then."""
        assets = [token.address for token in pool.tokens]
        for asset, amount in zip(assets, amounts, strict=True):
            token = contract_at(self.chain.rpc, "MockToken", asset)
            self.chain.transact(token, "mint", self.owner, amount)
        # abi.encode(EXACT_TOKENS_IN_FOR_BPT_OUT, amounts, 0)
        data = b"".join(n.to_bytes(32) for n in (1, 96, 0, len(amounts), *amounts))
        request = (assets, list(amounts), data, False)
        ends = (bytes.fromhex(pool.pool_id[2:]), self.owner, self.owner, request)
        self.chain.transact(self.vault, "joinPool", *ends, sender=self.owner)

    def check_state(self, pool: BalancerWeightedPool) -> None:
        """The Vault holds for the pool what it does on paper."""
        ref = bytes.fromhex(pool.pool_id[2:])
        assets, balances, _ = self.vault.call("getPoolTokens", ref)
        assert tuple(assets) == tuple(token.address for token in pool.tokens)
        assert tuple(balances) == pool.balances

    def ask(
        self, pool: BalancerWeightedPool, i: int, j: int, amounts: Sequence[int], *, exact_in: bool
    ) -> list[int | None]:
        """What the Vault would pay, or take, for each amount; None where the pool refuses."""
        assets = [token.address for token in pool.tokens]
        funds = (self.owner, False, self.owner, False)
        kind = _GIVEN_IN if exact_in else _GIVEN_OUT
        calls = [
            self.vault.batched.request(
                "queryBatchSwap",
                *(kind, [(bytes.fromhex(pool.pool_id[2:]), i, j, amount, b"")], assets, funds),
            )
            for amount in amounts
        ]
        answers: list[int | None] = []
        for answer in self.chain.rpc.batch_settled(calls):
            try:
                deltas = self.vault.batched.result("queryBatchSwap", answer)
                answers.append(-deltas[j] if exact_in else deltas[i])
            except ContractReverted:
                answers.append(None)
        return answers
