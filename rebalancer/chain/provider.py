"""web3 integration: a web3 provider over this project's endpoints, and an `Rpc` over any web3 provider.

`Web3(FailoverProvider([url, url]))` is an ordinary `Web3` whose requests fail over between endpoints and end at a
deadline, whose answers are checked, and whose errors contain no secret. `rpc_of(w3)` is an `Rpc` for the snapshot, the
planner and the keeper, over the provider of any `Web3`. `web3_over(rpc)` is the minimal `Web3` that `chain.contracts`
reads with.

Import this module only where web3 is needed: the import takes longer than some commands.
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
    """A web3 provider over several JSON-RPC endpoints of one chain. Not thread-safe.

    If no endpoint answers, this project's `ChainError` is raised. A node's error about the request itself is returned
    to web3, which raises its own exceptions (`ContractLogicError` with a revert's data, `Web3RPCError`).

    If a contract reverts with `OffchainLookup` (EIP-3668), web3 would fetch URLs that the contract chooses. This is
    disabled unless `global_ccip_read_enabled` is set on the provider.
    """

    global_ccip_read_enabled = False

    def __init__(self, urls: str | Sequence[str], timeout_s: float = 10.0, **settings: Any) -> None:
        """`urls` in order of preference; `timeout_s` for a whole request over all endpoints; `settings`: arguments of
        `Endpoints`.

        Raises:
            QuorumTooSmall: there are fewer endpoints than the quorum.
            RpcUnreachable: a URL is not valid.
        """
        super().__init__()
        wanted = [urls] if isinstance(urls, str) else list(urls)
        self.rpc = Endpoints(wanted, timeout_s, **settings)

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The answer to one request, as JSON-RPC."""
        (answer,) = self.rpc.batch_settled([(method, params)])
        return self._response(answer)

    def make_batch_request(self, batch_requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse] | RPCResponse:
        """The answers to several requests, in their order, in as few HTTP requests as the endpoint accepts."""
        return [self._response(answer) for answer in self.rpc.batch_settled(batch_requests)]

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether an endpoint of the expected chain answers.

        Raises:
            ChainError: no endpoint answers; only with `show_traceback`.
        """
        try:
            self.rpc.chain_id()
        except ChainError:
            if show_traceback:
                raise
            return False
        return True

    def disconnect(self) -> None:
        """Close all connections; the next request opens new ones."""
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
    """An `Rpc` over a `Web3`'s provider: the provider's own endpoints if it is a `FailoverProvider`.

    The `Web3`'s middleware is bypassed, because it converts answers to other types.
    """
    provider = w3.provider
    return provider.rpc if isinstance(provider, FailoverProvider) else _ProviderRpc(provider)


class RpcProvider(JSONBaseProvider):
    """A provider over an `Rpc`, for contract reads. A rejection is raised here, so web3 does not interpret it."""

    global_ccip_read_enabled = False

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The answer to one request.

        Raises:
            ContractReverted: a contract reverted.
            RpcRejected: the node rejected the request.
        """
        if method == "eth_getCode":
            # web3 reads the code after an empty result, to choose its error message. All its variants mean
            # ContractMissing here.
            return {"jsonrpc": "2.0", "id": 0, "result": "0x"}
        (answer,) = self._rpc.batch_settled([(method, params)])
        if isinstance(answer, RpcRejected):
            raise reverted(answer) from None
        return {"jsonrpc": "2.0", "id": 0, "result": answer}


def web3_over(rpc: Rpc) -> Web3:
    """A `Web3` over an `Rpc`, without middleware: the middleware would read the chain id at every call.

    Strings are decoded as `abi` decodes them.
    """
    w3 = Web3(RpcProvider(rpc), middleware=[])
    w3.codec = ABICodec(CODERS)
    return w3


class _ProviderRpc(Rpc):
    """An `Rpc` over another library's provider."""

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
        """Does nothing: the provider belongs to the caller."""

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
            reason = self._cleaned(f"{type(failure).__name__}: {failure}")
            raise RpcUnreachable(self.endpoint, reason) from None
        if not isinstance(answers, list) or len(answers) != len(calls):
            raise RpcMalformed(self.endpoint, "the number of answers differs from the number of requests")
        return [self.checked(method, params, answer) for (method, params), answer in zip(calls, answers, strict=True)]
