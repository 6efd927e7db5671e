"""What a command works with: settings, the chain, its addresses, and whoever signs."""

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
from rebalancer.cli import JSON_ASKED, Options
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
"""How old what is known of several endpoints may be before they are measured anew."""

SIGNER = "rebalancer.signer"
"""Key of a context's `meta`: who signs in place of the settings' account."""

ETHER = DeployedToken("ETH", ETH, 18)
"""Native money, where a token is asked for."""


def read_settings(options: Options) -> Settings:
    """The settings, with what the command line says above them.

    Raises:
        ConfigError: something in them is wrong.
    """
    return load_settings(options.config, _overrides(options))


def read_chains(options: Options) -> tuple[Settings, ...]:
    """The settings of every chain that is meant: all, or the one that the command line names.

    Raises:
        ConfigError: something in them is wrong.
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
    """One command's dealings with a chain. A context manager; nothing is asked before it is needed."""

    settings: Settings
    unsigned: Wanted | None = None
    """Where calls are written down instead of signed."""
    notes: list[str] = field(default_factory=list)
    """Sentences without a full stop that are written down beside them."""

    @classmethod
    def open(cls, options: Options) -> Self:
        """With the settings that the options leave.

        Raises:
            ConfigError: something in the settings is wrong.
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
        """End the command, where its calls are written down and not sent: with the files, and what they say.

        Raises:
            SystemRefused: a file cannot be written.
        """
        recorder = self.__dict__.get("_recorder")
        if recorder is None or not (recorder.now or recorder.then):
            return
        ctx = click.get_current_context()
        title = ctx.command_path.partition(" ")[2]
        as_json = bool(ctx.meta.get(JSON_ASKED))
        assert self.unsigned is not None  # there is no recorder without it  # noqa: S101
        write_down(self.unsigned, recorder, self, title, self.notes, as_json)
        ctx.exit()

    @cached_property
    def _recorder(self) -> CallRecorder:
        assert self.unsigned is not None  # as `wallet` sees to  # noqa: S101
        who, cap_wei = WatchOnly(self.unsigned.sender), self.settings.wallet.fee_cap_wei
        return CallRecorder(self.rpc, who, cap_wei, self.unsigned.valid_seconds)

    def label(self, address: str) -> str:
        """An address as people know it: with the symbol of a token, the name of a contract of the system, or that of a vault."""
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
        """The endpoint, or all of them as one, which refuses to serve another chain than the settings name.

        Raises:
            QuorumTooSmall: there are fewer endpoints than must agree.
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
            WrongChain: the endpoint serves another chain than the settings name.
            DeploymentMissing, DeploymentMalformed: there is none that can be read, or it is of another chain.
        """
        file, chain_id = self.settings.deployment, self.settings.chain_id
        self.rpc.chain_id()
        found = Deployment.load(file)
        if found.chain_id != chain_id:
            why = f"it is of chain {found.chain_id}, and the settings say {chain_id}"
            raise DeploymentMalformed(file, why)
        return found

    def save(self, deployment: Deployment) -> None:
        """Write the addresses file. Where that fails, print what it would hold: chain and money know no other copy.

        Raises:
            SystemRefused: it cannot be written.
        """
        file = self.settings.deployment
        try:
            deployment.save(file)
        except OSError as problem:
            click.echo(json.dumps(asdict(deployment), indent=2))
            raise SystemRefused(
                f"{file} cannot be written",
                problem.strerror or str(problem),
                "the transactions are mined, and standard output has what the file must hold; save it there",
            ) from None

    @cached_property
    def system(self) -> System:
        """The contracts that serve every vault.

        Raises:
            SystemMissing: the addresses file does not name them all.
        """
        return System.of(self.deployment)

    def vault(self, named: str | None) -> str:
        """The vault that is meant: the one named, or the only one that settings or addresses know.

        Raises:
            VaultNotNamed: there is none, or more than one.
            ContractMissing: what is there is no vault.
        """
        known = self.settings.vaults or self.deployment.vaults if named is None else (named,)
        if len(known) != 1:
            raise VaultNotNamed(known)
        self.check_vaults(known)
        return known[0]

    def vaults(self, named: str | None) -> tuple[str, ...]:
        """The vaults that are meant: the one named, or all that the settings know, or else the addresses.

        An endpoint that does not answer holds up nothing: whoever reads the vaults then deals with it.

        Raises:
            VaultNotNamed: there is none.
            ContractMissing: what is at one of the addresses is no vault.
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
        """Make sure that there is a vault at each of these addresses.

        Raises:
            ContractMissing: there is none at one of them; with what is there.
        """
        vaults = [interface("BasketVault").at(address) for address in addresses]
        answers = self.rpc.batch_settled([vault.request("locked") for vault in vaults])
        for vault, answer in zip(vaults, answers, strict=True):
            try:
                vault.result("locked", answer)
            except (ContractMissing, ContractReverted):
                there = self._what_is_at(vault.address)
                raise ContractMissing("BasketVault", vault.address, there) from None

    def _what_is_at(self, address: str) -> str:
        """What stands at an address that is no vault."""
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
        """A token of the addresses file, or native money for `ETH`.

        Raises:
            TokenNotListed: the addresses file has no such token.
        """
        if symbol_or_address.upper() == ETHER.symbol:
            return ETHER
        return self.deployment.listed(symbol_or_address)

    def symbol(self, address: str) -> str:
        """A token's symbol for people, or its address where the addresses file does not know it."""
        known = self.deployment.token(address)
        return ETHER.symbol if address == ETH else known.symbol if known else address

    def with_symbols(self, text: str) -> str:
        """A sentence with symbols in place of the addresses of tokens that the addresses file knows."""
        for token in self.deployment.tokens:
            text = text.replace(token.address, token.symbol)
        return text

    def decimals(self, address: str) -> int:
        """A token's decimals, asked of the token itself where the addresses file does not know it.

        Raises:
            ContractMissing: there is no token at the address.
        """
        known = self.deployment.token(address)
        if address == ETH or known is not None:
            return ETHER.decimals if known is None else known.decimals
        return int(contract_at(self.rpc, "IERC20Metadata", address).call("decimals"))

    @property
    def tokens(self) -> list[Token]:
        """The tokens of the addresses file, as pools name them."""
        return [Token(t.address, t.symbol, t.decimals) for t in self.deployment.tokens]

    def pools(self, block: Block) -> tuple[Pool, ...]:
        """The pools of the addresses file, at a block, as routes see them: of the wrapped token where they hold ether.

        Raises:
            UnsupportedPool: a pool holds ether, and the addresses file does not know what wraps it.
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
        """Who signs: a local chain's account by number, or the one in the settings.

        Raises:
            DevnetKeyOnRealChain: a number was given and this is no devnet.
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
        """The keeper's accounts, its own first and then its lanes': a local chain's account by number alone.

        Raises:
            ConfigError: an account is named twice.
            As `signer`.
        """
        keeper = self.settings.keeper
        found = [self.signer(keeper, number)]
        if number is None:
            found += [self.signer(sender, None) for sender in keeper.extra_accounts]
        addresses = [signer.address for signer in found]
        for at, address in enumerate(addresses):
            if address in addresses[:at]:
                why = f"{address} is configured twice, but an account has one sequence of nonces; configure it once"
                raise ConfigError("keeper.extra_accounts", "", why)
        return found

    def wallet(self, number: int | None = None, *, signs: bool = True) -> Wallet:
        """The wallet for what people do; it says on standard error what it sends. One that never `signs` asks for no password.

        With `--unsigned` it is one that writes down what it would send.

        Raises:
            UsageError: another account is named than the one that is to send what is written down.
            As `signer`.
        """
        if self.unsigned is not None:
            if number is not None:
                raise click.UsageError("--from names the sender: leave out --account.")
            return self._recorder
        account = self.settings.wallet
        given: Signer | None = click.get_current_context().meta.get(SIGNER)
        if given is not None:
            signer = given if signs else WatchOnly(given.address)
        else:
            signer = self.signer(account, number) if signs else self.observer(account, number)
        return Wallet(self.rpc, signer, account.fee_cap_wei, on_sent=_report_sent)

    def observer(self, account: AccountSettings, number: int | None) -> Signer:
        """An account without its key, so without asking for the password of its keystore, where that says whose key it holds.

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
