"""Environment of the attacks, and the accounting of gain and loss.

An `AttackEnv` is a local chain with the devnet's market and one vault of a million dollars: 40 % WETH, 40 % WBTC, 20 %
USDC, bands of 1 %, the devnet's policy. The thief has an account, a contract that makes any call for it
(`ImpersonatedAccount`), every role that a scenario grants, and free flash loans of every token.

ACCOUNTING. All values are at true prices: the oracle's, unless a scenario sets others. "Gained" is the increase of
everything the thief owns: tokens, shares, claims, and proceeds of closed pool positions. "Lost" is the decrease of the
shares and claims of all others, measured against the vault's real balances. Both are fractions of the vault's value
just before, and are shown for a vault of a million dollars (USD * 1e18), so that periods with moving prices can be
added up. Gas is not included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from rebalancer.abi import decode_logs
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import decode_revert
from rebalancer.chain.pools import read_v3_pools
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import Role, System
from rebalancer.devnet.environment import (
    DEMO_BAND_BPS,
    DEMO_POLICY,
    Actor,
    DevEnvironment,
    basket,
    build_environment,
    equal_targets_e18,
    open_vault,
)
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import ContractReverted, PolicyRefused
from rebalancer.operations.deploy import (
    FeedSpec,
    VaultFees,
    VaultSpec,
    create_vault,
    grant_roles,
    set_feed,
)
from rebalancer.settlement import Policy, weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import Token, UniswapV3Pool
from scripts.attacks.search import Gain

__all__ = [
    "DAY",
    "FIELD_POLICY",
    "MILLION",
    "PRICES_E8",
    "Attack",
    "AttackEnv",
    "AttackFill",
    "Loot",
    "Result",
    "Tally",
    "act",
    "bound_b_e18",
    "dollars",
]

DAY = 86_400
MILLION = 10**6 * E18
"""A million dollars."""

PRICES_E8 = {"ETH/USD": 2_000 * 10**8, "BTC/USD": 30_000 * 10**8, "USDC/USD": 10**8}
FIELD_POLICY = replace(DEMO_POLICY, open_after_seconds=0)
"""Open execution is off, unless a row of the table says otherwise."""

_SHARES = 10**6 * E18
_SEED_SHARES = 500_000 * E18
_RICHES_USD = 10**11
"""USD of each token that the thief has: enough for an hour of trades against arbitrageurs."""

Act = tuple[str, bool, bytes]
"""A call by an ImpersonatedAccount: target, whether it may fail, data."""


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one attack, for a vault of a million dollars; amounts are USD * 1e18.

    `best` describes the parameters that the search found, `remark` adds what numbers do not show. `bound_e18` is None
    where no promise covers the attack.
    """

    attack: str
    promise: str
    best: str
    gained_e18: int
    lost_e18: int
    bound_e18: int | None
    remark: str = ""

    @property
    def verdict(self) -> str:
        """Whether the promise holds, if there is one."""
        if self.bound_e18 is None:
            return "no promise"
        return "within" if self.lost_e18 <= self.bound_e18 else "BEYOND"


Attack = Callable[["AttackEnv"], list[Result]]
"""Runs one kind of attack. It may leave the environment in any state."""


@dataclass
class Tally:
    """Gain of the thief and loss of the others so far, for a vault of a million dollars, with the history for the
    chart."""

    gained_e18: int = 0
    lost_e18: int = 0
    history: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AttackFill:
    """A rebalance and the amounts that its executor pays: raw units in the order of `tokens`."""

    tokens: tuple[str, ...]
    sales: tuple[int, ...]
    buys: tuple[int, ...]
    epoch: int


@dataclass(frozen=True, slots=True)
class Loot:
    """Gain of a stolen keeper over time, and the policy that limited it."""

    tally: Tally
    policy: Policy


class AttackEnv:
    """A market, a vault and a thief on a local Anvil: of the given environment, or of a new devnet."""

    def __init__(self, chain: LocalChain, environment: DevEnvironment | None = None) -> None:
        self.chain = chain
        chain.run_steadily()
        self.environment: DevEnvironment = environment or build_environment(chain, PRICES_E8, policy=FIELD_POLICY)
        self.market = self.environment.market
        self.vault = contract_at(chain.rpc, "BasketVault", self.environment.vault)
        self.rebalancer = Actor.KEEPER.address
        """Account that sends rebalances: the keeper's, whose key may be stolen, or the thief's under open execution."""
        self.holder = Actor.DEPOSITOR.address
        self.thief = chain.accounts[10]
        self.impersonated = chain.deploy("ImpersonatedAccount", sender=self.thief)
        self.tokens = {
            token.symbol: contract_at(chain.rpc, "MockToken", token.address)
            for token in self.environment.deployment.tokens
        }
        self.decimals = {t.address: t.decimals for t in self.environment.deployment.tokens}
        self._feed_of = {self.tokens[feed.token].address: feed.name for feed in self.environment.deployment.feeds}
        self.lead_bps: dict[str, int] = {}
        """Distance of a token's true price from its feed's answer, in basis points; negative if the price is lower."""
        self._fixed_e18: dict[str, int] = {}
        self.loot: Loot | None = None
        """Of the longest theft, for the chart."""
        self._deposit(self.holder, _SHARES - _SEED_SHARES)
        for token in self.tokens.values():
            for account in (self.thief, self.impersonated.address):
                self.market.deal(token.address, account, self.raw(token.address, _RICHES_USD))
        # Attacks start at midnight, independent of the number of transactions before.
        self.market.step(self.market.prices_e8, chain.now() // DAY * DAY + DAY)

    # Time and prices

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Everything inside is undone at the end."""
        before = self.chain.snapshot()
        sender, vault = self.rebalancer, self.vault
        known = self.market.prices_e8, self.lead_bps, self._fixed_e18, self.decimals
        self.market.prices_e8, self.lead_bps, self._fixed_e18, self.decimals = map(dict, known)
        try:
            yield
        finally:
            self.chain.revert(before)
            self.rebalancer, self.vault = sender, vault
            self.market.prices_e8, self.lead_bps, self._fixed_e18, self.decimals = known

    def move(self, prices_e8: Mapping[str, int] | None = None, seconds: int = 1) -> None:
        """Advance time; every feed gets a new round, with the given prices if any, and pools follow."""
        changed = {f"{name}/USD": price for name, price in (prices_e8 or {}).items()}
        self.market.step(self.market.prices_e8 | changed, self.chain.now() + seconds)

    def run_ahead(self, symbol: str, lead_bps: int) -> None:
        """Move market and pools away from a feed, which gets no new price."""
        token = self.tokens[symbol].address
        feed = self._feed_of[token]
        answered = self.market.prices_e8[feed]
        self.market.step({feed: answered * (BPS + lead_bps) // BPS}, self.chain.now() + 1)
        self.send(self.aggregator(symbol), "push", answered, sender=self.thief)
        self.market.prices_e8[feed] = answered
        self.lead_bps[token] = lead_bps

    def catch_up(self, symbol: str) -> None:
        """Set the feed to the market's price."""
        token = self.tokens[symbol].address
        feed = self._feed_of[token]
        answer = self.market.prices_e8[feed] * (BPS + self.lead_bps.pop(token)) // BPS
        self.market.step({feed: answer}, self.chain.now() + 1)

    def aggregator(self, symbol: str) -> BoundContract:
        """The aggregator of a token's feed; every account may push rounds."""
        (feed,) = [f for f in self.environment.deployment.feeds if f.token == symbol]
        return contract_at(self.chain.rpc, "MockAggregator", str(feed.aggregator))

    def feed_of(self, token: str) -> BoundContract:
        """The aggregator of a token from `new_token`; every account may push rounds."""
        hub = contract_at(self.chain.rpc, "OracleHub", self.environment.system.oracle)
        return contract_at(self.chain.rpc, "MockAggregator", self.read(hub, "feedOf", token)[0])

    def reprice(self, token: str, price_e18: int) -> None:
        """Set the true price of a token from `new_token`, and its feed's answer."""
        self.send(self.feed_of(token), "push", price_e18 // 10**10, sender=self.thief)
        self.fix_price(token, price_e18)

    def fix_price(self, token: str, price_e18: int) -> None:
        """Set a token's true price, independent of its feed."""
        self._fixed_e18[token] = price_e18

    def wait(self, seconds: int) -> None:
        """Advance time without any transaction."""
        if seconds > 0:
            self.chain.mine(at=self.chain.now() + seconds)

    def price_e18(self, token: str) -> int:
        """True USD of a whole token."""
        if token in self._fixed_e18:
            return self._fixed_e18[token]
        answered_e18: int = self.market.prices_e8[self._feed_of[token]] * 10**10
        return answered_e18 * (BPS + self.lead_bps.get(token, 0)) // BPS

    def unit(self, token: str) -> int:
        """Smallest units of a whole token."""
        unit: int = 10 ** self.decimals[token]
        return unit

    def value_e18(self, token: str, amount_raw: int) -> int:
        """True USD of an amount, rounded down."""
        return amount_raw * self.price_e18(token) // self.unit(token)

    def raw(self, token: str, usd: int) -> int:
        """Raw units of a token worth this many dollars at the true price, rounded down."""
        return usd * E18 * self.unit(token) // self.price_e18(token)

    # Reads

    def read(self, contract: BoundContract, function: str, *args: Any) -> Any:
        """Call a view."""
        return contract.call(function, *args)

    def snapshot(self, vault: BoundContract | None = None) -> VaultSnapshot:
        """Snapshot of a vault by the lens; by default of the environment's vault."""
        rpc = self.chain.rpc
        address = (vault or self.vault).address
        return read_vaults(rpc, self.environment.system.lens, [address], read_block(rpc))[0]

    def pools(self) -> tuple[UniswapV3Pool, ...]:
        """The market's pools at the newest block."""
        rpc, deployment = self.chain.rpc, self.environment.deployment
        known = {t.address: Token(t.address, t.symbol, t.decimals) for t in deployment.tokens}
        addresses = [pool.address for pool in deployment.pools]
        lens = self.environment.system.uniswap_v3_lens
        return read_v3_pools(rpc, lens, addresses, known, read_block(rpc), deployment.chain_id)

    def worths_e18(self, vault: BoundContract) -> tuple[int, int, int]:
        """Value of the thief's assets, of the others' part of a vault, and of the whole vault, in USD * 1e18."""
        assets = [asset[0] for asset in self.read(vault, "assets")]
        tokens = list(dict.fromkeys([*self.decimals, *assets]))
        mine = (self.thief, self.impersonated.address)
        requested: list[tuple[BoundContract, str, tuple[Any, ...]]] = [
            (vault, "held", ()),
            (vault, "totalSupply", ()),
            *((vault, "balanceOf", (account,)) for account in mine),
        ]
        for token in tokens:
            contract = contract_at(self.chain.rpc, "MockToken", token)
            requested += [(contract, "balanceOf", (account,)) for account in (*mine, vault.address)]
            requested += [(vault, "claimable", (account, token)) for account in mine]
            requested += [(vault, "totalClaimable", (token,))]
        answers = self.chain.rpc.batch_settled(
            [contract.batched.request(name, *args) for contract, name, args in requested]
        )
        values = [
            contract.batched.result(name, answer)
            for (contract, name, _), answer in zip(requested, answers, strict=True)
        ]
        held, supply, *shares = values[:4]
        mine_e18 = others_e18 = total_e18 = 0
        for at, token in enumerate(tokens):
            first, second, balance, *claims, owed = values[4 + 6 * at : 10 + 6 * at]
            ledger = held[assets.index(token)] if token in assets else 0
            # A loss that is not written down yet is shared by ledger and claims in proportion.
            there, all_due = min(balance, owed + ledger), max(1, owed + ledger)
            paid = owed * there // all_due
            my_claims = sum(claims) * there // all_due
            mine_e18 += self.value_e18(token, first + second + my_claims)
            others_e18 += self.value_e18(token, paid - my_claims)
            total_e18 += self.value_e18(token, ledger * there // all_due)
        my_shares_e18 = total_e18 * sum(shares) // supply
        return mine_e18 + my_shares_e18, others_e18 + total_e18 - my_shares_e18, total_e18

    @contextmanager
    def counted(
        self, tally: Tally, vault: BoundContract | None = None, *, whole_e18: int | None = None
    ) -> Iterator[None]:
        """Add to the tally what the thief gains and the others lose inside. Prices must be the same at the end as at
        the start.

        Amounts are fractions of `whole_e18`, by default of the vault's true value.
        """
        counted = vault or self.vault
        mine, others, total = self.worths_e18(counted)
        total = whole_e18 or total
        yield
        mine_after, others_after, _ = self.worths_e18(counted)
        tally.gained_e18 += (mine_after - mine) * MILLION // total
        tally.lost_e18 += (others - others_after) * MILLION // total
        tally.history.append((self.chain.now(), tally.lost_e18))

    # Transactions

    def send(self, contract: BoundContract, function: str, *args: Any, sender: str) -> Receipt:
        """Send a transaction from an account of the node."""
        return self.chain.transact(contract, function, *args, sender=sender)

    def pull(self, acts: Sequence[Act]) -> Receipt:
        """Make calls from the thief's contract, in one transaction."""
        return self.send(self.impersonated, "run", list(acts), sender=self.thief)

    def rebalance_by_route(self, sales: Sequence[int], least: Sequence[int], route: bytes) -> Receipt:
        """Rebalance as the keeper, with the public RouteExecutor."""
        epoch = self.snapshot().state.epoch
        args = (epoch, list(sales), list(least), self.environment.system.executor, route)
        return self.send(self.vault, "rebalance", *args, sender=self.rebalancer)

    def set_policy(self, **changes: int) -> Policy:
        """Change fields of the policy, as the owner; the new policy."""
        policy = replace(self.snapshot().policy, **changes)
        self.send(self.vault, "setPolicy", astuple(policy), sender=Actor.OWNER.address)
        return policy

    def set_targets(self, targets_e18: Sequence[int], sender: str) -> Receipt:
        """Set targets from an account with the curator's role."""
        return self.send(self.vault, *self.targets_call(targets_e18), sender=sender)

    def targets_call(self, targets_e18: Sequence[int]) -> tuple[Any, ...]:
        """Function and arguments that set targets immediately, without a glide."""
        return "setTargets", list(targets_e18), 0

    def grant(self, role: Role, account: str) -> None:
        """Grant a role to an account, without a delay."""
        owner = self.chain.account(Actor.OWNER.address)
        grant_roles(owner, self.environment.system.authority, {role: [account]}, delay_seconds=0)

    def new_token(self, name: str, decimals: int, usd: int, *, owner: str) -> BoundContract:
        """Deploy a token with a feed. The owner and both accounts of the thief get `_RICHES_USD` of it."""
        token = self.chain.deploy(name, f"Coin {decimals}", "COIN", decimals, sender=owner)
        feed = self.chain.deploy("MockAggregator", 8, "COIN / USD", sender=owner)
        self.send(feed, "push", usd * 10**8, sender=owner)
        spec = FeedSpec(feed.address, 8, 120 * DAY, 1, 10**30)
        set_feed(self.chain.account(Actor.OWNER.address), self.environment.system.oracle, token.address, spec)
        self.decimals[token.address] = decimals
        self._fixed_e18[token.address] = usd * E18
        for account in (owner, self.thief, self.impersonated.address):
            self.send(token, "mint", account, self.raw(token.address, _RICHES_USD), sender=owner)
        return token

    def new_vault(
        self,
        tokens: Sequence[BoundContract],
        seeds: Sequence[int],
        shares: int,
        *,
        owner: str,
        system: System | None = None,
        fees: VaultFees | None = None,
        recipient: str | None = None,
        with_roles: bool = False,
    ) -> BoundContract:
        """Create a vault of tokens in equal parts, with the environment vault's policy. The owner pays the seed and
        gets the first shares."""
        decimals = {token.address: self.decimals[token.address] for token in tokens}
        spec = VaultSpec(
            name="Another basket",
            symbol="OTHER",
            assets=basket(decimals, equal_targets_e18(len(tokens)), DEMO_BAND_BPS),
            policy=self.snapshot().policy,
            seed_amounts=tuple(seeds),
            initial_shares=shares,
            fees=fees or VaultFees(),
            fee_recipient=recipient or Actor.FEE_RECIPIENT.address,
            salt=self.chain.now(),
        )
        create = open_vault if with_roles else create_vault
        made = create(self.chain.account(owner), system or self.environment.system, spec)
        return contract_at(self.chain.rpc, "BasketVault", made)

    def mint(self, account: str, shares: int, vault: BoundContract | None = None) -> Receipt:
        """Mint shares in kind for an account, without a limit on the amounts paid."""
        vault = vault or self.vault
        amounts = self.read(vault, "previewMintInKind", shares)
        for asset in self.read(vault, "assets"):
            token = contract_at(self.chain.rpc, "MockToken", asset[0])
            self.send(token, "approve", vault.address, 2**255, sender=account)
        least = [2**255 for _ in amounts]
        return self.send(vault, "mintInKind", shares, account, least, sender=account)

    def redeem(self, account: str, shares: int, vault: BoundContract | None = None) -> Receipt:
        """Redeem shares in kind for an account, without a minimum."""
        vault = vault or self.vault
        least = [0 for _ in self.read(vault, "held")]
        return self.send(vault, "redeemInKind", shares, account, account, least, sender=account)

    def claim(self, token: BoundContract, holder: str, vault: BoundContract | None = None) -> Receipt:
        """Pay a holder's whole claim on a token to the holder."""
        vault = vault or self.vault
        args = (holder, token.address, holder, 2**255)
        return self.send(vault, "claim", *args, sender=holder)

    def _deposit(self, account: str, shares: int) -> None:
        for asset, amount in zip(
            self.snapshot().basket.assets,
            self.read(self.vault, "previewMintInKind", shares),
            strict=True,
        ):
            self.market.deal(asset.token, account, amount)
        self.mint(account, shares)

    def refused(self, attempt: Callable[..., object], *args: object, **more: object) -> str | None:
        """Name of the error with which a call reverts; None if it succeeds."""
        try:
            attempt(*args, **more)
        except ContractReverted as refusal:
            return refusal.error
        return None

    def gain_of(self, attack: Callable[[tuple[int, ...]], Tally]) -> Gain:
        """What an attack gains with given parameters, in USD * 1e18, for `search`: every try is undone."""

        def gain(parameters: tuple[int, ...]) -> int | None:
            tally = self._tried(attack, parameters)
            return None if tally is None else tally.gained_e18

        return gain

    def harm_of(self, attack: Callable[[tuple[int, ...]], Tally]) -> Gain:
        """As `gain_of`, but what everybody else loses."""

        def harm(parameters: tuple[int, ...]) -> int | None:
            tally = self._tried(attack, parameters)
            return None if tally is None else tally.lost_e18

        return harm

    def _tried(self, attack: Callable[[tuple[int, ...]], Tally], parameters: tuple[int, ...]) -> Tally | None:
        """The result of an attack that is undone; None where a contract or the policy refuses."""
        with self.undone():
            try:
                return attack(parameters)
            except (ContractReverted, PolicyRefused):
                return None

    def refusals(self, receipt: Receipt) -> list[str]:
        """Names of the errors of calls that were allowed to fail, in order."""
        logs = [log for log in receipt.logs if log["address"].lower() == self.impersonated.address]
        return [decode_revert(event.values["reason"]).error for event in decode_logs(logs, self.impersonated.interface)]

    # Trades of a thief with the keeper's key

    def fill(self, sales: Sequence[int], buys: Sequence[int]) -> AttackFill:
        """A trade of these amounts."""
        now = self.snapshot()
        tokens = tuple(asset.token for asset in now.basket.assets)
        return AttackFill(tokens, tuple(sales), tuple(buys), now.state.epoch)

    def worst_fill(self, appetite_bps: int = BPS, greed_bps: int = BPS) -> AttackFill | None:
        """The worst trade that the vault may accept now; None if there is no trade.

        `appetite_bps` is the part of the surplus that is sold. `greed_bps` is the part of the allowed loss (slippage
        limit and loss budget) that the thief keeps: 0 in a fair trade. Purchases are spread over the deficits in
        proportion.
        """
        now = self.snapshot()
        weighed = weigh_basket(now.basket)
        prices, units = now.basket.prices, now.basket.units
        distances_e18 = weighed.distances_e18
        sold_most_e18 = now.turnover_left_e18 * weighed.total_e18 // E18 * 9_999 // BPS
        surplus_e18 = sum(d for d in distances_e18 if d > 0)
        deficit_e18 = sum(-d for d in distances_e18 if d < 0)
        sold_e18 = min(surplus_e18 * appetite_bps // BPS, sold_most_e18)
        if not sold_e18 or not deficit_e18:
            return None
        sales = [
            max(0, d) * sold_e18 // surplus_e18 * unit // price.primary_e18
            for d, price, unit in zip(distances_e18, prices, units, strict=True)
        ]
        # The vault values sales at the higher price and purchases at the lower one.
        lent_e18 = sum(sale * price.hi_e18 // unit for sale, price, unit in zip(sales, prices, units, strict=True))
        # A billionth of the budget stays unused: the vault rounds against the sender.
        loss_most_e18 = now.loss_left_e18 * weighed.total_e18 // E18 * (10**9 - 1) // 10**9
        kept_e18 = min(lent_e18 * now.slippage_limit_e18 // E18, loss_most_e18) * greed_bps // BPS
        wanted_e18 = lent_e18 - kept_e18
        buys = [
            -d * wanted_e18 // deficit_e18 * unit // price.lo_e18 + 2 if d < 0 else 0
            for d, price, unit in zip(distances_e18, prices, units, strict=True)
        ]
        tokens = tuple(asset.token for asset in now.basket.assets)
        return AttackFill(tokens, tuple(sales), tuple(buys), now.state.epoch)

    def sold_limit_e18(self, slippage_bps: int) -> int:
        """Promise D for one trade now: the slippage limit times the whole surplus, for a vault of a million dollars."""
        weighed = weigh_basket(self.snapshot().basket)
        sold_e18 = sum(d for d in weighed.distances_e18 if d > 0)
        return sold_e18 * slippage_bps // BPS * MILLION // weighed.total_e18

    def keep_what_it_can(self, fill: AttackFill) -> Receipt:
        """Trade with the thief's contract as executor: it takes the sales, pays the purchases from its own tokens and
        keeps the rest."""
        acts = [
            act(contract_at(self.chain.rpc, "MockToken", token), "transfer", self.vault.address, buy)
            for token, buy in zip(fill.tokens, fill.buys, strict=True)
            if buy
        ]
        least = [min(buy, 1) for buy in fill.buys]
        route = route_of(self.impersonated, acts)
        args = (fill.epoch, list(fill.sales), least, self.impersonated.address, route)
        return self.send(self.vault, "rebalance", *args, sender=self.rebalancer)


def act(contract: BoundContract, function: str, *args: Any, may_fail: bool = False) -> Act:
    """A call by the thief's contract."""
    data = bytes.fromhex(contract.data(function, *args).removeprefix("0x"))
    return contract.address, may_fail, data


def route_of(impersonated: BoundContract, acts: Sequence[Act]) -> bytes:
    """The same calls as a route: the encoded arguments of `run`."""
    return bytes.fromhex(impersonated.data("run", list(acts)).removeprefix("0x"))[4:]


def bound_b_e18(policy: Policy, window_seconds: int, oracle_error_bps: int = 0) -> int:
    """Promise B on a vault of a million dollars: lossBudget·(1 + W/P) + 2·oracleError·turnoverBudget·(1 + W/Pt), in USD
    * 1e18."""
    loss = policy.loss_budget_bps * (policy.loss_period_seconds + window_seconds)
    turnover = policy.turnover_budget_bps * (policy.turnover_period_seconds + window_seconds)
    return MILLION * loss // (BPS * policy.loss_period_seconds) + MILLION * 2 * oracle_error_bps * turnover // (
        BPS**2 * policy.turnover_period_seconds
    )


def dollars(usd_e18: int) -> str:
    """USD with two decimals; amounts below a cent in scientific notation; zero as 0."""
    if usd_e18 == 0:
        return "0"
    usd = usd_e18 / E18
    return f"{usd:,.2f}" if abs(usd) >= 0.01 else f"{usd:.1e}"
