"""Previews of deposits and withdrawals, and positions of accounts, read at one block. Nothing is sent.

Amounts are raw units by token address; shares have the vault's address. Values are USD times 1e18 at the prices of the
vault's oracle, rounded down; None if a price is not sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rebalancer.block import Block
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.units import E18, mul_div_down

__all__ = ["Approval", "Position", "Preview", "Values", "read_position", "read_values"]


@dataclass(frozen=True, slots=True)
class Approval:
    """An allowance that a separate transaction grants before the action. `gas` is None if it cannot be estimated."""

    token: str
    spender: str
    amount_raw: int
    gas: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Effect of a deposit or withdrawal if it were mined now.

    The account pays `gives_raw`, at most `at_most_raw`, and receives `gets_raw`, at least `at_least_raw`.
    `swap_cost_e18` is the loss of the swaps against the oracle's prices, including pool fees. `gas` is that of the
    action without approvals, `cost_wei` its current cost including rollup fees, and `rollup_wei` the part for these
    fees (`rebalancer.send.costs.Cost`); they are None if an allowance is missing and the node cannot simulate the call
    after it. `needed_wei` is the ether that the account must have for the action and its approvals, `ether_wei` its
    balance.
    """

    vault: str
    account: str
    gives_raw: Mapping[str, int]
    at_most_raw: Mapping[str, int]
    gets_raw: Mapping[str, int]
    at_least_raw: Mapping[str, int]
    given_e18: int | None
    got_e18: int | None
    swap_cost_e18: int | None
    approvals: tuple[Approval, ...]
    gas: int | None
    cost_wei: int | None = None
    rollup_wei: int | None = None
    needed_wei: int = 0
    ether_wei: int = 0

    @property
    def lacks_ether(self) -> bool:
        """Whether the account's ether is too low."""
        return self.ether_wei < self.needed_wei


@dataclass(frozen=True, slots=True)
class Position:
    """An account's position in a vault: its shares, the assets they redeem for in kind now, and open claims.

    `part_e18` is the fraction of all shares, rounded down. `content_raw` is after the exit fee, `worth_e18` its value,
    and `claims_e18` the value of the claims.
    """

    vault: str
    holder: str
    block: Block
    shares: int
    supply: int
    part_e18: int
    content_raw: Mapping[str, int]
    worth_e18: int | None
    claims_raw: Mapping[str, int]
    claims_e18: int | None


@dataclass(frozen=True, slots=True)
class Values:
    """Prices of a vault's oracle, USD times 1e18 per whole token; None if not sound. `units`: raw units per token."""

    prices_e18: Mapping[str, int | None]
    units: Mapping[str, int]

    def of(self, amounts_raw: Mapping[str, int]) -> int | None:
        """The value of these amounts; None if a price is missing. Amounts may be negative."""
        total_e18 = 0
        for token, raw in amounts_raw.items():
            price_e18 = self.prices_e18.get(token)
            if raw and price_e18 is None:
                return None
            # {usd * e18} = {raw} * {usd * e18 / token} / {raw / token}
            total_e18 += raw * (price_e18 or 0) // self.units.get(token, 1)
        return total_e18


def read_values(vault: BoundContract, tokens: Sequence[str], block: Block) -> Values:
    """Prices of a vault's assets, of its shares, and of `tokens`.

    Raises:
        ContractMissing: there is no vault, or no token, at an address.
    """
    rpc = vault.rpc
    assets = vault.call("assets", block=block.hash)
    units = {asset[0]: 10 ** asset[3] for asset in assets}
    for token in tokens:
        if token not in units and token != vault.address:
            decimals = contract_at(rpc, "IERC20Metadata", token).call("decimals", block=block.hash)
            units[token] = 10**decimals
    hub = contract_at(rpc, "OracleHub", vault.call("oracle", block=block.hash))
    found = hub.call("prices", list(units), block=block.hash)
    prices_e18: dict[str, int | None] = {
        token: None if fault else primary_e18 for token, (_, _, primary_e18, fault) in zip(units, found, strict=True)
    }
    held = dict(zip((a[0] for a in assets), vault.call("held", block=block.hash), strict=True))
    total_e18 = Values(prices_e18, units).of(held)
    supply = vault.call("totalSupply", block=block.hash)
    prices_e18[vault.address] = None if total_e18 is None else mul_div_down(total_e18, E18, supply)
    units[vault.address] = E18
    return Values(prices_e18, units)


def read_position(rpc: Rpc, vault: str, holder: str, others: Sequence[str] = ()) -> Position:
    """An account's position in a vault at the newest block. `others` are additional tokens whose claims are read.

    Raises:
        ContractMissing: there is no vault at this address.
    """
    contract = contract_at(rpc, "BasketVault", vault)
    holder, block = holder.lower(), read_block(rpc)
    tokens = [asset[0] for asset in contract.call("assets", block=block.hash)]
    shares = contract.call("balanceOf", holder, block=block.hash)
    supply = contract.call("totalSupply", block=block.hash)
    given = contract.call("previewRedeemInKind", shares, block=block.hash)
    requested = list(dict.fromkeys((*tokens, *others)))
    batched = contract.batched
    answers = rpc.batch([batched.request("claimable", holder, token, block=block.hash) for token in requested])
    claims_raw = {
        token: raw
        for token, answer in zip(requested, answers, strict=True)
        if (raw := batched.result("claimable", answer))
    }
    values = read_values(contract, list(claims_raw), block)
    content_raw = dict(zip(tokens, given, strict=True))
    return Position(
        contract.address,
        holder,
        block,
        shares,
        supply,
        mul_div_down(shares, E18, supply),
        content_raw,
        values.of(content_raw),
        claims_raw,
        values.of(claims_raw),
    )
