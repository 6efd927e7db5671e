"""`rebalancer deploy` with Ape's network and account: `ape run deploy --account ALIAS --network … --chain FILE`.

Endpoint, chain and account come from Ape; all options of `rebalancer deploy` follow. Without `--account` the account
comes from the settings, as in that command. Every account type of Ape can sign: a keyfile, a Ledger or Trezor, Frame, a
Safe, each with its plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ape
import click
from ape.api import AccountAPI
from ape.cli import ConnectedProviderCommand, account_option
from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc
from rebalancer.cli.main import root
from rebalancer.cli.session import SIGNER
from rebalancer.errors import SignerUnavailable
from rebalancer.send.signed import SignedTransaction


class ApeSigner:
    """Signer with an account of Ape. For a Safe, the submitter's transaction that executes the Safe's transaction is
    signed."""

    def __init__(self, account: AccountAPI) -> None:
        self._account = account
        self.address: str = account.address.lower()

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction with eth-account's fields.

        Raises:
            SignerUnavailable: the account's owner declined, or a Safe lacks signatures.
        """
        ecosystem = ape.networks.active_provider.network.ecosystem
        wanted = ecosystem.create_transaction(
            type=transaction["type"],
            chain_id=transaction["chainId"],
            sender=self._account.address,
            receiver=transaction.get("to"),
            nonce=transaction["nonce"],
            data=transaction["data"],
            value=transaction["value"],
            gas_limit=transaction["gas"],
            max_fee=transaction["maxFeePerGas"],
            max_priority_fee=transaction["maxPriorityFeePerGas"],
        )
        signed = self._account.sign_transaction(wanted)
        if signed is None:
            raise SignerUnavailable(f"Ape's account {self._account.alias or self.address}", "it declined")
        raw = bytes(signed.serialize_transaction())
        return SignedTransaction(raw, "0x" + keccak(raw).hex())


@click.command(cls=ConnectedProviderCommand, context_settings={"ignore_unknown_options": True})
@account_option(prompt=False)
@click.option("--deployment", metavar="FILE", help="Addresses file, if not the settings'.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def cli(ctx: click.Context, account: AccountAPI | None, deployment: str | None, options: tuple[str, ...]) -> None:
    """Deploy the system: the options are those of `rebalancer deploy`; see `rebalancer deploy --help`."""
    url = str(ape.networks.active_provider.uri)
    with Rpc(url, timeout_s=60) as rpc:  # in Ape, every local chain has the id 1337
        where = ["--rpc-url", url, "--chain-id", str(rpc.chain_id())]
    if deployment is not None:
        where += ["--deployment", deployment]
    if account is not None:
        ctx.meta[SIGNER] = ApeSigner(account)
    root.main(args=[*where, "deploy", *options], prog_name="rebalancer", parent=ctx)
