"""The Python API: a chain, its vaults and pools, for notebooks and scripts.

    chain = rebalancer.connect(Web3(...), "addresses.json")
    vault = chain.vault()
    verdict = vault.plan()

Nothing is sent before a method with a `signer` is called. The keeper has a journal that delivers each transaction
exactly once; a script has none: after an interruption, check the chain before you send again.

Amounts are raw units of a token (int), values USD times 1e18, fractions of 1e18. Sequences are in basket order.
Addresses are lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eth_account.signers.local import LocalAccount

from rebalancer.block import Block
from rebalancer.chain.deployment import DeployedToken, Deployment
from rebalancer.chain.interfaces import interface
from rebalancer.chain.pools import fee_pips_of, find_venue, read_pools
from rebalancer.chain.provider import rpc_of
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.errors import NothingToSend, VaultNotNamed, WrongChain
from rebalancer.keeper.conditions import ConditionsReader
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.decide import Action, Verdict, as_traded, decide, wants_plan
from rebalancer.keeper.dispatch import call_data
from rebalancer.operations.actions import (
    ETH,
    Claimed,
    Confirm,
    DepositedInKind,
    DepositedToken,
    WithdrawnInKind,
    WithdrawnToken,
    claim,
    deposit_in_kind,
    deposit_token,
    withdraw_in_kind,
    withdraw_token,
)
from rebalancer.operations.preview import Position, Preview, read_position
from rebalancer.send.costs import estimate_gas
from rebalancer.send.signed import Signer
from rebalancer.send.signer import KeystoreSigner, WatchOnly
from rebalancer.send.simulate import Simulator, check_changes, message
from rebalancer.send.wallet import Wallet
from rebalancer.venues import Pool, PoolRef, PoolState

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Chain", "Simulation", "Vault", "connect", "open_keystore"]

Account = Signer | LocalAccount
"""A signer: `open_keystore`, `devnet_signer`, an account of eth-account, or your own class with `address` and
`sign`."""

_MAX_FEE_PER_GAS_WEI = 500 * 10**9
_SLIPPAGE_BPS = 50


def connect(w3: Web3, addresses: str | Path | Deployment) -> Chain:
    """The chain that a `Web3` is connected to, with the addresses of a system on it.

    `addresses` is the addresses file of `rebalancer deploy` or `rebalancer devnet`, or its content. Only the provider
    of the `Web3` is used, not its middleware.

    Raises:
        DeploymentMissing, DeploymentMalformed: the file cannot be read.
        SystemMissing: the file does not name all contracts of the system.
        WrongChain: the file is for another chain than the `Web3`.
    """
    deployment = addresses if isinstance(addresses, Deployment) else Deployment.load(Path(addresses))
    rpc = rpc_of(w3)
    served = rpc.chain_id()
    if served != deployment.chain_id:
        raise WrongChain(deployment.chain_id, served)
    return Chain(rpc, deployment)


def open_keystore(path: str | Path, password: str) -> Signer:
    """The signer of an encrypted JSON keystore (Web3 Secret Storage version 3). Takes about a second.

    Raises:
        KeystoreMissing, KeystoreUnreadable: there is no such file, or it is not a keystore.
        WrongPassword: the password does not open it.
    """
    return KeystoreSigner.load(Path(path), lambda: password)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Effects of a call if it were mined now.

    `changes_raw` is the change of each asset of the vault; it is empty if the call is not a rebalance. It is None if
    the node does not have `eth_simulateV1`: then only the vault's acceptance is known. `gas` is the gas that the call
    uses.
    """

    changes_raw: tuple[int, ...] | None
    gas: int


class Chain:
    """One chain and the system on it; created by `connect`."""

    def __init__(self, rpc: Rpc, deployment: Deployment) -> None:
        self._rpc = rpc
        self.deployment = deployment
        self._context = KeeperContext.of(deployment, deployment.vaults)

    def __repr__(self) -> str:
        return f"Chain({self.chain_id} by {self._rpc.endpoint})"

    @property
    def chain_id(self) -> int:
        """Chain id (EIP-155)."""
        return self.deployment.chain_id

    @property
    def vaults(self) -> tuple[str, ...]:
        """Addresses of the vaults in the addresses file."""
        return self.deployment.vaults

    def vault(self, address: str | None = None) -> Vault:
        """The vault at an address, or the only vault of the addresses file.

        Raises:
            VaultNotNamed: no address is given, and the addresses file has no vault or several.
            ContractMissing: there is no vault at the address.
        """
        if address is None:
            if len(self.vaults) != 1:
                raise VaultNotNamed(self.vaults)
            (address,) = self.vaults
        interface("BasketVault").at(address.lower()).call(self._rpc, "locked")
        return Vault(self, address.lower())

    def token(self, symbol_or_address: str) -> DeployedToken:
        """A token of the addresses file with symbol, address and decimals.

        Raises:
            TokenNotListed: the file does not have the token.
        """
        return self.deployment.listed(symbol_or_address)

    def block(self, number: int | str = "latest") -> Block:
        """A block by number or tag ("latest", "safe", "finalized").

        Raises:
            RpcMalformed: there is no such block.
        """
        return read_block(self._rpc, number)

    def pools(self, block: Block | None = None) -> tuple[PoolState, ...]:
        """All pools of the addresses file at a block, by default the newest: exact copies that quote without further
        requests.

        Raises:
            UnsupportedPool, BadPoolSnapshot, ContractMissing, ContractReverted: a pool cannot be read.
        """
        return self._read(self.deployment.pools, block or self.block())

    def pool(self, key: str, block: Block | None = None) -> PoolState:
        """One pool at a block, by its address or by its id in the addresses file. The venue of a pool that is not in
        the file is detected from its contract.

        Raises:
            UnsupportedPool, BadPoolSnapshot, ContractMissing, ContractReverted: the pool cannot be read.
        """
        at = block or self.block()
        ref = next((ref for ref in self.deployment.pools if ref.key == key.lower()), None)
        if ref is None:
            venue = find_venue(self._rpc, key.lower(), at)
            ref = PoolRef(key.lower(), fee_pips=fee_pips_of(venue, None), venue=venue.name)
        return self._read([ref], at)[0]

    def wallet(self, signer: Account, max_fee_per_gas_wei: int = _MAX_FEE_PER_GAS_WEI) -> Wallet:
        """A wallet that sends transactions to this chain, with at most that fee per gas."""
        signs = KeystoreSigner(signer) if isinstance(signer, LocalAccount) else signer
        return Wallet(self._rpc, signs, max_fee_per_gas_wei)

    def _read(self, refs: Sequence[PoolRef], block: Block) -> tuple[PoolState, ...]:
        tokens = {token.address: token for token in self._context.tokens}
        lens = self._context.system.uniswap_v3_lens
        return read_pools(self._rpc, refs, block, self.chain_id, tokens=tokens, lens=lens)

    def _routable(self, block: Block) -> tuple[Pool, ...]:
        """The pools as the planner sees them: a pool of ether trades the wrapped token."""
        pools = self._read(self.deployment.pools, block)
        return as_traded(pools, self._context.tokens, self._context.wrapped_native)


class Vault:
    """One vault; created by `Chain.vault`."""

    def __init__(self, chain: Chain, address: str) -> None:
        self.chain = chain
        self.address = address
        self._rpc = chain._rpc
        self._system = chain._context.system

    def __repr__(self) -> str:
        return f"Vault({self.address})"

    def snapshot(self, block: Block | None = None) -> VaultSnapshot:
        """Everything that the vault's rules depend on at a block, by default the newest: basket, prices, policy,
        budgets left, reason.

        Raises:
            ContractReverted: the vault is in the middle of a call.
        """
        at = block or self.chain.block()
        return read_vaults(self._rpc, self._system.lens, [self.address], at)[0]

    def position(self, holder: str) -> Position:
        """Shares of an account, the amounts that they redeem for, and its claims."""
        return read_position(self._rpc, self.address, holder)

    def plan(self, block: Block | None = None, *, native_price_e18: int = 0) -> Verdict:
        """The keeper's decision about the vault at a block, by default the newest: `reason`, `text`, `step` and `plan`.

        Gas counts at its current price. `native_price_e18` is the price of the native token (USD times 1e18) for a
        vault whose oracle does not have it; with 0, gas costs count as 0.

        Raises:
            as `snapshot` and `Chain.pools`.
        """
        at = block or self.chain.block()
        snapshot = self.snapshot(at)
        pools = self.chain._routable(at) if wants_plan(snapshot) else ()
        conditions = ConditionsReader(self._rpc, self.chain._context).read(at, native_price_e18)
        return decide(snapshot, pools, conditions)

    def preview_deposit(self, token: str, amount_raw: int, account: str, slippage_bps: int = _SLIPPAGE_BPS) -> Preview:
        """Preview of a deposit of one token by an account: shares, cost, approvals, gas. Sends nothing.

        Raises:
            as `deposit`.
        """
        return self._previewed(
            lambda ask: self._deposit(token, amount_raw, WatchOnly(account.lower()), slippage_bps, ask)
        )

    def preview_withdrawal(self, token: str, shares: int, account: str, slippage_bps: int = _SLIPPAGE_BPS) -> Preview:
        """Preview of a withdrawal to one token by an account. Sends nothing.

        Raises:
            as `withdraw`.
        """
        return self._previewed(lambda ask: self._withdraw(token, shares, WatchOnly(account.lower()), slippage_bps, ask))

    def simulate(self, verdict: Verdict, sender: str) -> Simulation:
        """Simulate the call of a verdict by `sender` in the next block. Sends nothing.

        Raises:
            NothingToSend: the verdict has no call.
            SimulationRefused: the call would revert; has the contract's error.
            SimulationDiffers: the vault would not change as planned.
        """
        data = self._data(verdict)
        gas_limit = estimate_gas(self._rpc, sender, self.address, data)
        done = Simulator(self._rpc).last_of([message(sender, self.address, data, gas_limit)])
        if done is None:
            return Simulation(None, gas_limit)
        plan = verdict.plan if verdict.step is Action.REBALANCE else None
        if plan is None:
            return Simulation((), int(done["gasUsed"], 16))
        changes_raw = check_changes(done["logs"], self.address, plan.sales_raw, plan.min_buys_raw)
        return Simulation(changes_raw, int(done["gasUsed"], 16))

    def send(self, verdict: Verdict, signer: Account, max_fee_per_gas_wei: int = _MAX_FEE_PER_GAS_WEI) -> Receipt:
        """Send the call of a verdict, and wait for its receipt. A rebalance needs the keeper's role; other calls need
        no role.

        Raises:
            NothingToSend: the verdict has no call.
            ContractReverted: the vault reverts; nothing was sent unless the error has a transaction hash.
            InsufficientEther, FeeAboveCap: nothing was sent.
            SendUncertain, TransactionNotMined: it may still be mined.
        """
        wallet = self.chain.wallet(signer, max_fee_per_gas_wei)
        return wallet.send(self.address, self._data(verdict), what=f"{verdict.step} of {self.address}")

    def deposit(
        self, token: str, amount_raw: int, signer: Account, slippage_bps: int = _SLIPPAGE_BPS
    ) -> DepositedToken:
        """Deposit an amount of one token, by symbol or address, "ETH" for ether. It is swapped to give the most shares.

        The deposit reverts if it gives less than the expected shares minus `slippage_bps`. Unused amounts are returned.

        Raises:
            NothingRequested, BalanceTooLow, NoRoute, DepositTooSmall: nothing was sent.
            ContractReverted: a contract reverts; the allowance is revoked.
            as `send`.
        """
        return self._deposit(token, amount_raw, signer, slippage_bps, None)

    def withdraw(self, token: str, shares: int, signer: Account, slippage_bps: int = _SLIPPAGE_BPS) -> WithdrawnToken:
        """Redeem shares to one token, by symbol or address, "ETH" for ether.

        The withdrawal reverts if it gives less than the expected amount minus `slippage_bps`.

        Raises:
            as `deposit`.
        """
        return self._withdraw(token, shares, signer, slippage_bps, None)

    def deposit_in_kind(self, shares: int, signer: Account) -> DepositedInKind:
        """Mint an exact number of shares for the same fraction of every asset.

        Raises:
            as `deposit`.
        """
        return deposit_in_kind(self.chain.wallet(signer), self.address, shares)

    def withdraw_in_kind(self, shares: int, signer: Account) -> WithdrawnInKind:
        """Redeem shares for the same fraction of every asset. Needs no price and no role; a token that cannot be sent
        becomes a claim.

        Raises:
            NothingRequested, BalanceTooLow: nothing was sent.
            as `send`.
        """
        return withdraw_in_kind(self.chain.wallet(signer), self.address, shares)

    def claim(self, token: str, signer: Account) -> Claimed:
        """Collect a token that could not be sent when shares were redeemed.

        Raises:
            NothingToClaim: there is no claim.
            as `send`.
        """
        return claim(self.chain.wallet(signer), self.address, self.chain.token(token).address)

    def _deposit(
        self, token: str, amount_raw: int, signer: Account, slippage_bps: int, ask: Confirm | None
    ) -> DepositedToken:
        pools = self.chain._routable(self.chain.block())
        wallet, paid = self.chain.wallet(signer), self._paid(token)
        return deposit_token(wallet, self._system, self.address, paid, amount_raw, pools, slippage_bps, ask)

    def _withdraw(
        self, token: str, shares: int, signer: Account, slippage_bps: int, ask: Confirm | None
    ) -> WithdrawnToken:
        pools = self.chain._routable(self.chain.block())
        wallet, paid = self.chain.wallet(signer), self._paid(token)
        return withdraw_token(wallet, self._system, self.address, paid, shares, pools, slippage_bps, ask)

    def _paid(self, token: str) -> str:
        return ETH if token.upper() == "ETH" else self.chain.token(token).address

    def _data(self, verdict: Verdict) -> str:
        data = call_data(verdict, self._system.executor)
        if data is None:
            raise NothingToSend(verdict.reason, verdict.text)
        return data

    @staticmethod
    def _previewed(action: Callable[[Confirm], object]) -> Preview:
        """The preview that an action passes to its confirmation, where it is stopped."""

        def stop(preview: Preview) -> None:
            raise _PreviewedError(preview)

        try:
            action(stop)
        except _PreviewedError as found:
            return found.preview
        raise AssertionError("a previewed action was executed")


class _PreviewedError(Exception):
    """Ends an action at its preview."""

    def __init__(self, preview: Preview) -> None:
        super().__init__("previewed")
        self.preview = preview
