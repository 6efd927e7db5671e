"""What is wrong with the settings and with what they point at, and how is it mended?

Looks and changes nothing: no file is made, no transaction sent, no password asked for. What hangs
on something that failed is left out, so that what is listed as wrong is the cause and not its
consequences.
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

_DELEGATED = "0xef0100"  # a plain account that runs a contract's code (EIP-7702): its key is still its master
_HEAD_AGE_SECONDS = 120  # ten blocks of a slow chain
_REBALANCES = 10
_MOST_RECORDS = 31  # of so many days
_REBALANCE_GAS = 400_000  # more than one of ten assets over two pools takes


@dataclass(frozen=True)
class Finding:
    """One thing looked at, of one chain; None of the settings as a whole. `remedy` is empty when all is well.

    `ok` is None of what could not be looked at, which is no pass.
    """

    check: str
    ok: bool | None
    sentence: str
    remedy: str = ""
    chain_id: int | None = None


def diagnose(settings: Settings | ConfigError, now: int | None = None) -> list[Finding]:
    """Look at everything the keeper needs, in the order in which it is to be mended.

    `settings` may be what reading them raised. `now` is unix seconds, by default the clock's.
    """
    if isinstance(settings, ConfigError):
        return [_ill("settings", settings)]
    findings = [Finding("settings", True, "The settings are readable.")]
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
    """Whether those that stand in for the first can, and whether enough can agree."""
    count = 1 + len(settings.more_rpc_urls)
    if settings.rpc_quorum > count:
        yield _ill("quorum", QuorumTooSmall(settings.rpc_quorum, count))
    for url in settings.more_rpc_urls:
        try:
            with Rpc(url.get_secret_value(), settings.rpc_timeout_seconds, settings.chain_id) as rpc:
                rpc.chain_id()
        except RebalancerError as error:
            yield _ill("more rpc", error)
        else:
            yield Finding("more rpc", True, f"{rpc.endpoint} answers, too.")


def _endpoint(rpc: Rpc, settings: Settings, now: int) -> Iterator[Finding]:
    try:
        actual = rpc.chain_id()
        head = read_block(rpc)
    except RebalancerError as error:
        yield _ill("rpc", error)
        return
    yield Finding("rpc", True, f"{rpc.endpoint} answers.")
    if actual != settings.chain_id:
        yield _ill("chain", WrongChain(settings.chain_id, actual))
        return
    yield Finding("chain", True, f"It serves chain {actual}.")
    age_seconds = now - head.timestamp
    if actual == DEVNET_CHAIN_ID:
        yield Finding("head", True, f"Its head is block {head.number}; a local chain keeps its own time.")
    elif age_seconds > _HEAD_AGE_SECONDS:
        yield Finding(
            "head",
            False,
            f"Its newest block {head.number} is {span(age_seconds)} old.",
            "wait until the node has caught up, use another endpoint, or set this machine's clock.",
        )
    else:
        yield Finding("head", True, f"Its newest block {head.number} is {span(age_seconds)} old.")


def _finality(rpc: Rpc, keeper: KeeperSettings) -> Iterator[Finding]:
    """Whether the node knows the block by which transactions become final, where that is one of a tag."""
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
            why = f"it is of chain {deployment.chain_id}, not {settings.chain_id}"
            raise DeploymentMalformed(settings.deployment, why)
        System.of(deployment)
    except RebalancerError as error:
        return None, [_ill("deployment", error)]
    if deployment.unfinished is not None:
        return deployment, [_ill("deployment", LaunchUnfinished(deployment.unfinished.deployer))]
    known = f"{settings.deployment} names {counted(len(deployment.contracts), 'contract')}"
    return deployment, [Finding("deployment", True, f"{known} and {counted(len(deployment.vaults), 'vault')}.")]


def _on_chain(rpc: Rpc, settings: Settings, deployment: Deployment | None, keeper: str | None) -> Iterator[Finding]:
    if deployment is None:
        return
    addresses = {**deployment.uniswap, **deployment.contracts}
    codes = rpc.batch([("eth_getCode", (address, "latest")) for address in addresses.values()])
    bare = [name for name, code in zip(addresses, codes, strict=True) if code == "0x"]
    for name in bare:
        yield Finding(
            "contracts",
            False,
            f"No {name} is at {addresses[name]}.",
            "deploy again: the chain was started anew, or the file is another chain's.",
        )
    if bare:
        return
    yield Finding("contracts", True, f"All {len(addresses)} contracts are there.")
    system = System.of(deployment)
    yield from _wiring(rpc, system)
    yield from _pools(rpc, deployment)
    yield from _sequencer(rpc, system, settings.chain_id)
    vaults = settings.vaults or deployment.vaults
    if not vaults:
        yield Finding("vaults", False, "No vault is named.", "make one with `rebalancer vault create`.")
    factory = contract_at(rpc, "VaultFactory", system.factory)
    judged: set[str] = set()
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
                yield Finding("feeds", True, f"{name} is excluded from {address}: it needs no price.")
            elif asset.token not in judged:
                tokens.append(asset.token)
        judged.update(tokens)
        readings = read_prices(rpc, oracle, tokens, block, deployment.contracts)
        for reading in readings:
            yield _price(reading, deployment)
        sound = {one.token: one.primary_e18 for one in readings if one.fault is Fault.NONE}
        yield from _against_market(rpc, oracle, sound, deployment, block)
        yield from _vault(rpc, snapshot, keeper)
        yield from _minimums(snapshot, deployment)
    yield from _admins(rpc, system, deployment)


def _pools(rpc: Rpc, deployment: Deployment) -> Iterator[Finding]:
    """Whether each pool can be read, and answers as it does on paper."""
    block, count = read_block(rpc), 0
    for ref in deployment.pools:
        try:
            read_pools(rpc, [ref], block, deployment.chain_id)
        except (ContractMissing, ContractReverted, PoolError) as error:
            ill = _ill("pools", error)
            yield replace(ill, sentence=f"The pool at {ref.address} cannot be read: {ill.sentence}")
        else:
            count += 1
    if count == len(deployment.pools):
        yield Finding("pools", True, f"All {count} pools can be read.")


def _sequencer(rpc: Rpc, system: System, chain_id: int) -> Iterator[Finding]:
    """Whether prices are held back while the chain's sequencer is down, where it has one."""
    if chain_id not in SEQUENCED:
        return
    name, known = SEQUENCED[chain_id]
    feed = contract_at(rpc, "OracleHub", system.oracle).call("SEQUENCER_FEED")
    if int(feed, 16):
        yield Finding("feeds", True, f"Prices wait for the sequencer of {name}, by {feed}.")
        return
    yield Finding(
        "feeds",
        False,
        f"The OracleHub does not look at the sequencer of {name}: while it is down, prices are stale.",
        f"deploy again with its uptime feed under [sequencer], which Chainlink has at {known}.",
    )


def _against_market(
    rpc: Rpc, oracle: str, prices_e18: dict[str, int], deployment: Deployment, block: Block
) -> Iterator[Finding]:
    """Whether each feed calls itself by its token and unit, and is where the listed pools are."""
    hub = contract_at(rpc, "OracleHub", oracle)
    reported = {feed.address: feed.description for feed in deployment.feeds}
    names = {token.address: token.symbol for token in deployment.tokens}
    units = {feed.address: feed.name.partition("/")[2] for feed in deployment.feeds}
    for token in prices_e18:
        set_feed, *_, quote, params = hub.call("feedOf", token, block=block.hash)
        feed = feed_behind(rpc, token, set_feed, params)
        unit = "USD" if not int(quote, 16) else names.get(quote) or units.get(feed)
        if unit is None or token not in names:
            continue  # nothing names what it should be
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
        f"The feed {feed} of {name} is not what it is taken for: {why}.",
        "have the owner set the right feed (`rebalancer admin call --contract OracleHub --function setFeed`), or list the pools that are traded.",
    )


def _wiring(rpc: Rpc, system: System) -> Iterator[Finding]:
    """Whether new vaults run the code that the addresses file names: each contract's next one is fixed in its code."""
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
                "name the contracts of one deployment in the addresses file, or deploy again.",
            )


def _price(reading: PriceReading, deployment: Deployment) -> Finding:
    known = deployment.token(reading.token)
    name = known.symbol if known else reading.token
    if reading.fault is not Fault.NONE:
        return Finding(
            "feeds",
            False,
            f"The price of {name} is unsound ({reading.fault}): {reading.sentence}.",
            FAULT_REMEDIES[reading.fault],
        )
    sentence = f"The price of {name} is sound: {reading.primary_e18 / E18:,.2f} USD"
    if reading.max_divergence_bps is not None:
        sentence += (
            f"; its second source ({reading.second}) says {reading.second_e18 / E18:,.2f}"
            f" USD, {reading.divergence_bps} of at most {reading.max_divergence_bps} bps apart"
        )
    return Finding("feeds", True, sentence + ".")


def _admins(rpc: Rpc, system: System, deployment: Deployment) -> Iterator[Finding]:
    """Whether an admin could do at once what the owner must wait for, and whether whoever deployed kept more than is needed."""
    try:
        found = read_permissions(rpc, system, deployment.block or 0)
    except RpcRejected as refusal:
        yield Finding(
            "admins",
            None,
            f"Who is admin and waits how long could not be checked: the endpoint refuses to search for the events ({refusal.message}).",
            "use an endpoint that searches old blocks for logs, or see `rebalancer admin show --from-block`.",
        )
        return
    hasty = found.hasty_admins()
    for holder in hasty:
        yield Finding(
            "admins",
            False,
            f"The admin {holder.account} waits {span(holder.delay_seconds)}, less than the owner or the "
            "curator, whose delay so protects nobody.",
            "have it give itself theirs with `rebalancer admin grant --role ADMIN --delay-hours …`.",
        )
    if not hasty:
        yield Finding("admins", True, "Admins wait at least as long as owner and curator.")
    yield from _deployer(rpc, found, deployment.chain_id)


def _deployer(rpc: Rpc, found: Permissions, chain_id: int) -> Iterator[Finding]:
    """A plain account that deployed may be admin only where one person is everything: the only admin, and the only owner. On a local chain,
    whose keys everybody knows, it may be anything."""
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
            f"One plain account, {found.deployer}, deployed and is both admin and owner: its key can change everything after its delay.",
        )
        return
    yield Finding(
        "admins",
        False,
        f"{found.deployer}, the plain account that deployed, is still an admin, although others hold roles beside it.",
        "have the other admin, once there is one (`rebalancer admin hand-over`), call `rebalancer admin revoke --role ADMIN --holder "
        f"{found.deployer}`.",
    )


def _vault(rpc: Rpc, snapshot: VaultSnapshot, keeper: str | None) -> Iterator[Finding]:
    vault = contract_at(rpc, "BasketVault", snapshot.address)
    if snapshot.state.paused:
        yield Finding(
            "vaults",
            False,
            f"Rebalancing of {vault.address} is paused.",
            "have the owner resume it when the guardian's reason is gone.",
        )
    if keeper is not None:
        yield _role(vault, keeper, snapshot.policy.open_after_seconds)


def _minimums(snapshot: VaultSnapshot, deployment: Deployment) -> Iterator[Finding]:
    with suppress(PolicyRefused):  # without a sound price nobody knows
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
            f"{keeper} is no keeper of {vault.address}, and may rebalance it {span(open_after_seconds)} after it became due.",
        )
    return Finding(
        "role",
        False,
        f"{keeper} may not rebalance {vault.address}.",
        f"have the admin of {authority.address} grant it the role KEEPER without a delay.",
    )


def _account(keeper: KeeperSettings, chain_id: int) -> tuple[list[Finding], str | None]:
    """The keeper's account, opened if its password is at hand, else as its keystore names it."""
    address: str | None
    has_password = keeper.keystore_password or keeper.keystore_password_file is not None
    try:
        if keeper.keystore is None or has_password:
            address = open_signer(keeper, chain_id).address
            sentence = f"The keeper's key is at hand: {address}."
        else:
            address = keystore_address(keeper.keystore)
            whose = f"of {address}" if address else "of an account it does not name"
            sentence = f"A keystore {whose} is there; its password will be asked for."
    except RebalancerError as error:
        return [_ill("keystore", error)], None
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
            f"{address} has too little ether for {_REBALANCES} rebalances at today's gas.",
            f"send it {lacking:.6f} ether.",
        )
    else:
        yield Finding("ether", True, f"{address} has ether for {_REBALANCES} rebalances or more.")


def _outbox(path: Path, chain_id: int) -> list[Finding]:
    if not path.exists():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return [Finding("outbox", True, f"The outbox will be made at {path}.")]
        why = f"The outbox cannot be made at {path}: {folder} is no folder that can be written to."
        return [Finding("outbox", False, why, "name another place, or mend its permissions.")]
    try:
        with Outbox(path) as outbox:
            waiting = len(outbox.unsettled(chain_id))
    except OutboxInUse as held:
        return [Finding("outbox", True, f"The outbox {path} is in use by {held.holder}.")]
    except RebalancerError as error:
        return [_ill("outbox", error)]
    sentence = f"The outbox {path} can be written; to be settled when the keeper starts: {waiting}."
    return [Finding("outbox", True, sentence)]


def _files(settings: Settings) -> Iterator[Finding]:
    """What others on this machine can open and must not, and keystores whose password is quickly guessed."""
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
            yield Finding(check, False, f"Others can open {path}.", f"run `chmod 600 {path}`.")
    for path in keystores:
        with suppress(SignerError):  # said where the account is opened
            if weak := keystore_weakness(path):
                sentence = f"The password of {path} is quickly guessed by who has the file: {weak}."
                remedy = "encrypt the key again with scrypt of n=262144, r=8, and delete this file."
                yield Finding("keystore", False, sentence, remedy)


def _records(named: Path | None) -> list[Path]:
    """The records that are there, whatever day is in their names."""
    if named is None:
        return []
    pattern = re.sub(r"%.", "*", named.name)
    return sorted(named.parent.glob(pattern))[-_MOST_RECORDS:]


def _guarded(check: str, findings: Iterator[Finding]) -> list[Finding]:
    """The findings up to an error, which is the last one."""
    found: list[Finding] = []
    try:
        for finding in findings:
            found.append(finding)  # noqa: PERF402 (what came before an error is kept)
    except RebalancerError as error:
        found.append(_ill(check, error))
    return found


def _ill(check: str, error: RebalancerError) -> Finding:
    """An error as a finding: its sentence says first what is wrong, after its last colon what to do."""
    sentence, _, remedy = str(error).rpartition(": ")
    return Finding(check, False, f"{sentence}.", remedy)
