"""Checks of the settings, and of the files and contracts that they name, with a remedy for each problem.

The checks change nothing: they create no file, send no transaction and need no password. A check is omitted if it
depends on a failed check, so the list shows causes and not their consequences.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rebalancer.block import Block
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.pools import read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import Role, System
from rebalancer.errors import (
    ConfigError,
    ContractMissing,
    ContractReverted,
    DeploymentMalformed,
    InsufficientEther,
    LaunchUnfinished,
    OutboxInUse,
    PolicyRefused,
    PoolError,
    QuorumTooSmall,
    RebalancerError,
    RpcRejected,
    SignerError,
    WrongChain,
)
from rebalancer.files import is_wide
from rebalancer.market_price import off_market
from rebalancer.operations.feeds import FeedClaim, feed_behind, misdescribed, priced_pools
from rebalancer.operations.governance import Permissions, read_permissions
from rebalancer.operations.minimums import large_minimums
from rebalancer.operations.prices import PriceReading, read_prices
from rebalancer.oracle import FAULT_REMEDIES, Fault
from rebalancer.send.costs import check_ether
from rebalancer.send.fees import suggest
from rebalancer.send.journal_file import BESIDE
from rebalancer.send.open_signer import open_signer
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import keystore_address, keystore_weakness
from rebalancer.settings import KeeperSettings, Settings
from rebalancer.units import E18
from rebalancer.wellknown import DEVNET_CHAIN_ID, SEQUENCED
from rebalancer.words import counted, span

__all__ = ["Finding", "diagnose"]

_DELEGATED = "0xef0100"  # a plain account that runs a contract's code (EIP-7702): its key still controls it
_HEAD_AGE_SECONDS = 120  # 10 blocks of a slow chain
_REBALANCES = 10
_MOST_RECORDS = 31  # one record per day
_REBALANCE_GAS = 400_000  # more than a rebalance of ten assets over two pools needs


@dataclass(frozen=True)
class Finding:
    """Result of one check. `remedy` is empty if the check passed; `chain_id` is None for the settings as a whole.

    `ok` is None if the check could not run, which does not count as passed.
    """

    check: str
    ok: bool | None
    sentence: str
    remedy: str = ""
    chain_id: int | None = None


def diagnose(settings: Settings | ConfigError, now: int | None = None) -> list[Finding]:
    """Check everything that the keeper needs, in the order in which problems must be fixed.

    `settings` may be the error that reading them raised. `now` is unix seconds; the default is the clock's time.
    """
    if isinstance(settings, ConfigError):
        return [_failed("settings", settings)]
    findings = [Finding("settings", True, "The settings are valid.")]
    rpc = Rpc(settings.rpc_url.get_secret_value(), settings.rpc_timeout_seconds)
    with rpc:
        chain = list(_endpoint(rpc, settings, int(time.time()) if now is None else now))
        findings += chain
        findings += _other_endpoints(settings)
        account, keeper = _account(settings.keeper, settings.chain_id)
        deployment, file = _deployment(settings)
        findings += file
        if all(finding.ok for finding in chain if finding.check in ("rpc", "chain")):
            findings += _guarded("contracts", _on_chain(rpc, settings, deployment, keeper))
            findings += account
            if keeper is not None:
                findings += _guarded("ether", _ether(rpc, settings.keeper, keeper))
            findings += _guarded("finality", _finality(rpc, settings.keeper))
        else:
            findings += account
    findings += _files(settings)
    findings += _outbox(settings.keeper.outbox_file, settings.chain_id)
    return findings


def _other_endpoints(settings: Settings) -> Iterator[Finding]:
    """Check the additional endpoints, and whether there are enough for the quorum."""
    count = 1 + len(settings.more_rpc_urls)
    if settings.rpc_quorum > count:
        yield _failed("quorum", QuorumTooSmall(settings.rpc_quorum, count))
    for url in settings.more_rpc_urls:
        try:
            with Rpc(url.get_secret_value(), settings.rpc_timeout_seconds, settings.chain_id) as rpc:
                rpc.chain_id()
        except RebalancerError as error:
            yield _failed("more rpc", error)
        else:
            yield Finding("more rpc", True, f"{rpc.endpoint} answers.")


def _endpoint(rpc: Rpc, settings: Settings, now: int) -> Iterator[Finding]:
    try:
        actual = rpc.chain_id()
        head = read_block(rpc)
    except RebalancerError as error:
        yield _failed("rpc", error)
        return
    yield Finding("rpc", True, f"{rpc.endpoint} answers.")
    if actual != settings.chain_id:
        yield _failed("chain", WrongChain(settings.chain_id, actual))
        return
    yield Finding("chain", True, f"The endpoint serves chain {actual}.")
    age_seconds = now - head.timestamp
    if actual == DEVNET_CHAIN_ID:
        yield Finding(
            "head",
            True,
            f"The newest block is {head.number}; a local chain has its own clock, so its age is not checked.",
        )
    elif age_seconds > _HEAD_AGE_SECONDS:
        yield Finding(
            "head",
            False,
            f"The newest block {head.number} is {span(age_seconds)} old.",
            "wait until the node has synchronised, use another endpoint, or correct this machine's clock.",
        )
    else:
        yield Finding("head", True, f"The newest block {head.number} is {span(age_seconds)} old.")


def _finality(rpc: Rpc, keeper: KeeperSettings) -> Iterator[Finding]:
    """If `confirmations` is a block tag, check that the node supports it."""
    tag = keeper.confirmations
    if isinstance(tag, int):
        return
    try:
        block = rpc.call("eth_getBlockByNumber", tag, False)
    except RpcRejected:
        block = None
    if block is None:
        yield Finding(
            "finality",
            False,
            f"{rpc.endpoint} has no {tag} block, so no transaction would become final.",
            "use another endpoint, or set keeper.confirmations to a number of blocks.",
        )
    else:
        number = int(block["number"], 16)
        yield Finding("finality", True, f"The chain's {tag} block is {number}.")


def _deployment(settings: Settings) -> tuple[Deployment | None, list[Finding]]:
    try:
        deployment = Deployment.load(settings.deployment)
        if deployment.chain_id != settings.chain_id:
            why = f"it is for chain {deployment.chain_id}, not {settings.chain_id}"
            raise DeploymentMalformed(settings.deployment, why)
        System.of(deployment)
    except RebalancerError as error:
        return None, [_failed("deployment", error)]
    if deployment.unfinished is not None:
        return deployment, [_failed("deployment", LaunchUnfinished(deployment.unfinished.deployer))]
    known = f"{settings.deployment} contains {counted(len(deployment.contracts), 'contract')}"
    return deployment, [Finding("deployment", True, f"{known} and {counted(len(deployment.vaults), 'vault')}.")]


def _on_chain(rpc: Rpc, settings: Settings, deployment: Deployment | None, keeper: str | None) -> Iterator[Finding]:
    if deployment is None:
        return
    addresses = {**deployment.uniswap, **deployment.contracts}
    codes = rpc.batch([("eth_getCode", (address, "latest")) for address in addresses.values()])
    missing = [name for name, code in zip(addresses, codes, strict=True) if code == "0x"]
    for name in missing:
        yield Finding(
            "contracts",
            False,
            f"There is no {name} at {addresses[name]}.",
            "deploy again; the chain was restarted, or the addresses file is for another chain.",
        )
    if missing:
        return
    yield Finding("contracts", True, f"All {len(addresses)} contracts have code.")
    system = System.of(deployment)
    yield from _wiring(rpc, system)
    yield from _pools(rpc, deployment)
    yield from _sequencer(rpc, system, settings.chain_id)
    vaults = settings.vaults or deployment.vaults
    if not vaults:
        yield Finding("vaults", False, "No vault is known.", "create one with `rebalancer vault create`.")
    factory = contract_at(rpc, "VaultFactory", system.factory)
    checked: set[str] = set()
    for address in vaults:
        if not factory.call("isVault", address):
            yield Finding(
                "vaults",
                False,
                f"{address} is not a vault of the factory {system.factory}.",
                f"check the address under `vaults` in {'the settings' if settings.vaults else settings.deployment}.",
            )
            continue
        yield Finding("vaults", True, f"{address} is a vault of the factory.")
        block = read_block(rpc)
        (snapshot,) = read_vaults(rpc, system.lens, [address], block)
        contract = contract_at(rpc, "BasketVault", address)
        oracle = contract.call("oracle", block=block.hash)
        tokens = []
        for asset in snapshot.basket.assets:
            if asset.excluded:
                known = deployment.token(asset.token)
                name = known.symbol if known else asset.token
                yield Finding("feeds", True, f"{name} is excluded from {address} and needs no price.")
            elif asset.token not in checked:
                tokens.append(asset.token)
        checked.update(tokens)
        readings = read_prices(rpc, oracle, tokens, block, deployment.contracts)
        for reading in readings:
            yield _price(reading, deployment)
        sound = {one.token: one.primary_e18 for one in readings if one.fault is Fault.NONE}
        yield from _against_market(rpc, oracle, sound, deployment, block)
        yield from _vault(rpc, snapshot, keeper)
        yield from _minimums(snapshot, deployment)
    yield from _admins(rpc, system, deployment)


def _pools(rpc: Rpc, deployment: Deployment) -> Iterator[Finding]:
    """Check that each pool can be read, and that its contract quotes the computed amounts."""
    block, count = read_block(rpc), 0
    for ref in deployment.pools:
        try:
            read_pools(rpc, [ref], block, deployment.chain_id)
        except (ContractMissing, ContractReverted, PoolError) as error:
            failed = _failed("pools", error)
            yield replace(failed, sentence=f"The pool at {ref.address} cannot be read: {failed.sentence}")
        else:
            count += 1
    if count == len(deployment.pools):
        yield Finding("pools", True, f"All {count} pools can be read.")


def _sequencer(rpc: Rpc, system: System, chain_id: int) -> Iterator[Finding]:
    """On a chain with a sequencer, check that the OracleHub uses no prices while it is down."""
    if chain_id not in SEQUENCED:
        return
    name, known = SEQUENCED[chain_id]
    feed = contract_at(rpc, "OracleHub", system.oracle).call("SEQUENCER_FEED")
    if int(feed, 16):
        yield Finding("feeds", True, f"The OracleHub checks the sequencer of {name} with the uptime feed {feed}.")
        return
    yield Finding(
        "feeds",
        False,
        f"The OracleHub does not check the sequencer of {name}, and prices are stale while it is down.",
        f"deploy again with Chainlink's uptime feed {known} under [sequencer].",
    )


def _against_market(
    rpc: Rpc, oracle: str, prices_e18: dict[str, int], deployment: Deployment, block: Block
) -> Iterator[Finding]:
    """Check each feed's description against its token and unit, and its price against the listed pools."""
    hub = contract_at(rpc, "OracleHub", oracle)
    reported = {feed.address: feed.description for feed in deployment.feeds}
    names = {token.address: token.symbol for token in deployment.tokens}
    units = {feed.address: feed.name.partition("/")[2] for feed in deployment.feeds}
    for token in prices_e18:
        set_feed, *_, quote, params = hub.call("feedOf", token, block=block.hash)
        feed = feed_behind(rpc, token, set_feed, params)
        unit = "USD" if not int(quote, 16) else names.get(quote) or units.get(feed)
        if unit is None or token not in names:
            continue  # the expected token or unit is unknown
        claim = FeedClaim(token, feed, names[token], unit, reported.get(feed))
        if why := misdescribed(rpc, claim):
            yield _wrong_feed(names[token], feed, why)
    pools = priced_pools(rpc, deployment, block)
    for off in off_market(prices_e18, pools):
        feed = hub.call("feedOf", off.token, block=block.hash)[0]
        yield _wrong_feed(names.get(off.token, off.token), feed, off.sentence)


def _wrong_feed(name: str, feed: str, why: str) -> Finding:
    return Finding(
        "feeds",
        False,
        f"The feed {feed} of {name} looks wrong: {why}.",
        "have the owner set the right feed (`rebalancer admin call --contract OracleHub --function setFeed`), "
        "or list pools with enough liquidity.",
    )


def _wiring(rpc: Rpc, system: System) -> Iterator[Finding]:
    """Check that new vaults use the contracts of the addresses file: each has the next one's address in its code."""
    for name, address, requested, expected in (
        ("VaultFactory", system.factory, "IMPLEMENTATION", system.implementation),
        ("BasketVault", system.implementation, "EXTENSION", system.extension),
        ("VaultExtension", system.extension, "STORE", system.config_store),
    ):
        found = contract_at(rpc, name, address).call(requested).lower()
        if found != expected.lower():
            yield Finding(
                "contracts",
                False,
                f"{requested} of the {name} {address} is {found}, not {expected}.",
                "use the addresses file of one deployment, or deploy again.",
            )


def _price(reading: PriceReading, deployment: Deployment) -> Finding:
    known = deployment.token(reading.token)
    name = known.symbol if known else reading.token
    if reading.fault is not Fault.NONE:
        return Finding(
            "feeds",
            False,
            f"The price of {name} is not sound ({reading.fault}): {reading.sentence}.",
            FAULT_REMEDIES[reading.fault],
        )
    sentence = f"The price of {name} is sound: {reading.primary_e18 / E18:,.2f} USD"
    if reading.max_divergence_bps is not None:
        sentence += (
            f"; its second source ({reading.second}) has {reading.second_e18 / E18:,.2f} USD, "
            f"which differs by {reading.divergence_bps} bps (limit {reading.max_divergence_bps} bps)"
        )
    return Finding("feeds", True, sentence + ".")


def _admins(rpc: Rpc, system: System, deployment: Deployment) -> Iterator[Finding]:
    """Check that admins have at least the delay of owners and curators, and that the deployer is no longer an admin."""
    try:
        found = read_permissions(rpc, system, deployment.block or 0)
    except RpcRejected as refusal:
        yield Finding(
            "admins",
            None,
            f"The admins could not be checked: the endpoint refuses the search for events ({refusal.message}).",
            "use an endpoint that supports log queries of old blocks, or run `rebalancer admin show --from-block`.",
        )
        return
    hasty = found.hasty_admins()
    for holder in hasty:
        yield Finding(
            "admins",
            False,
            f"The admin {holder.account} has a delay of {span(holder.delay_seconds)}, which is shorter than the "
            "owner's or the curator's, so that delay protects nobody.",
            "have the admin set its own delay to theirs with `rebalancer admin grant --role ADMIN --delay-hours …`.",
        )
    if not hasty:
        yield Finding("admins", True, "The delay of each admin is at least that of owner and curator.")
    yield from _deployer(rpc, found, deployment.chain_id)


def _deployer(rpc: Rpc, found: Permissions, chain_id: int) -> Iterator[Finding]:
    """Check that a deployer without code is an admin only if it is the only admin and the only owner.

    On a local chain, whose keys are public, it may hold any role.
    """
    admins = [holder.account for holder in found.admins()]
    if chain_id == DEVNET_CHAIN_ID or found.deployer not in admins:
        return
    code = str(rpc.call("eth_getCode", found.deployer, "latest"))
    if code != "0x" and not code.startswith(_DELEGATED):
        return
    owners = [holder.account for holder in found.held(Role.OWNER)]
    if admins == owners == [found.deployer]:
        yield Finding(
            "admins",
            True,
            f"The deployer {found.deployer}, a plain account, is the only admin and owner: its key can change "
            "everything after its delay.",
        )
        return
    yield Finding(
        "admins",
        False,
        f"The deployer {found.deployer}, a plain account, is still an admin, although other accounts hold roles.",
        "add another admin (`rebalancer admin hand-over`) and have it run `rebalancer admin revoke --role ADMIN "
        f"--holder {found.deployer}`.",
    )


def _vault(rpc: Rpc, snapshot: VaultSnapshot, keeper: str | None) -> Iterator[Finding]:
    vault = contract_at(rpc, "BasketVault", snapshot.address)
    if snapshot.state.paused:
        yield Finding(
            "vaults",
            False,
            f"Rebalancing of {vault.address} is paused.",
            "have the owner resume it (resumeRebalance) when the reason for the pause no longer exists.",
        )
    if keeper is not None:
        yield _role(vault, keeper, snapshot.policy.open_after_seconds)


def _minimums(snapshot: VaultSnapshot, deployment: Deployment) -> Iterator[Finding]:
    with suppress(PolicyRefused):  # cannot be checked without a sound price
        for one in large_minimums(snapshot.basket, snapshot.policy):
            asset = snapshot.basket.assets[one.asset]
            known = deployment.token(asset.token)
            name = known.symbol if known else asset.token
            yield Finding(
                "vaults",
                False,
                f"{one.sentence(name, asset.decimals)} ({snapshot.address}).",
                "have the curator lower it (`rebalancer vault set-bands --min-trade`).",
            )


def _role(vault: BoundContract, keeper: str, open_after_seconds: int) -> Finding:
    authority = contract_at(vault.rpc, "AccessManager", vault.call("authority"))
    selector = vault.interface.functions["rebalance"].selector
    may_at_once, _ = authority.call("canCall", keeper, vault.address, selector)
    if may_at_once:
        return Finding("role", True, f"{keeper} may rebalance {vault.address}.")
    if open_after_seconds:
        return Finding(
            "role",
            True,
            f"{keeper} does not hold KEEPER for {vault.address}, and may rebalance it {span(open_after_seconds)} "
            "after it is due.",
        )
    return Finding(
        "role",
        False,
        f"{keeper} may not rebalance {vault.address}.",
        f"have an admin or guardian of {authority.address} grant it the role KEEPER (`rebalancer admin grant`).",
    )


def _account(keeper: KeeperSettings, chain_id: int) -> tuple[list[Finding], str | None]:
    """The keeper's account: opened if its password is configured, else its address from the keystore."""
    address: str | None
    has_password = keeper.keystore_password or keeper.keystore_password_file is not None
    try:
        if keeper.keystore is None or has_password:
            address = open_signer(keeper, chain_id).address
            sentence = f"The keeper's key can be used: {address}."
        else:
            address = keystore_address(keeper.keystore)
            whose = f"of {address}" if address else "without an address"
            sentence = f"There is a keystore {whose}; the keeper will prompt for its password."
    except RebalancerError as error:
        return [_failed("keystore", error)], None
    return [Finding("keystore", True, sentence)], address


def _ether(rpc: Rpc, keeper: KeeperSettings, address: str) -> Iterator[Finding]:
    fees = suggest(rpc, keeper.fee_cap_wei)
    # {wei} = {rebalance} * {gas/rebalance} * {wei/gas}
    needed_wei = _REBALANCES * _REBALANCE_GAS * fees.max_fee_per_gas_wei
    try:
        check_ether(rpc, address, needed_wei)
    except InsufficientEther as error:
        lacking = (needed_wei - error.balance_wei) / E18
        yield Finding(
            "ether",
            False,
            f"{address} has too little ether for {_REBALANCES} rebalances at the current gas price.",
            f"send it at least {lacking:.6f} ether.",
        )
    else:
        yield Finding("ether", True, f"{address} has enough ether for at least {_REBALANCES} rebalances.")


def _outbox(path: Path, chain_id: int) -> list[Finding]:
    if not path.exists():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return [Finding("outbox", True, f"The keeper will create its outbox at {path}.")]
        why = f"The outbox cannot be created at {path}: {folder} is not a folder with write permission."
        return [
            Finding(
                "outbox", False, why, "set keeper.outbox_file to another path, or correct the folder's permissions."
            )
        ]
    try:
        with Outbox(path) as outbox:
            waiting = len(outbox.unsettled(chain_id))
    except OutboxInUse as held:
        return [Finding("outbox", True, f"The outbox {path} is used by {held.holder}.")]
    except RebalancerError as error:
        return [_failed("outbox", error)]
    sentence = f"The outbox {path} can be written. Unresolved transactions in it: {waiting}."
    return [Finding("outbox", True, sentence)]


def _files(settings: Settings) -> Iterator[Finding]:
    """Check that other users cannot open private files, and that keystores use a slow key derivation."""
    keeper = settings.keeper
    accounts = (keeper, *keeper.extra_accounts, settings.wallet)
    keystores = list(dict.fromkeys(one.keystore for one in accounts if one.keystore))
    passwords = (one.keystore_password_file for one in accounts if one.keystore_password_file)
    beside = [keeper.outbox_file.with_name(keeper.outbox_file.name + end) for end in (*BESIDE, ".lock")]
    checked = (
        *(("password", path) for path in dict.fromkeys((*passwords, Path(".env")))),
        *(("keystore", path) for path in keystores),
        *(("outbox", path) for path in (keeper.outbox_file, *beside)),
        *(("record", path) for path in _records(keeper.record_file)),
    )
    for check, path in checked:
        if is_wide(path):
            yield Finding(check, False, f"Other users can open {path}.", f"run `chmod 600 {path}`.")
    for path in keystores:
        with suppress(SignerError):  # reported by the check of the account
            if weak := keystore_weakness(path):
                sentence = f"The password of {path} can be guessed quickly with the file: {weak}."
                remedy = "encrypt the key again with scrypt of n=262144, r=8, and delete this file."
                yield Finding("keystore", False, sentence, remedy)


def _records(named: Path | None) -> list[Path]:
    """The existing records, of all days."""
    if named is None:
        return []
    pattern = re.sub(r"%.", "*", named.name)
    return sorted(named.parent.glob(pattern))[-_MOST_RECORDS:]


def _guarded(check: str, findings: Iterator[Finding]) -> list[Finding]:
    """The findings before an error, and the error as the last finding."""
    found: list[Finding] = []
    try:
        for finding in findings:
            found.append(finding)  # noqa: PERF402 (keeps the findings before an error)
    except RebalancerError as error:
        found.append(_failed(check, error))
    return found


def _failed(check: str, error: RebalancerError) -> Finding:
    """An error as a finding: in its sentence, the remedy follows the last colon."""
    sentence, _, remedy = str(error).rpartition(": ")
    return Finding(check, False, f"{sentence}.", remedy)
