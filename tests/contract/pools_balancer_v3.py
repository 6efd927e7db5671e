"""Balancer V3 on a chain, and weighted pools of `rebalancer.venues` put there in exactly their state."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from rebalancer.abi import decode_logs
from rebalancer.chain.artifacts import add_artifacts_folder, load_artifact
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.uniswap import PERMIT2_ADDRESS
from rebalancer.errors import ContractReverted
from rebalancer.units import E18
from rebalancer.venues.balancer_v3 import BalancerV3RatedPool, BalancerV3WeightedPool
from scripts.build.balancer_v3 import compiled
from tests.contract.pools_balancer import NOBODY, coins

__all__ = ["BalancerV3", "random_pool"]

_ALLOWS_ALL = bytes.fromhex("60015f5260205ff3")
"""Code of an authorizer that answers 1 to everything."""

_RETURNS_SLOT_0 = bytes.fromhex("5f545f5260205ff3")
"""Code of a rate provider that answers its storage's first word to everything."""

_GAS = 29_000_000
_STEP_E18 = 10**11
"""Fees are multiples of this."""

WEIGHTS = [(50, 50), (80, 20), (20, 80), (60, 30, 10), (33, 33, 34), (99, 1), (40, 10, 20, 30)]
"""In hundredths: exponents of 1, 2, 4, their inverses, and of nothing round."""


def random_pool(chain: LocalChain, seed: int, *, rated: bool = False, least: int = 10**6) -> BalancerV3WeightedPool:
    """A pool with that one of `WEIGHTS`, its balances no less than `least` of 18 decimals, and anything else drawn."""
    rng = random.Random(seed)
    hundredths = WEIGHTS[seed % len(WEIGHTS)]
    tokens = coins(chain, [rng.choice([6, 8, 18]) for _ in hundredths])
    floors = [max(-(-least // 10 ** (18 - token.decimals)), 1) for token in tokens]
    balances = tuple(
        floor + rng.randint(10**4, 10 ** rng.randint(5, token.decimals + 9))
        for floor, token in zip(floors, tokens, strict=True)
    )
    rates = [rng.choice([E18, rng.randint(E18 // 5, 7 * E18), 2 * E18]) if rated else E18 for _ in tokens]
    if rated:
        rates[rng.randrange(len(rates))] = rng.randint(E18, 3 * E18)
    return (BalancerV3RatedPool if rated else BalancerV3WeightedPool)(
        address=NOBODY,
        vault=NOBODY,
        tokens=tokens,
        balances=balances,
        rates_e18=tuple(rates),
        weights_e18=tuple(weight * E18 // 100 for weight in hundredths),
        min_balances_e18=tuple(max(10**6, 10 ** (18 - token.decimals)) for token in tokens),
        fee_e18=rng.choice([10**13, 3 * 10**15, 10**17, rng.randint(100, 10**6) * _STEP_E18]),
        aggregate_fee_e18=rng.choice([0, E18 // 2, rng.randint(1, 5 * 10**6) * _STEP_E18]),
        min_trade_e18=10**6,
    )


@dataclass(frozen=True)
class BalancerV3:
    """Its contracts; whoever deployed them may do all, and owns and provides the pools."""

    chain: LocalChain
    owner: str
    vault: BoundContract
    fees: BoundContract
    factory: BoundContract
    router: BoundContract

    @classmethod
    def install(cls, chain: LocalChain, owner: str) -> Self:
        """Deploy Vault, fee controller, factory and router, and an authorizer that allows everything."""
        add_artifacts_folder(compiled())
        authorizer, vault, extension, router = (_address(n) for n in range(4))
        chain.set_code(authorizer, _ALLOWS_ALL)
        chain.set_code(PERMIT2_ADDRESS, load_artifact("Permit2").runtime_code())
        window_seconds = 4 * 365 * 86_400
        admin = chain.deploy("BalancerV3VaultAdmin", vault, window_seconds, 90 * 86_400, 10**6, 10**4, sender=owner)
        _place(chain, extension, "BalancerV3VaultExtension", vault, admin.address)
        fees = chain.deploy("BalancerV3ProtocolFeeController", vault, 0, 0, sender=owner)
        made = _place(chain, vault, "BalancerV3Vault", extension, authorizer, fees.address)
        factory = chain.deploy("BalancerV3WeightedPoolFactory", vault, window_seconds, "F", "P", sender=owner)
        weth = chain.deploy("WETH9", sender=owner)
        at = _place(chain, router, "BalancerV3Router", vault, weth.address, PERMIT2_ADDRESS, "R")
        return cls(chain, owner, made, fees, factory, at)

    def rebuild(self, pool: BalancerV3WeightedPool, hooks: str = NOBODY) -> BalancerV3WeightedPool:
        """The pool on chain; the one on paper with its addresses. Anybody may mint its tokens."""
        made = self.create(pool, hooks)
        self.provide(made)
        return made

    def create(self, pool: BalancerV3WeightedPool, hooks: str = NOBODY) -> BalancerV3WeightedPool:
        """The pool on chain, still without liquidity."""
        assets = [token.address for token in pool.tokens]
        rows = []
        for n, (asset, rate) in enumerate(zip(assets, pool.rates_e18, strict=True)):
            provider = _address(16 + n)
            if rate != E18:
                self.chain.set_code(provider, _RETURNS_SLOT_0)
                self.set_rate(n, rate)
            rows.append((asset, int(rate != E18), provider if rate != E18 else NOBODY, rate != E18))
        roles = (self.owner, self.owner, self.owner)
        salt = bytes.fromhex(assets[0][2:]).rjust(32, b"\0")
        weights = list(pool.weights_e18)
        terms = ("Pool", "POOL", rows, weights, roles, pool.fee_e18, hooks, False, False, salt)
        receipt = self._send(self.factory, "create", *terms)
        (created,) = (
            event for event in decode_logs(receipt.logs, self.factory.interface) if event.name == "PoolCreated"
        )
        made = replace(pool, address=created.values["pool"], vault=self.vault.address, block=0)
        self.take(made.address, pool.aggregate_fee_e18)
        return made

    def provide(self, pool: BalancerV3WeightedPool) -> None:
        """The first liquidity of a pool, whose balances are those on paper."""
        assets = [token.address for token in pool.tokens]
        for asset, balance in zip(assets, pool.balances, strict=True):
            token = contract_at(self.chain.rpc, "MockToken", asset)
            self._send(token, "mint", self.owner, balance)
            self._send(token, "approve", PERMIT2_ADDRESS, 2**256 - 1)
            ends = (asset, self.router.address, 2**160 - 1, 2**48 - 1)
            self.chain.send(PERMIT2_ADDRESS, _permit2_approval(*ends), sender=self.owner)
        shares = contract_at(self.chain.rpc, "MockToken", pool.address)
        self._send(shares, "approve", self.router.address, 2**256 - 1)
        self._route("initialize", pool.address, assets, list(pool.balances), 0)
        self.check_state(pool)

    def set_rate(self, index: int, rate_e18: int) -> None:
        """Change what the rate provider of a token, by its index, answers."""
        self.chain.set_storage(_address(16 + index), 0, rate_e18.to_bytes(32))

    def take(self, pool: str, aggregate_fee_e18: int) -> None:
        """Set the protocol's part of the swap fee; of yields it takes a tenth."""
        self._send(self.fees, "setProtocolSwapFeePercentage", pool, aggregate_fee_e18)
        self._send(self.fees, "setProtocolYieldFeePercentage", pool, E18 // 10)

    def stir(self, pool: BalancerV3WeightedPool, rng: random.Random) -> None:
        """Something else than a swap: liquidity in or out, another fee, a pause, a time in recovery mode."""
        shares = contract_at(self.chain.rpc, "MockToken", pool.address)
        held = shares.call("balanceOf", self.owner)
        no_limits = [0] * len(pool.tokens)
        for act in rng.sample(range(7), 3):
            if act == 0:
                amounts = [rng.randint(10**4, 10**4 + amount // 7) for amount in pool.balances]
                for token, amount in zip(pool.tokens, amounts, strict=True):
                    made = contract_at(self.chain.rpc, "MockToken", token.address)
                    self._send(made, "mint", self.owner, amount)
                self._route("addLiquidityUnbalanced", pool.address, amounts, 0)
            elif act == 1:
                self._route("removeLiquidityProportional", pool.address, held // 9, no_limits)
            elif act == 2:
                # A single token of 1 % weight would be gone long before.
                ends = (pool.address, held // 1_000, rng.choice(pool.tokens).address, 1)
                self._route("removeLiquiditySingleTokenExactIn", *ends)
            elif act == 3:
                fee = rng.randint(100, 10**6) * _STEP_E18
                self._send(self.vault, "setStaticSwapFeePercentage", pool.address, fee)
            elif act == 4:
                self.take(pool.address, rng.randint(0, 5 * 10**6) * _STEP_E18)
            elif act == 5:
                self._send(self.vault, "pausePool", pool.address)
                self._send(self.vault, "unpausePool", pool.address)
            else:
                to_recovery = not self.vault.call("isPoolInRecoveryMode", pool.address)
                name = "enableRecoveryMode" if to_recovery else "disableRecoveryMode"
                self._send(self.vault, name, pool.address)

    def check_state(self, pool: BalancerV3WeightedPool) -> None:
        """The Vault holds for the pool what it does on paper."""
        _, assets, _, balances, live, rates, _ = self.vault.call("getPoolData", pool.address)
        assert tuple(asset.lower() for asset in assets) == tuple(t.address for t in pool.tokens)
        assert tuple(balances) == pool.balances
        assert tuple(rates) == pool.rates_e18
        assert tuple(live) == pool._live_e18

    def query(
        self,
        pool: BalancerV3WeightedPool,
        way: tuple[str, str],
        amounts: Sequence[int],
        *,
        exact_in: bool,
    ) -> list[int | None]:
        """What a swap would pay, or take, for each amount, by the Router's queries; None where it is refused."""
        name = f"querySwapSingleTokenExact{'In' if exact_in else 'Out'}"
        router = self.router.batched
        calls = []
        for amount in amounts:
            ends = (pool.address, *way, amount, NOBODY, b"")
            method, (message, *rest) = router.request(name, *ends)
            calls.append((method, ({**message, "from": NOBODY}, *rest)))
        answers: list[int | None] = []
        for answer in self.chain.rpc.batch_settled(calls):
            try:
                answers.append(router.result(name, answer))
            except ContractReverted:
                answers.append(None)
        return answers

    def _route(self, function: str, *args: Any) -> Any:
        """Of the router, without ether and without data for hooks."""
        return self._send(self.router, function, *args, False, b"")

    def _send(self, contract: BoundContract, function: str, *args: Any) -> Any:
        return self.chain.transact(contract, function, *args, sender=self.owner)


def _address(n: int) -> str:
    return f"0x{0xBA3 << 136 | n + 1:040x}"


def _place(chain: LocalChain, address: str, name: str, *args: Any) -> BoundContract:
    """A contract at an address of choice, whatever its size: compiled here, some are larger than a chain lets anybody deploy.

    Its constructor runs as the code of the address, once to write its storage and once to say what code it makes.
    """
    creation = load_artifact(name).creation_code() + interface(name).constructor.encode(args)
    chain.set_code(address, creation)
    chain.send(address, gas=_GAS)
    made = chain.rpc.call("eth_call", {"to": address, "gas": hex(_GAS)}, "latest")
    chain.set_code(address, bytes.fromhex(made[2:]))
    return contract_at(chain.rpc, name, address)


def _permit2_approval(token: str, spender: str, amount: int, until: int) -> str:
    """The call of Permit2's approve, which is in no ABI that is shipped: approve(address,address,uint160,uint48)."""
    words = (int(token, 16), int(spender, 16), amount, until)
    return "0x87517c45" + "".join(f"{word:064x}" for word in words)
