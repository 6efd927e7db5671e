"""Batch files of calls for Safe's web app, in the format of its Transaction Builder, version 1.0.

The checksum is that of `apps/tx-builder/src/lib/checksum.ts` in github.com/safe-global/safe-react-apps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from rebalancer.send.unsigned import UnsignedCall

__all__ = ["checksum", "safe_batch"]


def safe_batch(
    calls: Sequence[UnsignedCall], *, chain_id: int, safe: str, made_at: int, name: str, description: str
) -> dict[str, Any]:
    """Content of a batch file for Safe's Transaction Builder. `made_at` is in unix seconds.

    Calls are given as bytes, so that the signed data is the simulated data: the builder encodes nothing.
    """
    batch = {
        "version": "1.0",
        "chainId": str(chain_id),
        "createdAt": made_at * 1_000,
        "meta": {
            "name": name,
            "description": description,
            "createdFromSafeAddress": to_checksum_address(safe),
            "createdFromOwnerAddress": "",
        },
        "transactions": [
            {
                "to": to_checksum_address(call.to),
                "value": str(call.value_wei),
                "data": call.data,
                "contractMethod": None,
                "contractInputsValues": None,
            }
            for call in calls
        ],
    }
    batch["meta"]["checksum"] = checksum(batch)  # type: ignore[index]  # it is a dict
    return batch


def checksum(batch: Mapping[str, Any]) -> str:
    """Checksum of a batch file, to compare with `meta.checksum`; the name and the checksum itself are not part of
    it."""
    meta = {**batch["meta"], "name": None}
    meta.pop("checksum", None)
    return "0x" + keccak(text=_serialized({**batch, "meta": meta})).hex()


def _serialized(value: Any) -> str:
    """The builder's own text of a JSON value: an object begins with the list of its keys, and a comma follows each
    value."""
    if isinstance(value, Mapping):
        keys = sorted(value)
        return "{" + _json(keys) + "".join(_serialized(value[key]) + "," for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_serialized, value)) + "]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
