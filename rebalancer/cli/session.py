"""Session of a command: its settings, the chain, the addresses file and the signer."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import DeployedToken, Deployment
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.interfaces import interface
from rebalancer.chain.pools import read_pools
from rebalancer.chain.receipt import NoLogs
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.system import System
from rebalancer.cli import JSON_REQUESTED, Options
from rebalancer.cli.format import amount
from rebalancer.cli.unsigned import Wanted, write_down
from rebalancer.errors import (
    ConfigError,
    ContractMissing,
    ContractReverted,
    DeploymentMalformed,
    DevnetKeyOnRealChain,
    RebalancerError,
    RpcMalformed,
    RpcTimeout,
    RpcUnreachable,
    SystemRefused,
    VaultNotNamed,
)
from rebalancer.operations.actions import ETH
from rebalancer.send.open_signer import open_signer
from rebalancer.send.signed import Signer
from rebalancer.send.signer import WatchOnly, devnet_signer, keystore_address
from rebalancer.send.unsigned import CallRecorder
from rebalancer.send.wallet import Wallet
from rebalancer.settings import AccountSettings, Settings, load_chains, load_settings
from rebalancer.venues import Pool, Token
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = [
    "SIGNER",
    "Session",
    "read_chains",
    "read_settings",
]

_TICK_SECONDS = 15.0
"""Age at which measurements of several endpoints are repeated, in seconds."""

SIGNER = "rebalancer.signer"
"""Key of a context's `meta`: the signer that replaces the configured account."""

ETHER = DeployedToken("ETH", ETH, 18)
"""The native currency, as a token."""


def read_settings(options: Options) -> Settings:
    """The settings, overridden by the command line.

    Raises:
        ConfigError: a setting is not valid.
    """
    return load_settings(options.config, _overrides(options))


def read_chains(options: Options) -> tuple[Settings, ...]:
    """The settings of every selected chain: all chains, or the one that the command line names.

    Raises:
        ConfigError: a setting is not valid.
    """
    return load_chains(options.config, _overrides(options))


def _overrides(options: Options) -> dict[str, Any]:
    return {
        "rpc_url": options.rpc_url,
        "chain_id": options.chain_id,
        "deployment": str(options.deployment) if options.deployment else None,
    }


@dataclass
class Session:
    """Connection of one command to a chain. A context manager; each part is read when it is first used."""

    settings: Settings
    unsigned: Wanted | None = None
    """Where calls are written instead of signed; None to sign them."""
    notes: list[str] = field(default_factory=list)
    """Notes that are written with the calls: sentences without a full stop."""

    @classmethod
    def open(cls, options: Options) -> Self:
        """A session with the settings, overridden by the options.

        Raises:
            ConfigError: a setting is not valid.
            UsageError, SystemRefused: as `Wanted.of`.
        """
        return cls(read_settings(options), Wanted.of(click.get_current_context(silent=True)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None or issubclass(kind, NoLogs):
                self.end_if_unsigned()
        finally:
            if "rpc" in self.__dict__:
                self.rpc.close()

    def end_if_unsigned(self) -> None:
        """With --unsigned: write the files, show their content and exit the command.

        Raises:
            SystemRefused: a file cannot be written.
        """
        recorder = self.__dict__.get("_recorder")
        if recorder is None or not (recorder.now or recorder.then):
            return
        ctx = click.get_current_context()
        title = ctx.command_path.partition(" ")[2]
        as_json = bool(ctx.meta.get(JSON_REQUESTED))
        assert self.unsigned is not None  # a recorder needs it  # noqa: S101
        write_down(self.unsigned, recorder, self, title, self.notes, as_json)
        ctx.exit()

    @cached_property
    def _recorder(self) -> CallRecorder:
        assert self.unsigned is not None  # checked by `wallet`  # noqa: S101
        account, cap_wei = WatchOnly(self.unsigned.sender), self.settings.wallet.fee_cap_wei
        return CallRecorder(self.rpc, account, cap_wei, self.unsigned.valid_seconds)

    def label(self, address: str) -> str:
        """An address with a name: the symbol of a token, or the name of a system contract or of a vault."""
        with suppress(RebalancerError):
            deployment = self.deployment
            names = {at: name for name, at in deployment.contracts.items()}
            names |= {token.address: token.symbol for token in deployment.tokens}
            if address in names:
                return f"{names[address]} {address}"
        with suppress(RebalancerError):
            return f"{contract_at(self.rpc, 'BasketVault', address).call('name')} {address}"
        return address

    def amount_of(self, token: str, raw: int) -> str:
        """Raw units as whole tokens, with the token's symbol.

        Raises:
            ContractMissing: there is no token at the address.
        """
        return f"{amount(raw, self.decimals(token))} {self.symbol(token)}"

    @cached_property
    def rpc(self) -> Rpc:
        """All configured endpoints as one client, which refuses any chain other than the configured one.

        Raises:
            QuorumTooSmall: rpc_quorum is larger than the number of endpoints.
        """
        settings = self.settings
        urls = [url.get_secret_value() for url in (settings.rpc_url, *settings.more_rpc_urls)]
        return Endpoints(
            urls,
            settings.rpc_timeout_seconds,
            settings.chain_id,
            quorum=settings.rpc_quorum,
            tick_seconds=_TICK_SECONDS if len(urls) > 1 else math.inf,
            max_tip_wei=settings.max_tip_wei,
        )

    @cached_property
    def deployment(self) -> Deployment:
        """The addresses file.

        Raises:
            WrongChain: the endpoint serves a chain other than the configured one.
            DeploymentMissing, DeploymentMalformed: the file does not exist, is not readable, or is for another chain.
        """
        file, chain_id = self.settings.deployment, self.settings.chain_id
        self.rpc.chain_id()
        found = Deployment.load(file)
        if found.chain_id != chain_id:
            why = f"it is for chain {found.chain_id}, and the settings select chain {chain_id}"
            raise DeploymentMalformed(file, why)
        return found

    def save(self, deployment: Deployment) -> None:
        """Write the addresses file. If that fails, print its content, because there is no other copy.

        Raises:
            SystemRefused: the file cannot be written.
        """
        file = self.settings.deployment
        try:
            deployment.save(file)
        except OSError as problem:
            click.echo(json.dumps(asdict(deployment), indent=2))
            raise SystemRefused(
                f"{file} cannot be written",
                problem.strerror or str(problem),
                "the transactions are mined; save the content printed on standard output to this file",
            ) from None

    @cached_property
    def system(self) -> System:
        """The contracts that all vaults share.

        Raises:
            SystemMissing: the addresses file does not contain all of them.
        """
        return System.of(self.deployment)

    def vault(self, named: str | None) -> str:
        """The selected vault: the named one, or the only vault of the settings or the addresses file.

        Raises:
            VaultNotNamed: no vault is known, or more than one.
            ContractMissing: there is no vault at the address.
        """
        known = self.settings.vaults or self.deployment.vaults if named is None else (named,)
        if len(known) != 1:
            raise VaultNotNamed(known)
        self.check_vaults(known)
        return known[0]

    def vaults(self, named: str | None) -> tuple[str, ...]:
        """The selected vaults: the named one, or all of the settings, or without any all of the addresses file.

        If the endpoint does not answer, the check is skipped: the reader of the vaults handles that failure.

        Raises:
            VaultNotNamed: no vault is known.
            ContractMissing: there is no vault at one of the addresses.
        """
        if named is not None:
            return (self.vault(named),)
        known = self.settings.vaults or self.deployment.vaults
        if not known:
            raise VaultNotNamed(known)
        with suppress(RpcUnreachable, RpcTimeout, RpcMalformed):
            self.check_vaults(known)
        return tuple(known)

    def check_vaults(self, addresses: Sequence[str]) -> None:
        """Check that there is a vault at each address.

        Raises:
            ContractMissing: there is no vault at one of them. The error describes what is there.
        """
        vaults = [interface("BasketVault").at(address) for address in addresses]
        answers = self.rpc.batch_settled([vault.request("locked") for vault in vaults])
        for vault, answer in zip(vaults, answers, strict=True):
            try:
                vault.result("locked", answer)
            except (ContractMissing, ContractReverted):
                there = self._description_of(vault.address)
                raise ContractMissing("BasketVault", vault.address, there) from None

    def _description_of(self, address: str) -> str:
        """Description of an address without a vault."""
        with suppress(RebalancerError):
            for name, known in self.deployment.contracts.items():
                if known == address:
                    return f"the {name} of the addresses file"
            for token in self.deployment.tokens:
                if token.address == address:
                    return f"the token {token.symbol}"
        code = str(self.rpc.call("eth_getCode", address, "latest"))
        return "another contract" if code != "0x" else "an account without code"

    def token(self, symbol_or_address: str) -> DeployedToken:
        """A token of the addresses file, or the native currency for `ETH`.

        Raises:
            TokenNotListed: the addresses file has no such token.
        """
        if symbol_or_address.upper() == ETHER.symbol:
            return ETHER
        return self.deployment.listed(symbol_or_address)

    def symbol(self, address: str) -> str:
        """A token's symbol, or its address if the addresses file does not list it."""
        known = self.deployment.token(address)
        return ETHER.symbol if address == ETH else known.symbol if known else address

    def with_symbols(self, text: str) -> str:
        """A sentence in which symbols replace the addresses of listed tokens."""
        for token in self.deployment.tokens:
            text = text.replace(token.address, token.symbol)
        return text

    def decimals(self, address: str) -> int:
        """A token's decimals; read from the token if the addresses file does not list it.

        Raises:
            ContractMissing: there is no token at the address.
        """
        known = self.deployment.token(address)
        if address == ETH or known is not None:
            return ETHER.decimals if known is None else known.decimals
        return int(contract_at(self.rpc, "IERC20Metadata", address).call("decimals"))

    @property
    def tokens(self) -> list[Token]:
        """The tokens of the addresses file, in the form that pools use."""
        return [Token(t.address, t.symbol, t.decimals) for t in self.deployment.tokens]

    def pools(self, block: Block) -> tuple[Pool, ...]:
        """The pools of the addresses file at a block, in the form that routes use: ether appears as its wrapped token.

        Raises:
            UnsupportedPool: a pool holds ether, and the addresses file has no wrapped token.
            As `read_pools`.
        """
        known = {token.address: token for token in self.tokens}
        found = read_pools(
            self.rpc,
            self.deployment.pools,
            block,
            self.settings.chain_id,
            tokens=known,
            lens=self.system.uniswap_v3_lens,
        )
        weth = known.get(self.deployment.wrapped_native)
        return tuple(pool.as_traded(weth) for pool in found)

    def signer(self, account: AccountSettings, number: int | None) -> Signer:
        """The signer: a test account of a local chain by its number, or the configured account.

        Raises:
            DevnetKeyOnRealChain: a number was given, and the chain is not a devnet.
            SignerError: the keystore cannot be opened.
        """
        if number is not None:
            if self.settings.chain_id != DEVNET_CHAIN_ID:
                raise DevnetKeyOnRealChain(self.settings.chain_id)
            return devnet_signer(number)
        return open_signer(
            account,
            self.settings.chain_id,
            partial(_ask, account.keystore) if sys.stdin.isatty() else None,
        )

    def keepers(self, number: int | None) -> list[Signer]:
        """The keeper's signers: its own account, then `extra_accounts`; with `number` only that test account.

        Raises:
            ConfigError: an account is configured twice.
            As `signer`.
        """
        keeper = self.settings.keeper
        found = [self.signer(keeper, number)]
        if number is None:
            found += [self.signer(sender, None) for sender in keeper.extra_accounts]
        addresses = [signer.address for signer in found]
        for at, address in enumerate(addresses):
            if address in addresses[:at]:
                why = f"{address} is configured twice, but the nonces of an account are one sequence; configure it once"
                raise ConfigError("keeper.extra_accounts", "", why)
        return found

    def wallet(self, number: int | None = None, *, signs: bool = True) -> Wallet:
        """The wallet of a person's command. It reports each transaction on standard error.

        With `signs` false it needs no password. With `--unsigned` it records calls instead of sending them.

        Raises:
            UsageError: --account was given with --unsigned.
            As `signer`.
        """
        if self.unsigned is not None:
            if number is not None:
                raise click.UsageError("--from names the sender: omit --account.")
            return self._recorder
        account = self.settings.wallet
        given: Signer | None = click.get_current_context().meta.get(SIGNER)
        if given is not None:
            signer = given if signs else WatchOnly(given.address)
        else:
            signer = self.signer(account, number) if signs else self.observer(account, number)
        return Wallet(self.rpc, signer, account.fee_cap_wei, on_sent=_report_sent)

    def observer(self, account: AccountSettings, number: int | None) -> Signer:
        """An account without its key. It needs no password if the keystore contains the address.

        Raises:
            As `signer`.
        """
        keystore = account.keystore if number is None and account.signer_url is None else None
        address = keystore_address(keystore) if keystore else None
        return WatchOnly(address or self.signer(account, number).address)


def _report_sent(what: str, transaction_hash: str) -> None:
    click.echo(f"sent {what}: transaction {transaction_hash}", err=True)


def _ask(keystore: Path | None) -> str:
    password: str = click.prompt(f"Password of the keystore {keystore}", hide_input=True, err=True)
    return password
