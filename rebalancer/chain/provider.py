"""This project's endpoints under anybody's web3 code, and anybody's `Web3` under this project's.

`Web3(FailoverProvider([url, url]))` is an ordinary `Web3` whose questions fail over between endpoints, end at a deadline, are checked
when they come back, and whose errors hold no secret. `rpc_of(w3)` is what the snapshot, the planner and the keeper ask, over whatever
provider a `Web3` has. `web3_over(rpc)` is the bare one by which `chain.contracts` reads.

Of this package only what reads by web3 imports this module, and only when it does: web3 takes longer to import than some commands take to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eth_abi.codec import ABICodec
from web3 import Web3
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCError, RPCResponse

from rebalancer.abi import CODERS, Call
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.interfaces import reverted
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, RpcMalformed, RpcRejected, RpcUnreachable
from rebalancer.redact import Redactor, endpoint_name

__all__ = ["FailoverProvider", "RpcProvider", "rpc_of", "web3_over"]


class FailoverProvider(JSONBaseProvider):
    """A web3 provider over several JSON-RPC endpoints of one chain. Not to be shared by threads.

    What no endpoint answers is raised as this project's `ChainError`; what a node says of the question itself is given to web3, which
    raises its own errors of it (`ContractLogicError` with a revert's data, `Web3RPCError`).

    A contract that refuses with `OffchainLookup` (EIP-3668) has web3 fetch URLs of the contract's choice; that is off unless whoever made
    the provider sets `global_ccip_read_enabled`.
    """

    global_ccip_read_enabled = False

    def __init__(self, urls: str | Sequence[str], timeout_s: float = 10.0, **settings: Any) -> None:
        """`urls` in order of preference; `timeout_s` for a whole question, however many are asked; `settings` as `Endpoints` takes them.

        Raises:
            QuorumTooSmall: there are fewer endpoints than must agree.
            RpcUnreachable: a URL is none.
        """
        super().__init__()
        wanted = [urls] if isinstance(urls, str) else list(urls)
        self.rpc = Endpoints(wanted, timeout_s, **settings)

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One question's answer, as JSON-RPC has it."""
        (answer,) = self.rpc.batch_settled([(method, params)])
        return self._response(answer)

    def make_batch_request(self, batch_requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse] | RPCResponse:
        """Many questions' answers, in their order, in as few requests as the endpoint takes."""
        return [self._response(answer) for answer in self.rpc.batch_settled(batch_requests)]

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether an endpoint of the right chain answers.

        Raises:
            ChainError: with `show_traceback`, why none does.
        """
        try:
            self.rpc.chain_id()
        except ChainError:
            if show_traceback:
                raise
            return False
        return True

    def disconnect(self) -> None:
        """Drop all connections; the next question opens new ones."""
        self.rpc.close()

    def _response(self, answer: Any) -> RPCResponse:
        number = next(self.request_counter)
        if not isinstance(answer, RpcRejected):
            return {"jsonrpc": "2.0", "id": number, "result": answer}
        error: RPCError = {"code": answer.code, "message": answer.message}
        if answer.data:
            error["data"] = "0x" + answer.data.hex()
        return {"jsonrpc": "2.0", "id": number, "error": error}


def rpc_of(w3: Web3) -> Rpc:
    """What asks over a `Web3`'s provider: its endpoints, if it is a `FailoverProvider`.

    The `Web3`'s middleware is not asked: it turns answers into other types.
    """
    provider = w3.provider
    return provider.rpc if isinstance(provider, FailoverProvider) else _ProviderRpc(provider)


class RpcProvider(JSONBaseProvider):
    """A provider over an `Rpc`, for reads of contracts. What a node refuses is raised here, so that web3 has no part in reading it."""

    global_ccip_read_enabled = False

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One question's answer.

        Raises:
            ContractReverted: a contract refused.
            RpcRejected: the node refused.
        """
        if method == "eth_getCode":
            # Asked by web3 where an answer is empty, to word its error by: to us it is not this contract either way.
            return {"jsonrpc": "2.0", "id": 0, "result": "0x"}
        (answer,) = self._rpc.batch_settled([(method, params)])
        if isinstance(answer, RpcRejected):
            raise reverted(answer) from None
        return {"jsonrpc": "2.0", "id": 0, "result": answer}


def web3_over(rpc: Rpc) -> Web3:
    """A `Web3` whose questions an `Rpc` answers, without middleware: that asks for the chain's id at every call.

    Strings are decoded as `abi` decodes them.
    """
    w3 = Web3(RpcProvider(rpc), middleware=[])
    w3.codec = ABICodec(CODERS)
    return w3


class _ProviderRpc(Rpc):
    """Asks over a provider of somebody else's."""

    def __init__(self, provider: Any, timeout_s: float = 10.0) -> None:
        url = str(getattr(provider, "endpoint_uri", ""))
        named = endpoint_name(url)
        self.endpoint = type(provider).__name__ if "(" in named else named
        self.timeout_s = timeout_s
        self.expected_chain_id = None
        self.deadline = None
        self.max_tip_wei = None
        self._provider = provider
        self._clean = Redactor.of_url(url)
        self._requests = 0
        self._chain_known = True

    def close(self) -> None:
        """Leaves the provider as it is: it belongs to whoever made it."""

    def _settle(self, calls: Sequence[Call]) -> list[Any]:
        self._seconds_left()
        self._requests += 1
        requested = [(RPCEndpoint(method), list(params)) for method, params in calls]
        try:
            if len(requested) > 1 and hasattr(self._provider, "make_batch_request"):
                answers = self._provider.make_batch_request(requested)
            else:
                answers = [self._provider.make_request(*each) for each in requested]
        except ChainError:
            raise
        except Exception as failure:  # noqa: BLE001 (providers raise whatever the library below them raises)
            reason = self._last_reason(f"{type(failure).__name__}: {failure}")
            raise RpcUnreachable(self.endpoint, reason) from None
        if not isinstance(answers, list) or len(answers) != len(calls):
            raise RpcMalformed(self.endpoint, "another number of answers than of questions")
        return [self.checked(method, params, answer) for (method, params), answer in zip(calls, answers, strict=True)]
