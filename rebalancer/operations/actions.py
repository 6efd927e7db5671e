"""Actions of people on a vault, from a wallet, with their outcomes.

Each function is one action. It reads the state, checks it, and raises an error with numbers before anything is sent. It
grants exactly the necessary allowance, sends the transaction, and reads the outcome from the receipt. If the
transaction is refused after allowances were granted, they are set to 0. A `KeyboardInterrupt` has notes that name the
pending transaction and the remaining allowances.

Deposits and withdrawals pass a `Preview` to `confirm` before they send anything; an exception from `confirm` ends them.

Amounts are raw units, sequences are in basket order, addresses are lower case. `ETH` is the native currency, as in the
Zap contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rebalancer.abi import decode_logs
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.l1_fees import read_l1_fees, transaction_bytes
from rebalancer.chain.receipt import NoLogs, Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.chain.system import Role, System
from rebalancer.errors import (
    AssetCountOutOfRange,
    BalanceTooLow,
    ContractMissing,
    ContractReverted,
    FeeAboveCap,
    FeeOutOfRange,
    L1FeeUnknown,
    NothingRequested,
    NothingToClaim,
    NothingToDeposit,
    NotPermitted,
    NotTheClaimant,
    RebalancerError,
    SeedTooSmall,
    TargetsDoNotSumToOne,
    TokenNotInBasket,
)
from rebalancer.operations.deploy import VaultFees, VaultSpec, assign_vault_roles, create_vault
from rebalancer.operations.governance import act
from rebalancer.operations.preview import Approval, Preview, read_values
from rebalancer.operations.spec import MAX_ASSETS, MIN_ASSETS, check_bands, check_weights
from rebalancer.send.costs import check_ether, cost_now, estimate_gas, with_margin
from rebalancer.send.fees import offer, read_market, suggest
from rebalancer.send.simulate import gas_in_turn
from rebalancer.send.wallet import Wallet
from rebalancer.texts import LONGEST_SYMBOL, safe_text
from rebalancer.units import BPS, E18, YEAR_SECONDS, div_up, mul_div_down, mul_div_up
from rebalancer.venues import Pool

if TYPE_CHECKING:
    from rebalancer.plan.swap import Swap
    from rebalancer.plan.zap import VaultLedger, ZapIn

__all__ = [
    "ETH",
    "MAX_FEES_BPS",
    "MAX_LOCKED_BPS",
    "MINIMUM_LOCKED_RAW",
    "MINIMUM_SHARES",
    "Change",
    "Claimed",
    "Confirm",
    "DepositedInKind",
    "DepositedToken",
    "LossWrittenDown",
    "VaultCreated",
    "WithdrawnInKind",
    "WithdrawnToken",
    "claim",
    "deposit_in_kind",
    "deposit_token",
    "new_vault",
    "set_bands",
    "set_targets",
    "sync",
    "vault_address",
    "withdraw_in_kind",
    "withdraw_token",
]

ETH = "0x" + 40 * "0"
"""Zap.ETH: the native currency, as a token."""

MINIMUM_SHARES = 10**6
"""BasketVault.MINIMUM_SHARES: the minimum of the shares that are locked at creation."""

MINIMUM_LOCKED_RAW = 1_000
"""VaultBase.MINIMUM_LOCKED_RAW: the locked shares own at least this amount of every seeded asset."""

MAX_LOCKED_BPS = 100
"""VaultBase.MAX_LOCKED_BPS: maximum part of the first shares that may be locked, in basis points."""

MAX_FEES_BPS = VaultFees(streaming_bps=500, performance_bps=2_000, entry_bps=200, exit_bps=200)
"""VaultBase's MAX_STREAMING_BPS, MAX_PERFORMANCE_BPS and MAX_FLOW_BPS."""

Confirm = Callable[[Preview], None]

_ZAP_GAS = 3_000_000
"""Gas reserved from the ether until the estimate: more than a zap over many pools needs."""

_GAS_MARGIN_BPS = 2_500
"""Margin for a rise of fees between estimate and sending."""

_TOLERANCE_BPS = 10
"""Default tolerance of amounts in kind until the transaction is mined: fees accrue, and others trade."""


@dataclass(frozen=True, slots=True)
class DepositedInKind:
    """Shares minted for `amounts` of every asset. `gas_used` is that of the deposit without approvals."""

    vault: str
    shares: int
    amounts: tuple[int, ...]
    transaction_hash: str
    block_number: int
    gas_used: int


@dataclass(frozen=True, slots=True)
class DepositedToken:
    """Shares minted for one token. `amounts` are the amounts of each asset that the vault received.

    `expected_shares` follows from the prices of the plan. `returned` holds the amounts that the zap sent back, by token
    (`ETH` is the native currency).
    """

    vault: str
    token: str
    amount_raw: int
    expected_shares: int
    shares: int
    amounts: tuple[int, ...]
    returned: Mapping[str, int]
    transaction_hash: str
    block_number: int
    gas_used: int


@dataclass(frozen=True, slots=True)
class WithdrawnInKind:
    """Shares redeemed for `amounts` of every asset: those `sent`, and by token the `claims` for failed transfers."""

    vault: str
    shares: int
    amounts: tuple[int, ...]
    sent: tuple[int, ...]
    claims: Mapping[str, int]
    transaction_hash: str
    block_number: int
    gas_used: int


@dataclass(frozen=True, slots=True)
class WithdrawnToken:
    """Shares redeemed for `amount_raw` of one token. `returned` holds the amounts of other tokens that were sent."""

    vault: str
    token: str
    shares: int
    expected_raw: int
    amount_raw: int
    returned: Mapping[str, int]
    transaction_hash: str
    block_number: int
    gas_used: int


@dataclass(frozen=True, slots=True)
class Change:
    """A change by governance: in force, or scheduled. From `executable_at` (unix seconds), the same call applies it.

    Without a transaction hash nothing was sent: the change was already scheduled, and its delay is not over.
    """

    vault: str
    in_force: bool
    executable_at: int | None
    transaction_hash: str | None
    gas_used: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """Tokens collected from `holder`'s claim, which a failed transfer had opened."""

    vault: str
    holder: str
    token: str
    receiver: str
    amount_raw: int
    transaction_hash: str
    gas_used: int


@dataclass(frozen=True, slots=True)
class LossWrittenDown:
    """A recorded loss of a token's balance. `is_barred`: it exceeds dust, so the vault blocks purchases of
    the token and pauses trading."""

    vault: str
    token: str
    lost_raw: int
    is_barred: bool
    transaction_hash: str
    gas_used: int


@dataclass(frozen=True, slots=True)
class VaultCreated:
    """A vault that was created and seeded, and whose functions are assigned to roles."""

    vault: str
    shares: int


# In kind


def deposit_in_kind(
    wallet: Wallet,
    vault: str,
    shares: int,
    max_extra_bps: int = _TOLERANCE_BPS,
    confirm: Confirm | None = None,
) -> DepositedInKind:
    """Mint exactly `shares` for the same part of every asset, at most `max_extra_bps` above the current amounts.

    Raises:
        NothingRequested, BalanceTooLow: nothing was sent.
        ContractReverted: the vault or a token reverted; allowances are set to 0.
        As `Wallet.send`.
    """
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    if shares <= 0:
        raise NothingRequested("shares to deposit for")
    tokens = _basket_tokens(contract)
    required = contract.call("previewMintInKind", shares)
    most = [mul_div_up(amount, BPS + max_extra_bps, BPS) for amount in required]
    for token, amount in zip(tokens, required, strict=True):
        _check_balance(wallet, token, amount)
    call = (shares, wallet.address, most)
    needed = dict(zip(tokens, most, strict=True))
    if confirm:
        gives, gets = dict(zip(tokens, required, strict=True)), {contract.address: shares}
        moved = (gives, needed, gets, gets)
        confirm(_preview(wallet, contract, moved, (contract, "mintInKind", call), needed))
    with _allowances(wallet, contract.address, needed):
        receipt = wallet.transact(contract, "mintInKind", *call)
    minted = _event(receipt, contract, "MintedInKind")
    return DepositedInKind(
        contract.address,
        minted["shares"],
        tuple(minted["amounts"]),
        receipt.transaction_hash,
        receipt.block_number,
        receipt.gas_used,
    )


def withdraw_in_kind(
    wallet: Wallet,
    vault: str,
    shares: int,
    max_less_bps: int = _TOLERANCE_BPS,
    confirm: Confirm | None = None,
) -> WithdrawnInKind:
    """Redeem `shares` for the same part of every asset, with amounts at most `max_less_bps` below the current ones.

    A token that cannot be transferred becomes a claim. Redemption needs no price, no role and no permission.

    Raises:
        NothingRequested, BalanceTooLow: nothing was sent.
        As `Wallet.send`.
    """
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    if shares <= 0:
        raise NothingRequested("shares to withdraw")
    tokens = _basket_tokens(contract)
    _check_balance(wallet, contract.address, shares)
    given = contract.call("previewRedeemInKind", shares)
    least = [mul_div_down(amount, BPS - max_less_bps, BPS) for amount in given]
    call = (shares, wallet.address, wallet.address, least)
    if confirm:
        gives = {contract.address: shares}
        gets, at_least = (dict(zip(tokens, raws, strict=True)) for raws in (given, least))
        moved = (gives, gives, gets, at_least)
        confirm(_preview(wallet, contract, moved, (contract, "redeemInKind", call)))
    receipt = wallet.transact(contract, "redeemInKind", *call)
    redeemed = _event(receipt, contract, "RedeemedInKind")
    claims = {
        event.values["token"]: event.values["amountRaw"]
        for event in decode_logs(receipt.logs, contract.interface)
        if event.name == "ClaimOpened"
    }
    return WithdrawnInKind(
        contract.address,
        redeemed["shares"],
        tuple(redeemed["amounts"]),
        tuple(raw - claims.get(token, 0) for token, raw in zip(tokens, redeemed["amounts"], strict=True)),
        claims,
        receipt.transaction_hash,
        receipt.block_number,
        receipt.gas_used,
    )


def claim(
    wallet: Wallet,
    vault: str,
    token: str,
    *,
    holder: str | None = None,
    receiver: str | None = None,
    amount_raw: int | None = None,
) -> Claimed:
    """Collect a token that could not be transferred at a redemption: all of it, or at most `amount_raw` raw units.

    The default holder is the wallet's account, the default receiver the holder. Any account may collect a claim for its
    holder.

    Raises:
        NothingRequested: the amount is 0.
        NotTheClaimant: the wallet is not the holder, and the receiver is not the holder.
        NothingToClaim: there is no such claim.
        ContractReverted: the token still cannot be transferred.
        As `Wallet.send`.
    """
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    token = token.lower()
    holder = (holder or wallet.address).lower()
    receiver = (receiver or holder).lower()
    if receiver != holder != wallet.address.lower():
        raise NotTheClaimant(wallet.address, holder)
    if amount_raw is not None and amount_raw <= 0:
        raise NothingRequested(f"{_symbol(wallet.rpc, token)} to collect")
    if contract.call("claimable", holder, token) == 0:
        raise NothingToClaim(holder, _symbol(wallet.rpc, token))
    most = 2**256 - 1 if amount_raw is None else amount_raw
    paid = wallet.transact(contract, "claim", holder, token, receiver, most)
    claimed = _event(paid, contract, "Claimed")
    return Claimed(
        *(contract.address, holder, token, receiver, claimed["amountRaw"]),
        *(paid.transaction_hash, paid.gas_used),
    )


def sync(wallet: Wallet, vault: str, token: str) -> LossWrittenDown:
    """Record a loss of a token's balance. Any account may do this.

    Raises:
        TokenNotInBasket: the token is not in the basket.
        ContractReverted: NothingLost, with its values.
        As `Wallet.send`.
    """
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    tokens = _basket_tokens(contract)
    if token.lower() not in tokens:
        symbols = [_symbol(wallet.rpc, one) for one in tokens]
        raise TokenNotInBasket(_symbol(wallet.rpc, token), symbols)
    receipt = wallet.transact(contract, "sync", tokens.index(token.lower()))
    written = _event(receipt, contract, "Synced")
    before, after = (written["held" + when] + written["claims" + when] for when in ("Before", "After"))
    names = {event.name for event in decode_logs(receipt.logs, contract.interface)}
    return LossWrittenDown(
        *(contract.address, token.lower(), before - after, "PurchasesBarred" in names),
        *(receipt.transaction_hash, receipt.gas_used),
    )


# One token


def deposit_token(
    wallet: Wallet,
    system: System,
    vault: str,
    token: str,
    amount_raw: int | None,
    pools: Sequence[Pool],
    slippage_bps: int,
    confirm: Confirm | None = None,
) -> DepositedToken:
    """Deposit up to an amount of one token, or `ETH`, through the zap, which swaps it for the largest number of shares.

    `amount_raw` None deposits the whole balance; of ether, the balance minus the possible gas cost.

    The pools' exact prices determine the number of shares, less `slippage_bps` for trades of others in the meantime.
    Tokens that are not needed are returned in the same transaction.

    Raises:
        NothingRequested, BalanceTooLow, InsufficientEther, NoRoute, DepositTooSmall: nothing was sent.
        ContractReverted: the zap, the vault or a token reverted; the allowance is set to 0.
        As `Wallet.send`.
    """
    from rebalancer.plan.zap import plan_zap_in  # scipy loads slowly

    zap = contract_at(wallet.rpc, "Zap", system.zap)
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    token = token.lower()
    if amount_raw is not None and amount_raw <= 0:
        raise NothingRequested("the token to deposit")
    paid = zap.call("WETH") if token == ETH else token
    tokens = _basket_tokens(contract)
    ledger = _ledger(contract, tokens)
    is_all, kept_wei = amount_raw is None, 0
    if amount_raw is None:
        if wallet.pays_gas:
            kept_wei = _ZAP_GAS * suggest(wallet.rpc, wallet.fee_cap_wei).max_fee_per_gas_wei
        amount_raw = _balance(wallet, token)
        if token == ETH:
            amount_raw -= kept_wei
        if amount_raw <= 0:
            name = "ether" if token == ETH else _symbol(wallet.rpc, token)
            raise NothingToDeposit(wallet.address, name)
    elif token == ETH:
        check_ether(wallet.rpc, wallet.address, amount_raw)
    else:
        _check_balance(wallet, token, amount_raw)

    def planned(amount_raw: int) -> tuple[ZapIn, tuple[Any, ...]]:
        found = plan_zap_in(ledger, pools, paid, amount_raw, slippage_bps)
        return found, (
            contract.address,
            token,
            amount_raw,
            found.swapped_raw,
            mul_div_down(found.shares, BPS - slippage_bps, BPS),
            wallet.address,
            _now(wallet.rpc) + wallet.deadline_seconds,
            found.route,
        )

    found, arguments = planned(amount_raw)
    if is_all and token == ETH and wallet.pays_gas:
        amount_raw += kept_wei - _most_wei_kept(wallet, zap, "zapIn", arguments, amount_raw)
        found, arguments = planned(amount_raw)
    value_wei = amount_raw if token == ETH else 0
    needed = {} if token == ETH else {token: amount_raw}
    if confirm:
        native = paid if token == ETH else None
        gives = {paid: amount_raw - _back(found, tokens, paid)}
        moved = (
            gives,
            {paid: amount_raw},
            {contract.address: found.shares},
            {contract.address: arguments[4]},
        )
        call = (zap, "zapIn", (arguments,))
        confirm(_preview(wallet, contract, moved, call, needed, found.swaps, value_wei, native))
    with _allowances(wallet, zap.address, needed):
        receipt = wallet.transact(zap, "zapIn", arguments, value_wei=value_wei)
    return DepositedToken(
        contract.address,
        token,
        amount_raw,
        found.shares,
        _event(receipt, zap, "ZappedIn")["shares"],
        tuple(_event(receipt, contract, "MintedInKind")["amounts"]),
        _received(receipt, zap.address, wallet.address, paid if token == ETH else None),
        receipt.transaction_hash,
        receipt.block_number,
        receipt.gas_used,
    )


def withdraw_token(
    wallet: Wallet,
    system: System,
    vault: str,
    token: str,
    shares: int,
    pools: Sequence[Pool],
    slippage_bps: int,
    confirm: Confirm | None = None,
) -> WithdrawnToken:
    """Redeem shares for one token, or `ETH`, through the zap, for at most `slippage_bps` less than the current amount.

    Raises:
        NothingRequested, BalanceTooLow, NoRoute: nothing was sent.
        ContractReverted: the zap, the vault or a token reverted; the allowance is set to 0.
        As `Wallet.send`.
    """
    from rebalancer.plan.zap import plan_zap_out  # scipy loads slowly

    zap = contract_at(wallet.rpc, "Zap", system.zap)
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    token = token.lower()
    if shares <= 0:
        raise NothingRequested("shares to withdraw")
    got = zap.call("WETH") if token == ETH else token
    tokens = _basket_tokens(contract)
    _check_balance(wallet, contract.address, shares)
    ledger = _ledger(contract, tokens)
    deadline = _now(wallet.rpc) + wallet.deadline_seconds
    # The fee dilutes shares until this is mined; the plan must not use more than what is left then.
    streaming_bps = contract.call("fee")[2]
    accrued = div_up(ledger.supply * streaming_bps * 2 * wallet.deadline_seconds, YEAR_SECONDS * BPS)
    given = replace(ledger, supply=ledger.supply + accrued).given_raw(shares)
    found = plan_zap_out(tokens, given, pools, got)
    arguments = (
        contract.address,
        shares,
        token,
        mul_div_down(found.amount_out_raw, BPS - slippage_bps, BPS),
        wallet.address,
        deadline,
        found.route,
    )
    needed = {contract.address: shares}
    if confirm:
        moved = (needed, needed, {got: found.amount_out_raw}, {got: arguments[3]})
        call = (zap, "zapOut", (arguments,))
        native = got if token == ETH else None
        confirm(_preview(wallet, contract, moved, call, needed, found.swaps, native=native))
    with _allowances(wallet, zap.address, needed):
        receipt = wallet.transact(zap, "zapOut", arguments)
    came = _received(receipt, zap.address, wallet.address, got if token == ETH else None)
    return WithdrawnToken(
        contract.address,
        token,
        shares,
        found.amount_out_raw,
        _event(receipt, zap, "ZappedOut")["amount"],
        {other: amount for other, amount in came.items() if other != token},
        receipt.transaction_hash,
        receipt.block_number,
        receipt.gas_used,
    )


# Curator and owner


def set_targets(wallet: Wallet, vault: str, targets_e18: Sequence[int], glide_seconds: int = 0) -> Change:
    """Set all targets, which glide to the new values over `glide_seconds`. An account with a delay schedules this.

    After the delay, the same call applies the scheduled change.

    Raises:
        AssetCountOutOfRange, TargetsDoNotSumToOne, NotPermitted: nothing was sent.
        ContractReverted: the vault reverted.
        As `Wallet.send`.
    """
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    count = len(_basket_tokens(contract))
    if len(targets_e18) != count:
        raise AssetCountOutOfRange("targets", len(targets_e18), count, count)
    if sum(targets_e18) != E18:
        raise TargetsDoNotSumToOne(sum(targets_e18))
    return _change(wallet, contract, "setTargets", list(targets_e18), glide_seconds)


def set_bands(wallet: Wallet, vault: str, bands: Sequence[tuple[int, int, int]]) -> Change:
    """Set every asset's band, relative band (both in basis points) and minimum trade (raw units), as `set_targets`.

    Raises:
        AssetCountOutOfRange, BandOutOfRange, NotPermitted: nothing was sent.
        ContractReverted: the vault reverted.
        As `Wallet.send`.
    """
    contract = contract_at(wallet.rpc, "BasketVault", vault)
    tokens = _basket_tokens(contract)
    if len(bands) != len(tokens):
        raise AssetCountOutOfRange("bands", len(bands), len(tokens), len(tokens))
    dust_bps = contract.call("policy")[4]
    check_bands(tokens, [band for band, _, _ in bands], dust_bps)
    return _change(wallet, contract, "setBands", list(bands))


def _change(wallet: Wallet, contract: BoundContract, function: str, *args: Any) -> Change:
    """Call a restricted function, schedule it, or execute it after its delay."""
    authority = contract.call("authority")
    done = act(wallet, authority, contract.address, contract.data(function, *args))
    return Change(contract.address, done.in_force, done.executable_at, done.transaction_hash, done.gas_used)


def new_vault(wallet: Wallet, system: System, spec: VaultSpec) -> VaultCreated:
    """Create a vault from a specification, seed it from the wallet's tokens, and assign its functions to roles.

    Raises:
        AssetCountOutOfRange, TargetsDoNotSumToOne, BandOutOfRange, SeedTooSmall, FeeOutOfRange,
        BalanceTooLow, NotPermitted: nothing was sent.
        ContractReverted: the factory refused the configuration, a price or a token; allowances are set to 0.
        As `Wallet.send`.
    """
    if not MIN_ASSETS <= len(spec.assets) <= MAX_ASSETS:
        raise AssetCountOutOfRange("assets", len(spec.assets), MIN_ASSETS, MAX_ASSETS)
    check_weights(
        [asset.token for asset in spec.assets],
        [asset.target_e18 for asset in spec.assets],
        [asset.band_bps for asset in spec.assets],
        spec.policy.dust_bps,
    )
    _check_seed(spec)
    for name, most_bps in asdict(MAX_FEES_BPS).items():
        if (fee_bps := getattr(spec.fees, name)) > most_bps:
            raise FeeOutOfRange(name, fee_bps, most_bps)
    manager = contract_at(wallet.rpc, "AccessManager", system.authority)
    if not manager.call("hasRole", Role.ADMIN.value, system.vault_roles)[0]:
        raise NotPermitted(system.vault_roles, "setTargetFunctionRole", manager.address)
    _rehearse(wallet, system, spec)
    for asset, amount in zip(spec.assets, spec.seed_amounts, strict=True):
        _check_balance(wallet, asset.token, amount)
    try:
        vault = create_vault(wallet, system, spec)
    except RebalancerError:
        _take_back(wallet, system.factory, [asset.token for asset in spec.assets])
        raise
    except NoLogs:
        vault = vault_address(wallet, system, spec)
    assign_vault_roles(wallet, system, vault)
    shares = wallet.read(contract_at(wallet.rpc, "BasketVault", vault), "balanceOf", wallet.address)
    return VaultCreated(vault.lower(), shares)


def vault_address(wallet: Wallet, system: System, spec: VaultSpec) -> str:
    """The address that the vault of a specification will have, if this wallet creates it."""
    factory = contract_at(wallet.rpc, "VaultFactory", system.factory)
    return str(factory.call("vaultAddress", wallet.address, spec.salt.to_bytes(32))).lower()


def _check_seed(spec: VaultSpec) -> None:
    """Check, as the vault does, that the locked shares own enough of each seeded asset and are few of all shares.

    Raises:
        SeedTooSmall: the seed or the number of shares is too small.
    """
    parts = BPS // MAX_LOCKED_BPS
    if spec.initial_shares < MINIMUM_SHARES * parts:
        raise SeedTooSmall("raw shares", spec.initial_shares, MINIMUM_SHARES * parts)
    if not any(spec.seed_amounts):
        raise SeedTooSmall("raw units of any asset", 0, MINIMUM_LOCKED_RAW * parts)
    for asset, amount in zip(spec.assets, spec.seed_amounts, strict=True):
        if 0 < amount < MINIMUM_LOCKED_RAW * parts:
            raise SeedTooSmall(f"raw units of {asset.token}", amount, MINIMUM_LOCKED_RAW * parts)


def _rehearse(wallet: Wallet, system: System, spec: VaultSpec) -> None:
    """Simulate the creation without a seed: the factory must refuse the missing seed, and nothing else.

    Raises:
        ContractReverted: the factory refused the configuration.
    """
    seedless = replace(spec, seed_amounts=(0,) * len(spec.seed_amounts))
    try:
        create_vault(_Rehearsal(wallet.rpc, wallet.address), system, seedless)
    except ContractReverted as refusal:
        if refusal.error != "NothingHeld":
            raise


@dataclass(frozen=True)
class _Rehearsal:
    """A `deploy.Transactor` that only simulates calls."""

    rpc: Rpc
    address: str

    def transact(
        self,
        contract: BoundContract,
        function: str,
        *args: Any,
        value_wei: int = 0,  # noqa: ARG002 (a Transactor's)
    ) -> Receipt:
        contract.call(function, *args, sender=self.address)
        raise AssertionError(f"{function} without a seed was not refused")

    def deploy(self, name: str, *args: Any) -> BoundContract:  # noqa: ARG002 (a Transactor's)
        raise AssertionError(f"{name} is not deployed in a rehearsal")


# Shared parts


def _basket_tokens(vault: BoundContract) -> tuple[str, ...]:
    """Addresses of the basket's tokens.

    Raises:
        ContractMissing: there is no vault at this address.
    """
    try:
        return tuple(asset[0] for asset in vault.call("assets"))
    except ContractReverted:
        # A vault always answers this call, so this is not a vault.
        raise ContractMissing(vault.name, vault.address) from None


def _ledger(vault: BoundContract, tokens: tuple[str, ...]) -> VaultLedger:
    """Holdings, supply including the fee's shares, and entry and exit fees, at one block."""
    from rebalancer.plan.zap import VaultLedger  # scipy loads slowly

    block = read_block(vault.rpc).hash
    held = vault.call("held", block=block)
    _, _, _, entry_bps, exit_bps, *_ = vault.call("fee", block=block)
    supply = vault.call("totalSupply", block=block)
    return VaultLedger(tokens, tuple(held), supply, entry_bps, exit_bps)


def _check_balance(wallet: Wallet, token: str, needed_raw: int) -> None:
    """Check the wallet's balance of a token.

    Raises:
        BalanceTooLow: the balance is less than `needed_raw`.
    """
    contract = contract_at(wallet.rpc, "IERC20Metadata", token)
    balance_raw = contract.call("balanceOf", wallet.address)
    if balance_raw < needed_raw:
        raise BalanceTooLow(
            wallet.address,
            token,
            _symbol(wallet.rpc, token),
            contract.call("decimals"),
            needed_raw,
            balance_raw,
        )


@contextmanager
def _allowances(wallet: Wallet, spender: str, needed_raw: Mapping[str, int]) -> Iterator[None]:
    """Grant the necessary allowances, and set them to 0 if the action fails."""
    try:
        for token, amount in _approvals(wallet, spender, needed_raw):
            contract = contract_at(wallet.rpc, "IERC20Metadata", token)
            wallet.transact(contract, "approve", spender, amount)
        yield
    except RebalancerError:
        _take_back(wallet, spender, needed_raw)
        raise
    except KeyboardInterrupt as stop:
        with suppress(RebalancerError):
            for note in _left_allowed(wallet, spender, needed_raw):
                stop.add_note(note)
        raise


def _approvals(wallet: Wallet, spender: str, needed_raw: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The approvals to send, in order: token and amount in raw units."""
    for token, needed in needed_raw.items():
        contract = contract_at(wallet.rpc, "IERC20Metadata", token)
        allowed_raw = contract.call("allowance", wallet.address, spender)
        if allowed_raw >= needed:
            continue
        # USDT refuses to change an allowance that is not 0.
        if allowed_raw and _approval_gas(wallet, token, spender, needed) is None:
            yield token, 0
        yield token, needed


def _left_allowed(wallet: Wallet, spender: str, tokens: Iterable[str]) -> Iterator[str]:
    """The remaining allowances of a spender, one sentence each."""
    for token in tokens:
        contract = contract_at(wallet.rpc, "IERC20Metadata", token)
        left_raw = contract.call("allowance", wallet.address, spender)
        if left_raw:
            decimals = contract.call("decimals")
            left = Decimal(left_raw).scaleb(-decimals)
            yield (
                f"{spender} still has an allowance of {left:,f} {_symbol(wallet.rpc, token)} from {wallet.address}: "
                f"run the same command again to use it, or approve 0 at {token}."
            )


_Moved = tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int], Mapping[str, int]]
"""Amounts by token: paid, paid at most, received, received at least."""


def _preview(
    wallet: Wallet,
    vault: BoundContract,
    moved: _Moved,
    call: tuple[BoundContract, str, tuple[Any, ...]],
    needed_raw: Mapping[str, int] | None = None,
    swaps: Sequence[Swap] = (),
    value_wei: int = 0,
    native: str | None = None,
) -> Preview:
    """Preview of a call in the current state. `native` is the token whose price is used for `ETH`.

    Raises:
        ContractReverted: the call needs no further allowance, and reverts.
    """
    gives, _, gets, _ = moved
    target, function, arguments = call
    approvals = tuple(
        Approval(token, target.address, raw, _approval_gas(wallet, token, target.address, raw))
        for token, raw in _approvals(wallet, target.address, needed_raw or {})
    )
    data = target.data(function, *arguments)
    gas = _gas_after(wallet, approvals, target.address, data, value_wei)
    least_limit = gas  # a redemption reserves gas for misbehaving tokens, and does not use it otherwise
    if not approvals:
        least_limit = estimate_gas(wallet.rpc, wallet.address, target.address, data, value_wei, margin_bps=0)
        gas = least_limit if gas is None else gas
    cost = None if gas is None else cost_now(wallet.rpc, gas, data)
    needed_wei = value_wei + _most_gas_wei(wallet, approvals, least_limit, data)
    net: dict[str, int] = {}
    for swap in swaps:
        net[swap.token_in] = net.get(swap.token_in, 0) + swap.amount_in_raw
        net[swap.token_out] = net.get(swap.token_out, 0) - swap.amount_out_raw
    swapped = {token: raw for token, raw in net.items() if raw}
    tokens = [*dict.fromkeys((*gives, *gets, *swapped))]
    values = read_values(vault, tokens, read_block(wallet.rpc))
    given_e18, got_e18 = values.of(gives), values.of(gets)
    gives, at_most, gets, at_least = (
        {ETH if token == native else token: raw for token, raw in amounts.items()} for amounts in moved
    )
    return Preview(
        vault=vault.address,
        account=wallet.address,
        gives_raw=gives,
        at_most_raw=at_most,
        gets_raw=gets,
        at_least_raw=at_least,
        given_e18=given_e18,
        got_e18=got_e18,
        swap_cost_e18=values.of(swapped),
        approvals=approvals,
        gas=gas,
        cost_wei=cost.total_wei if cost else None,
        rollup_wei=cost.rollup_wei if cost else None,
        needed_wei=needed_wei,
        ether_wei=_balance(wallet, ETH),
    )


def _most_gas_wei(wallet: Wallet, approvals: Sequence[Approval], gas: int | None, data: str) -> int:
    """Ether that the account must have for the gas of a call and its approvals, in wei, as far as their gas is known.

    Approvals count at the current price. The call counts at its maximum fee and with the margin of its gas limit,
    because the node checks this when the call is sent.
    """
    if not wallet.pays_gas:
        return 0
    market = read_market(wallet.rpc)
    needed_wei = market.usual_price_wei * sum(one.gas or 0 for one in approvals)
    with suppress(FeeAboveCap, L1FeeUnknown):  # then nothing is sent, or the node checks the balance
        limit = with_margin(gas or 0)
        needed_wei += limit * offer(market, wallet.fee_cap_wei).max_fee_per_gas_wei
        needed_wei += read_l1_fees(wallet.rpc).beside_gas_wei(transaction_bytes(data), limit)
    return needed_wei


def _approval_gas(wallet: Wallet, token: str, spender: str, amount_raw: int) -> int | None:
    data = contract_at(wallet.rpc, "IERC20Metadata", token).data("approve", spender, amount_raw)
    try:
        return estimate_gas(wallet.rpc, wallet.address, token, data, margin_bps=0)
    except ContractReverted:
        return None  # the token requires an allowance of 0 first


def _gas_after(wallet: Wallet, approvals: Sequence[Approval], to: str, data: str, value_wei: int) -> int | None:
    """The gas of a call after these approvals; None if unknown, or if a token needs an allowance of 0 first."""
    token = interface("IERC20Metadata")
    granted = [(one.token, token.at(one.token).data("approve", one.spender, one.amount_raw), 0) for one in approvals]
    messages = [
        {"from": wallet.address, "to": each, "data": what, "value": hex(wei)}
        for each, what, wei in (*granted, (to, data, value_wei))
    ]
    try:
        found = gas_in_turn(wallet.rpc, messages)
    except ContractReverted:
        return None
    return None if found is None else found[-1]


def _most_wei_kept(wallet: Wallet, contract: BoundContract, function: str, arguments: Any, value_wei: int) -> int:
    """Maximum gas cost of a call when it is sent, in wei, rounded up."""
    data = contract.data(function, arguments)
    limit = estimate_gas(wallet.rpc, wallet.address, contract.address, data, value_wei)
    fee_wei = suggest(wallet.rpc, wallet.fee_cap_wei).max_fee_per_gas_wei
    beside_wei = read_l1_fees(wallet.rpc).beside_gas_wei(transaction_bytes(data), limit)
    return div_up((limit * fee_wei + beside_wei) * (BPS + _GAS_MARGIN_BPS), BPS)


def _balance(wallet: Wallet, token: str) -> int:
    if token == ETH:
        return int(wallet.rpc.call("eth_getBalance", wallet.address, "latest"), 16)
    contract = contract_at(wallet.rpc, "IERC20Metadata", token)
    return int(contract.call("balanceOf", wallet.address))


def _back(found: ZapIn, tokens: Sequence[str], paid: str) -> int:
    """Amount of the paid token that the zap returns at the prices of the plan, in raw units."""
    left = dict(zip(tokens, found.left_raw, strict=True)).get(paid, 0)
    return left + found.token_left_raw


def _take_back(wallet: Wallet, spender: str, tokens: Iterable[str]) -> None:
    """Set allowances to 0 where possible. Errors are ignored, so that the caller raises the original error."""
    for token in tokens:
        contract = contract_at(wallet.rpc, "IERC20Metadata", token)
        with suppress(RebalancerError):
            if contract.call("allowance", wallet.address, spender):
                wallet.transact(contract, "approve", spender, 0)


def _symbol(rpc: Rpc, token: str) -> str:
    """A token's symbol, or its address if the token has no readable symbol."""
    try:
        symbol = contract_at(rpc, "IERC20Metadata", token).call("symbol")
    except (ContractMissing, ContractReverted):
        return token
    return safe_text(symbol, LONGEST_SYMBOL) or token


def _now(rpc: Rpc) -> int:
    """Estimated time of the block that would contain a transaction sent now, unix seconds."""
    pending = rpc.call("eth_getBlockByNumber", "pending", False)
    stamped = pending and pending.get("timestamp")
    return int(stamped, 16) if stamped else read_block(rpc).timestamp


def _event(receipt: Receipt, contract: BoundContract, name: str) -> Mapping[str, Any]:
    """Values of the first event with this name from a contract.

    Raises:
        NoLogs: the call was only recorded, and the node could not simulate it.
    """
    for event in decode_logs(receipt.logs, contract.interface):
        if event.name == name and event.address == contract.address:
            return event.values
    raise NoLogs


def _received(receipt: Receipt, payer: str, payee: str, unwrapped: str | None) -> dict[str, int]:
    """Amounts that a contract paid to an account, by token; unwrapped native currency counts as `ETH`."""
    paid: dict[str, int] = {}
    for event in decode_logs(receipt.logs, interface("IERC20Metadata"), interface("WETH9")):
        values = event.values
        if event.name == "Transfer" and (values["from"], values["to"]) == (payer, payee):
            paid[event.address] = paid.get(event.address, 0) + values["value"]
        elif event.name == "Withdrawal" and (event.address, values["src"]) == (unwrapped, payer):
            paid[ETH] = paid.get(ETH, 0) + values["wad"]
    return paid
