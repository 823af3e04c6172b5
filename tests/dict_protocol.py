"""A protocol without a network: it reaches the policies of this process, by the bytes of messages."""

from __future__ import annotations

import json
from typing import Any

import laila
from laila.contract import Protocol, Request
from laila.contract.wire import pack, pack_call, unpack, unpack_call
from laila.errors import PeerDisconnectedError

__all__ = ["WIRES", "DictProtocol"]

WIRES: dict[str, Any] = {}


class DictProtocol(Protocol):
    """Reaches the policies of this process, through JSON text and the bytes of blobs."""

    schemes = ("dict",)

    def __init__(self, role: Any = "write") -> None:
        super().__init__()
        self.role = role
        self.open = True

    def _start(self, node: Any) -> None:
        WIRES[node.policy_id] = (self, node)

    def _stop(self) -> None:
        self.open = False

    def _connect(self, uri: str, secret: str) -> str:
        peer = uri.partition("://")[2]
        other, node = WIRES[peer]
        mine = self._node
        assert mine is not None
        other._node.peer_joined(mine.policy_id, other)
        mine.peer_joined(node.policy_id, self)
        return peer

    def _call(self, peer: str, request: Request) -> object:
        other, node = WIRES[peer]
        if not other.open or not self.open:
            raise PeerDisconnectedError("gone", peer=peer)
        tree, blobs = pack_call(request.args, request.kwargs)
        text, pieces = json.dumps(tree), [bytes(blob) for blob in blobs]
        args, kwargs = unpack_call(json.loads(text), [laila.Blob.from_bytes(piece) for piece in pieces])
        assert self._node is not None
        result = node.dispatch(self._node.policy_id, Request(request.path, args, kwargs, role=other.role))
        if isinstance(result, (laila.Future, laila.GroupFuture)):
            result = result.wait()
        tree_back, blobs = pack(result)
        back = [laila.Blob.from_bytes(bytes(blob)) for blob in blobs]
        return unpack(json.loads(json.dumps(tree_back)), back)
