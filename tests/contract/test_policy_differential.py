"""The contracts against `rebalancer/policy.py`, on random baskets: equal to the unit, refusals and their numbers included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from random import Random
from typing import Any, Self, TypeVar

from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from rebalancer import policy, settlement
from rebalancer.abi import decode_logs
from rebalancer.block import Block
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import decode_revert
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.snapshot import VaultSnapshot, decode_vaults, read_block
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import NodeKind
from rebalancer.errors import ContractReverted, PolicyRefused
from rebalancer.operations.actions import MAX_LOCKED_BPS, MINIMUM_LOCKED_RAW
from rebalancer.operations.deploy import VaultFees, VaultSpec, create_vault
from rebalancer.policy import MAX_HELD_RAW
from rebalancer.reasons import Reason
from rebalancer.settlement import (
    Asset,
    Basket,
    Policy,
    Price,
    Settlement,
    State,
    Weighed,
    settle,
    weigh_basket,
)
from rebalancer.units import BPS, E18, div_up
from tests.baskets import (
    TOKENS,
    Trade,
    fill_of,
    lent_by,
    log_uniform,
    moved,
    random_basket,
    random_policy,
    random_targets,
    random_trade,
)
from tests.contract.world import World, as_list

FAULTS = (
    *("None", "NoFeed", "CallFailed", "NotPositive", "Stale", "OutOfRange"),
    *("Diverged", "SequencerDown", "GracePeriod", "SecondUnsound", "Paused"),
)
"""IOracleHub.Fault, by number."""

NONE = (1 << 256) - 1
"""RebalancePolicy.NONE, which is None in Python."""

STOCK_RAW = 1 << 200
"""What the creator and the executor have of every token: more than any vault can hold."""

HEAD_WORDS, ASSET_WORDS = 33, 20
"""Of VaultLens."""

LEAST_SEED_RAW = MINIMUM_LOCKED_RAW * BPS // MAX_LOCKED_BPS

T = TypeVar("T")

Outcome = tuple[str, Any]
"""("returned", what), or an error's name and its numbers."""

EXAMPLES = {NodeKind.ANVIL: 140, NodeKind.HARDHAT: 25}
"""How many baskets run on which chain; that every outcome is reached is checked on the first."""


def on_random_baskets(node_kind: NodeKind) -> Callable[[Callable[[Random], None]], None]:
    """Runs a check once for each of the same random sources every time; a failure prints its own."""

    def run(check: Callable[[Random], None]) -> None:
        deep = settings.get_current_profile_name() == "deep"
        examples = EXAMPLES[node_kind] * (10 if deep else 1)
        settings(max_examples=examples)(given(st.randoms(use_true_random=True))(check))()

    return run


# Every function of RebalancePolicy


@dataclass(frozen=True)
class Case:
    """One call of one function: its name in Solidity, itself in Python, and what both get."""

    solidity: str
    python: Callable[..., Any]
    args: tuple[Any, ...]


def every_function(rng: Random) -> list[Case]:
    """Every function of the library, in its order, on numbers up to the documented bounds."""
    basket = random_basket(rng)
    n, units, prices = len(basket.assets), basket.units, basket.prices_e18
    unit = units[0]
    amount, price, part = (rng.choice((log_uniform(rng, 128), MAX_HELD_RAW)) for _ in range(3))
    total, total_after = (rng.choice((log_uniform(rng, 120), policy.MAX_TOTAL_E18)) for _ in range(2))
    held = rng.choice((basket.held, [log_uniform(rng, 128) for _ in range(n)], [0] * n))
    values = [rng.choice((0, total, rng.randint(0, total))) for _ in range(n)]
    before = [rng.choice((0, total, rng.randint(-total, total))) for _ in range(n)]
    after = [rng.randint(-total, total) for _ in range(n)]
    if rng.random() < 0.8:
        after = [distance * rng.randint(0, 100) // 100 for distance in before]
    surpluses = list(map(policy.surplus_raw, before, prices, units))
    sales = [most + (rng.random() < 0.03) for most in surpluses]
    min_buys = [int(distance < 0 or rng.random() < 0.03) for distance in before]
    start, top = sorted(rng.randint(0, 300) for _ in range(2))
    ramp, due_since = rng.randint(1, 100_000), rng.choice((0, 1_700_000_000))
    at = 1_700_000_000 + rng.choice((0, ramp, rng.randint(0, 20_000)))
    bps, dust = rng.randint(0, BPS), rng.choice((0, 1, 50, BPS))
    level = rng.choice((0, rng.randint(0, 2 * E18)))
    period, elapsed = (rng.randrange(1, 1 << 32) for _ in range(2))
    target, relative = rng.randint(0, E18), rng.choice((0, rng.randint(0, BPS)))
    glide = sorted(at + rng.randint(-20_000, 20_000) for _ in range(2))
    rebalanced_at = max(0, at - rng.choice((0, 1, period // 2, period)))
    worth = sum(map(policy.value_up, sales, prices, units))
    need = max(0, worth + rng.choice((-1, 0, 1)))
    his = basket.his_e18
    # Anybody asks for anything: of a sale, all that fits a word.
    problem = [rng.choice((sale, sale, 2 * sale + 1, (1 << 256) - 1, 0)) for sale in sales]
    most_raw = [min(most, MAX_HELD_RAW) for most in surpluses]
    fitting = (
        problem,
        most_raw,
        prices,
        his,
        units,
        need,
        rng.choice((worth, 2 * worth, need // 2)),
    )
    fitted = [min(sale, most) // rng.choice((1, 2)) for sale, most in zip(problem, most_raw, strict=True)]
    least = [rng.choice((0, 1, 2, amount, 1 << 128, (1 << 256) - 1)) for _ in sales]
    scaling = (
        *([min(sale, MAX_HELD_RAW) for sale in sales], prices, basket.his_e18, units),
        *([rng.choice((0, sale // 2)) for sale in sales], rng.choice((worth, need // 3))),
        *(rng.choice((2 * E18, level)), total),
    )
    floor_pay, start_pay = sorted((amount, price))
    auction = (start_pay, floor_pay, ramp, rng.choice((0, ramp, rng.randint(0, 2 * ramp))))
    progress = (
        *(min(sum(map(abs, before)), 2 * total), total),
        *(min(sum(map(abs, after)), 2 * total_after), total_after),
        *(bps, dust),
    )
    return [
        Case("targetE18", policy.target_e18, (rng.randint(0, E18), target, *glide, at)),
        Case("bandE18", policy.band_e18, (dust + rng.randint(1, 5_000), relative, target, dust)),
        Case("valueDown", policy.value_down, (amount, price, unit)),
        Case("valueUp", policy.value_up, (amount, price, unit)),
        Case("fractionUp", policy.fraction_up, (part, total)),
        Case("weigh", policy.weigh, (held, prices, units)),
        Case("distances", policy.distances, (values, total, random_targets(rng, n))),
        Case("firstBroken", policy.first_broken, (before, total, basket.bands_e18)),
        Case("isCalendarOpen", policy.is_calendar_open, (rebalanced_at, rng.choice((0, period)), at)),
        Case("isOpen", policy.is_open, (due_since, rng.choice((0, ramp)), at)),
        Case("driftBps", policy.drift_bps, (before, total)),
        Case("surplusRaw", policy.surplus_raw, (before[0], price, unit)),
        Case("deficitRaw", policy.deficit_raw, (before[0], price, unit)),
        Case("toDestination", policy.to_destination, (before, total, basket.bands_e18, bps, dust)),
        Case("checkSales", policy.check_sales, (sales, min_buys, before, prices, units)),
        Case("fitSales", policy.fit_sales, fitting),
        Case(
            "fittedMinimumE18",
            policy.fitted_minimum_e18,
            (least, prices, problem, fitted, his, units),
        ),
        Case("checkTradeSize", policy.check_trade_size, (n, amount, rng.choice((0, price)))),
        Case("allowedSales", policy.allowed_sales, scaling),
        Case("slippageE18", policy.slippage_e18, (start, top, ramp, due_since, at)),
        Case("minimumBoughtE18", policy.minimum_bought_e18, (total, rng.randint(0, E18))),
        Case("checkTowardTarget", policy.check_toward_target, (before, after, total_after, dust)),
        Case("checkProgress", policy.check_progress, progress),
        Case("leak", policy.leak, (level, bps, period, elapsed)),
        Case("carryLevel", policy.carry_level, (level, bps, period, 2 * bps, ramp, elapsed)),
        Case("spendLoss", policy.spend_loss, (level, values[0], total, bps)),
        Case("spendTurnover", policy.spend_turnover, (level, values[-1], total, 2 * bps)),
        Case("auctionPayRaw", policy.auction_pay_raw, auction),
    ]


def in_python(case: Case) -> Outcome:
    try:
        returned = case.python(*case.args)
    except PolicyRefused as refusal:
        return refusal.error, list(refusal.numbers)
    if case.solidity == "firstBroken" and returned is None:
        returned = NONE
    return "returned", as_list(returned)


def in_solidity(
    chain: LocalChain, multicall: BoundContract, harness: BoundContract, cases: Sequence[Case]
) -> list[Outcome]:
    """All cases in one call."""
    calls = [(harness.address, True, bytes.fromhex(harness.data(case.solidity, *case.args)[2:])) for case in cases]
    outcomes: list[Outcome] = []
    answers = multicall.call("aggregate3", calls)
    for case, (succeeded, data) in zip(cases, answers, strict=True):
        if succeeded:
            returned = harness.interface.functions[case.solidity].decode(data)
            outcomes.append(("returned", as_list(returned)))
        else:
            refusal = decode_revert(data)
            outcomes.append((refusal.error, list(refusal.values.values())))
    return outcomes


def test_every_function_of_the_library_equals_python(chain: LocalChain, node_kind: NodeKind) -> None:
    harness, multicall = chain.deploy("PolicyHarness"), chain.deploy("Multicall3")
    seen: Counter[tuple[str, str]] = Counter()

    @on_random_baskets(node_kind)
    def check(rng: Random) -> None:
        cases = every_function(rng)
        for case, outcome in zip(cases, in_solidity(chain, multicall, harness, cases), strict=True):
            assert outcome == in_python(case), case
            seen[case.solidity, outcome[0]] += 1

    wanted = {(name, "returned") for name in harness.interface.functions if "(" not in name}
    wanted |= {
        ("weigh", "TotalOutOfRange"),
        ("checkSales", "SaleWithoutSurplus"),
        ("checkSales", "BuyWithoutDeficit"),
        ("checkTradeSize", "TradeTooSmall"),
        ("checkTowardTarget", "AwayFromTarget"),
        ("checkProgress", "TooLittleProgress"),
        ("spendLoss", "LossBudgetExceeded"),
        ("spendTurnover", "TurnoverBudgetExceeded"),
    }
    assert set(seen) <= wanted
    if node_kind is NodeKind.ANVIL:
        assert set(seen) == wanted
        assert min(seen.values()) >= 3, seen


# A whole rebalance


@dataclass(frozen=True)
class Arena:
    """Tokens, an oracle and an executor that do as they are told, and the vaults made of them.

    The admin rebalances: until a vault's functions are handed to roles, only the admin may.
    """

    world: World
    tokens: dict[str, str]
    oracle: BoundContract
    executor: BoundContract

    @classmethod
    def build(cls, world: World) -> Self:
        multicall = world.admin.deploy("Multicall3")
        executor = world.admin.deploy("FillExecutor")
        made = {name: world.admin.deploy("MockToken", name, name, decimals) for name, decimals in TOKENS}
        minting = [
            (token.address, False, bytes.fromhex(token.data("mint", owner, STOCK_RAW)[2:]))
            for token in made.values()
            for owner in (world.admin.address, executor.address)
        ]
        world.admin.transact(multicall, "aggregate3", minting)
        tokens = {name: token.address for name, token in made.items()}
        return cls(world, tokens, world.admin.deploy("MockOracle"), executor)

    def placed(self, basket: Basket) -> Basket:
        """The basket with addresses for names."""
        assets = tuple(replace(a, token=self.tokens[a.token]) for a in basket.assets)
        return replace(basket, assets=assets)

    def set_prices(self, basket: Basket) -> None:
        """Has the oracle say what the basket's prices are."""
        prices = [(p.lo_e18, p.hi_e18, p.primary_e18, FAULTS.index(p.fault)) for p in basket.prices]
        tokens = [asset.token for asset in basket.assets]
        self.world.admin.transact(self.oracle, "setPrices", tokens, prices)

    def open_vault(self, basket: Basket, rules: Policy, salt: int) -> BoundContract:
        """A vault that holds the basket."""
        self.set_prices(basket)
        assert basket == seeded(basket)
        system = replace(self.world.system, oracle=self.oracle.address)
        spec = VaultSpec(
            name="Arena",
            symbol="ARENA",
            assets=basket.assets,
            policy=rules,
            seed_amounts=basket.held,
            initial_shares=10**18,
            fees=VaultFees(),
            fee_recipient=self.world.treasury.address,
            salt=salt,
        )
        return contract_at(self.world.chain.rpc, "BasketVault", create_vault(self.world.admin, system, spec))

    def shaken(self, rng: Random, vault: BoundContract, basket: Basket) -> tuple[Basket, State]:
        """The vault's basket, with targets that glide now and then, and now and then an asset left out; and its state, an epoch further
        by each change."""
        world, n, epoch = self.world, len(basket.assets), 0
        if rng.random() < 0.4:
            seconds = rng.randint(1, 1_000_000)
            world.admin.transact(vault, "setTargets", random_targets(rng, n), seconds)
            now = world.chain.now()
            basket = replace(basket, glide_start=now, glide_end=now + seconds)
            epoch += 1
        if n > 2 and rng.random() < 0.3:
            left_out = rng.randrange(n)
            others = [asset for i, asset in enumerate(basket.assets) if i != left_out]
            if any(asset.target_e18 for asset in others):
                excluded = attempt(lambda: world.admin.transact(vault, "excludeAsset", left_out))
                if isinstance(excluded, Receipt):
                    # Targets start anew from where they were.
                    now = world.chain.now()
                    end = max(now, basket.glide_end)
                    basket = replace(basket, glide_start=now, glide_end=end)
                    epoch += 1
        assets = tuple(Asset(*a) for a in world.read(vault, "assets"))
        return replace(basket, assets=assets), State(epoch=epoch)

    def struck(self, rng: Random, vault: BoundContract, basket: Basket, state: State) -> tuple[Basket, State]:
        """The vault after one of its tokens lost a part of its balance there, and whoever noticed had it written down."""
        world, asset = self.world, rng.randrange(len(basket.assets))
        token, before = basket.assets[asset].token, basket.held[asset]
        after = before * rng.choice((5_000, 9_000, 9_999)) // BPS
        if after == before:
            return basket, state
        lost = contract_at(world.chain.rpc, "MockToken", token)
        gift = world.read(lost, "balanceOf", vault.address) - before
        world.chain.set_token_balance(token, vault.address, after)
        world.admin.transact(vault, "sync", asset)
        barred = list(basket.barred)
        barred[asset] = world.read(vault, "isBarred", asset)
        is_large = policy.fraction_up(before - after, before) > basket.dust_bps * (E18 // BPS)
        is_paused = state.paused or is_large or barred[asset] > basket.barred[asset]
        assert gift >= 0
        held = (*basket.held[:asset], after, *basket.held[asset + 1 :])
        return replace(basket, held=held, barred=tuple(barred)), replace(state, paused=is_paused)

    def tightened(self, rng: Random, vault: BoundContract, rules: Policy, state: State) -> tuple[Policy, State]:
        """The vault after one of its budgets was lowered to the least there may be; a level may be above it then."""
        least = {
            "loss_budget_bps": div_up(rules.max_slippage_bps * rules.min_progress_bps, BPS),
            "turnover_budget_bps": rules.min_progress_bps,
        }
        lowered = rng.choice(list(least))
        tight = replace(rules, **{lowered: least[lowered]})
        self.world.admin.transact(vault, "tightenPolicy", astuple(tight))
        elapsed = self.world.chain.now() - state.rebalanced_at
        loss, turnover = (
            policy.carry_level(level, old, period, new, period, elapsed)
            for level, old, period, new in (
                (
                    *(state.loss_level_e18, rules.loss_budget_bps),
                    *(rules.loss_period_seconds, tight.loss_budget_bps),
                ),
                (
                    *(state.turnover_level_e18, rules.turnover_budget_bps),
                    *(rules.turnover_period_seconds, tight.turnover_budget_bps),
                ),
            )
        )
        changed = replace(state, loss_level_e18=loss, turnover_level_e18=turnover)
        return tight, replace(changed, epoch=state.epoch + 1, due_since=0)

    def act(self, at: int, vault: BoundContract, function: str, *args: Any) -> Receipt:
        """A transaction of the admin in a block of a given time."""
        self.world.chain.set_next_timestamp(at)
        return self.world.admin.transact(vault, function, *args)

    def rebalance(self, at: int, vault: BoundContract, basket: Basket, epoch: int, trade: Trade) -> Any:
        """The Rebalanced event."""
        given = [(asset.token, amount) for asset, amount in zip(basket.assets, trade.given, strict=True) if amount]
        route = encode(["address[]", "uint256[]"], [[t for t, _ in given], [a for _, a in given]])
        receipt = self.act(
            at,
            vault,
            "rebalance",
            epoch,
            trade.sales,
            trade.min_buys,
            self.executor.address,
            route,
        )
        (event,) = decode_logs(receipt.logs, vault.interface)[-1:]
        assert event.name == "Rebalanced"
        return event.values

    def books(self, vault: BoundContract) -> tuple[tuple[int, ...], State]:
        """Ledger and state, as the vault says."""
        problem = vault.batched
        held, state = vault.rpc.batch([problem.request("held"), problem.request("state")])
        return problem.result("held", held), State(*problem.result("state", state))

    def lens(self, vaults: Sequence[BoundContract]) -> tuple[bytes, Block]:
        """What VaultLens says of vaults at the latest block."""
        block = read_block(self.world.chain.rpc)
        lens = contract_at(self.world.chain.rpc, "VaultLens", self.world.system.lens)
        addresses = [vault.address for vault in vaults]
        return lens.call("read", addresses, block=block.hash), block


def poked(rules: Policy, state: State, basket: Basket, at: int) -> State:
    """The state after `poke`, refused as a rebalance is when the basket cannot be weighed."""
    due = is_due(rules, state, weigh_basket(basket), at)
    if due == (state.due_since != 0):
        return state
    return replace(state, due_since=at if due else 0)


def is_due(rules: Policy, state: State, weighed: Weighed, at: int) -> bool:
    """A band is broken, or the calendar is open and there is more than dust to do."""
    is_called = policy.is_calendar_open(state.rebalanced_at, rules.calendar_seconds, at)
    is_dust = weighed.distance_e18 * BPS <= rules.dust_bps * weighed.total_e18
    return weighed.broken is not None or (is_called and not is_dust)


def seeded(basket: Basket) -> Basket:
    """The basket with at least as much of every asset as a vault begins with, or none of it."""
    held = tuple(raw and max(raw, LEAST_SEED_RAW) for raw in basket.held)
    return replace(basket, held=held, barred=(False,) * len(held))


def attempt(action: Callable[[], T]) -> T | ContractReverted | PolicyRefused:
    """What the action returned, or how it was refused."""
    try:
        return action()
    except (ContractReverted, PolicyRefused) as refusal:
        return refusal


def check_refused_alike(outcome: object, expected: PolicyRefused) -> str:
    """Both sides refuse with one name and the same numbers; returns the name."""
    assert isinstance(outcome, ContractReverted), f"only Python refuses: {expected}"
    numbers = list(outcome.values.values())
    if outcome.error == "OracleFault":
        numbers[1] = FAULTS[int(str(numbers[1]))]
    assert (outcome.error, numbers) == (expected.error, list(expected.numbers))
    return outcome.error


def test_rebalance_equals_python(world: World, node_kind: NodeKind) -> None:
    arena = Arena.build(world)
    seen: Counter[str] = Counter()

    @on_random_baskets(node_kind)
    def check(rng: Random) -> None:
        rules = random_policy(rng)
        basket = arena.placed(seeded(random_basket(rng, rules.dust_bps)))
        vault = arena.open_vault(basket, rules, salt=world.read(world.factory, "vaultCount"))
        basket, state = arena.shaken(rng, vault, basket)
        seen["glides"] += basket.glide_start < basket.glide_end
        seen["excludes"] += any(asset.excluded for asset in basket.assets)
        for _ in range(rng.randint(1, 4)):
            if rng.random() < 0.8:
                basket = moved(rng, basket)
                arena.set_prices(basket)
            at = world.chain.now() + rng.choice((1, 60, 3_600, 86_400))
            if rng.random() < 0.3:
                state, outcome = poke_both(*(arena, vault, rules, state, basket.at(at, rules.dust_bps), at))
                seen[outcome] += 1
                at += rng.randint(1, rules.slippage_ramp_seconds)
            if rng.random() < 0.05:
                arena.act(at, vault, "pauseRebalance")
                state = replace(state, paused=True)
                at += 1
            check_lens(arena, [(vault, basket, rules, state)])

            if rng.random() < 0.15:
                basket, state = arena.struck(rng, vault, basket, state)
                seen["barred"] += any(basket.barred)
                at = max(at, world.chain.now() + 1)
                check_lens(arena, [(vault, basket, rules, state)])

            if rng.random() < 0.15:
                rules, state = arena.tightened(rng, vault, rules, state)
                at = max(at, world.chain.now() + 1)
                check_lens(arena, [(vault, basket, rules, state)])

            trade = any_trade(rng, rules, state, basket.at(at, rules.dust_bps), at)
            epoch = state.epoch + (rng.random() < 0.05)
            is_over_asked = lends_less(rules, state, basket, trade, at)
            basket, state, outcome = rebalance_both(arena, vault, rules, state, basket, trade, epoch, at)
            seen[outcome] += 1
            seen["over-asked"] += outcome == "settled" and is_over_asked
            assert arena.books(vault) == (basket.held, state)
            check_lens(arena, [(vault, basket, rules, state)])
            if state.paused:
                world.admin.transact(vault, "resumeRebalance")
                state = replace(state, paused=False, due_since=0)

    wanted = {
        *("glides", "excludes", "barred", "PurchaseBarred", "NothingSold", "TradeTooSmall"),
        *("settled", "poked", "OracleFault", "TotalOutOfRange", "RebalanceIsPaused", "WrongEpoch"),
        *(
            "CooldownActive",
            "NoBandBroken",
            "over-asked",
            "SaleWithoutSurplus",
            "BuyWithoutDeficit",
        ),
        *("BoughtTooLittle", "PriceTooPoor", "AwayFromTarget", "TooLittleProgress"),
        *("LossBudgetExceeded", "TurnoverBudgetExceeded", "HoldingTooLarge"),
    }
    assert set(seen) <= wanted
    if node_kind is NodeKind.ANVIL:
        assert set(seen) == wanted
        assert seen["settled"] >= 30, seen


def lends_less(rules: Policy, state: State, basket: Basket, trade: Trade, at: int) -> bool:
    """Whether the vault lends less than a trade asks for."""
    try:
        return lent_by(rules, state, basket, trade, at) != trade.sales
    except PolicyRefused:
        return False


def any_trade(rng: Random, rules: Policy, state: State, basket: Basket, at: int) -> Trade:
    """A random trade; nothing at all of a basket that cannot be weighed."""
    try:
        return random_trade(rng, rules, state, basket, weigh_basket(basket), at)
    except PolicyRefused:
        nothing = (0,) * len(basket.assets)
        return Trade(nothing, nothing, nothing)


def poke_both(
    arena: Arena, vault: BoundContract, rules: Policy, state: State, basket: Basket, at: int
) -> tuple[State, str]:
    """Pokes on chain and on paper."""
    expected = attempt(lambda: poked(rules, state, basket, at))
    outcome = attempt(lambda: arena.act(at, vault, "poke"))
    if isinstance(expected, PolicyRefused):
        return state, check_refused_alike(outcome, expected)
    assert isinstance(expected, State)
    assert isinstance(outcome, Receipt), f"only the contract refuses: {outcome}"
    stamps = [event.values for event in decode_logs(outcome.logs, vault.interface)]
    assert stamps == ([] if expected == state else [{"dueSince": expected.due_since}])
    assert arena.books(vault) == (basket.held, expected)
    return expected, "poked"


def rebalance_both(
    arena: Arena,
    vault: BoundContract,
    rules: Policy,
    state: State,
    basket: Basket,
    trade: Trade,
    epoch: int,
    at: int,
) -> tuple[Basket, State, str]:
    """Rebalances on chain and on paper: both settle alike, or refuse alike."""
    fill = fill_of(rules, state, basket, trade, at)
    expected = attempt(lambda: settle(rules, state, basket, fill, trade.min_buys, at, epoch=epoch, sales=trade.sales))
    outcome = attempt(lambda: arena.rebalance(at, vault, basket, epoch, trade))
    if isinstance(expected, PolicyRefused):
        return basket, state, check_refused_alike(outcome, expected)
    assert isinstance(expected, Settlement)
    assert isinstance(outcome, dict), f"only the contract refuses: {outcome}"
    booked = [came if least else 0 for came, least in zip(fill.bought, trade.min_buys, strict=True)]
    assert as_list(outcome) == {
        "epoch": epoch,
        "caller": arena.world.admin.address,
        "executor": arena.executor.address,
        "changes": [came - gone for came, gone in zip(booked, fill.sold, strict=True)],
        "soldE18": expected.sold_e18,
        "boughtE18": expected.bought_e18,
        "lossLevelE18": expected.state.loss_level_e18,
        "turnoverLevelE18": expected.state.turnover_level_e18,
        "dueSince": expected.state.due_since,
    }
    return replace(basket, held=expected.held), expected.state, "settled"


# VaultLens


def expected_reason(basket: Basket, rules: Policy, state: State, timestamp: int) -> Reason:
    """VaultLens.Reason on paper."""
    if state.paused:
        return Reason.PAUSED
    try:
        weighed = weigh_basket(basket)
    except PolicyRefused as refusal:
        return Reason(refusal.error)
    if not is_due(rules, state, weighed, timestamp):
        return Reason.IN_BAND
    if not any(distance < 0 and not basket.is_barred(i) for i, distance in enumerate(weighed.distances_e18)):
        return Reason.PURCHASES_BARRED
    if timestamp < state.rebalanced_at + rules.cooldown_seconds:
        return Reason.COOLDOWN
    return Reason.CALENDAR_DUE if weighed.broken is None else Reason.BAND_BROKEN


def check_lens(arena: Arena, vaults: Sequence[tuple[BoundContract, Basket, Policy, State]]) -> None:
    """Holds one call of VaultLens against what Python computes of each vault."""
    packed, block = arena.lens([vault for vault, *_ in vaults])
    snapshots = decode_vaults(packed, block.timestamp)
    words = [int.from_bytes(packed[at : at + 32]) for at in range(0, len(packed), 32)]
    for snapshot, (vault, basket, rules, state) in zip(snapshots, vaults, strict=True):
        size = HEAD_WORDS + ASSET_WORDS * len(basket.assets)
        own, words = words[:size], words[size:]
        now = basket.at(block.timestamp, rules.dust_bps)
        check_snapshot(snapshot, own, vault, now, rules, state, block.timestamp)
    assert words == []


def check_snapshot(
    snapshot: VaultSnapshot,
    words: Sequence[int],
    vault: BoundContract,
    basket: Basket,
    rules: Policy,
    state: State,
    timestamp: int,
) -> None:
    """One vault: what is stored, what is derived, and the words that `VaultSnapshot` leaves out."""
    assert snapshot.address.lower() == vault.address
    assert snapshot.basket == as_told(basket)
    assert (snapshot.policy, snapshot.state) == (rules, state)
    assert snapshot.reason == expected_reason(basket, rules, state, timestamp)
    assert snapshot.total_supply == 10**18
    budgets = (snapshot.loss_left_e18, snapshot.turnover_left_e18)
    assert budgets == settlement.budgets_left_e18(rules, state, timestamp)
    since = state.due_since
    opens = since and rules.open_after_seconds
    assert snapshot.slippage_limit_e18 == policy.slippage_e18(
        rules.start_slippage_bps,
        rules.max_slippage_bps,
        rules.slippage_ramp_seconds,
        since,
        timestamp,
    )
    assert snapshot.missing_raw == (0,) * len(basket.assets)
    assert snapshot.opens_at == (since + rules.open_after_seconds if opens else 0)
    own = [words[HEAD_WORDS + ASSET_WORDS * i :][:ASSET_WORDS] for i in range(len(basket.assets))]
    assert [asset[4] for asset in own] == basket.targets_e18
    derived = [tuple(asset[14:17]) for asset in own]
    try:
        weighed = weigh_basket(basket)
    except PolicyRefused:
        assert (snapshot.total_e18, snapshot.distance_e18, snapshot.drift_bps) == (0, 0, 0)
        assert not any((snapshot.need_e18, *snapshot.sales_allowed))
        assert set(derived) == {(0, 0, 0)}
        return
    assert snapshot.total_e18 == weighed.total_e18
    destination = policy.to_destination(
        weighed.distances_e18,
        weighed.total_e18,
        basket.bands_e18,
        rules.destination_bps,
        rules.dust_bps,
    )
    assert (snapshot.distance_e18, snapshot.need_e18) == destination
    may_run = snapshot.reason in (Reason.BAND_BROKEN, Reason.CALENDAR_DUE)
    allowed = policy.allowed_sales(
        *([surplus for _, surplus, _ in derived], basket.prices_e18, basket.his_e18, basket.units),
        *(basket.min_trades_raw, snapshot.need_e18, snapshot.turnover_left_e18, weighed.total_e18),
    )
    assert list(snapshot.sales_allowed) == (allowed if may_run else [0] * len(allowed))
    assert snapshot.drift_bps == weighed.drift_bps
    assert derived == [
        (
            value,
            policy.surplus_raw(distance, price, unit),
            policy.deficit_raw(distance, price, unit),
        )
        for value, distance, price, unit in zip(
            weighed.values_e18, weighed.distances_e18, basket.prices_e18, basket.units, strict=True
        )
    ]


def as_told(basket: Basket) -> Basket:
    """The basket as the lens tells it: addresses in lower case, and no price of what is left out."""
    return replace(
        basket,
        assets=tuple(replace(asset, token=asset.token.lower()) for asset in basket.assets),
        prices=tuple(
            Price(0, 0, 0) if asset.excluded else price
            for asset, price in zip(basket.assets, basket.prices, strict=True)
        ),
    )


def test_lens_reads_many_vaults_in_the_order_given(world: World) -> None:
    arena, rng = Arena.build(world), Random(20)
    made: list[tuple[BoundContract, Basket, Policy, State]] = []
    for salt in range(8):
        rules = random_policy(rng)
        basket = arena.placed(seeded(random_basket(rng, rules.dust_bps)))
        vault = arena.open_vault(basket, rules, salt)
        state = State(paused=salt % 4 == 0)
        if state.paused:
            world.admin.transact(vault, "pauseRebalance")
        made.append((vault, basket, rules, state))
    # Tokens are shared, so the oracle now knows the last price of each.
    latest = {
        asset.token: price
        for _, basket, _, _ in made
        for asset, price in zip(basket.assets, basket.prices, strict=True)
    }
    now = [
        (vault, replace(b, prices=tuple(latest[a.token] for a in b.assets)), rules, state)
        for vault, b, rules, state in made
    ]

    check_lens(arena, now)
    check_lens(arena, [*reversed(now), now[0]])
    assert arena.lens([])[0] == b""
