"""What a policy shows to its peers: a table of exported methods by full path, each with the role it needs.

Nothing else can be reached: a path is looked up in a dict, no attribute is walked, and a name that begins
with an underscore is in no table. Functions of the user's are called by name through
``central.command.submit``, and code that a peer ships is run only where both sides hold the signing key and
both said so.
"""

from __future__ import annotations

from functools import partial

from laila.contract.protocol import ROLES
from laila.errors import InvalidArgumentError, PeerRefusedError, RemoteError
from laila.peering.exports import exported_functions
from laila.peering.granting import serve_leases
from laila.peering.server import ServedMemory
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.central.interface import LocalPolicy
    from laila.contract.protocol import Request, Role
    from laila.peering.exports import ExportedFunction

__all__ = ["ExportedMethods", "Method", "allows"]


def allows(role: Role, needed: Role) -> bool:
    """Whether a peer that was granted ``role`` may call what needs ``needed``."""
    return ROLES.index(role) >= ROLES.index(needed)


class Method:
    """One exported method: what runs, and the role a peer needs."""

    __slots__ = ("call", "non_blocking", "role", "with_request")

    def __init__(
        self,
        role: Role,
        call: Callable[..., object],
        *,
        non_blocking: Callable[..., bool] | bool = False,
        with_request: bool = False,
    ) -> None:
        self.role = role
        self.call = call
        self.non_blocking = non_blocking
        self.with_request = with_request


class ExportedMethods:
    """The methods of one policy by full path. Thread-safe; the table never changes."""

    def __init__(self, policy: LocalPolicy) -> None:
        self._policy = policy
        central = policy.central
        served = ServedMemory(central.memory)
        non_blocking = served.non_blocking
        self.table: dict[tuple[str, ...], Method] = {
            ("describe",): Method("read", self._describe, with_request=True),
            ("find",): Method("read", served.find),
            ("central", "memory", "remember"): Method("read", served.remember, non_blocking=non_blocking),
            ("central", "memory", "remember_leaves"): Method(
                "read", served.remember_leaves, non_blocking=non_blocking
            ),
            ("central", "memory", "open"): Method("read", served.open, non_blocking=non_blocking),
            ("central", "memory", "read_parts"): Method("read", served.read_parts, non_blocking=non_blocking),
            ("central", "memory", "present"): Method("read", served.present, non_blocking=non_blocking),
            ("central", "memory", "holds"): Method("read", served.holds, non_blocking=non_blocking),
            ("central", "memory", "history"): Method("read", served.history, non_blocking=non_blocking),
            ("central", "memory", "describe"): Method("read", served.describe),
            ("central", "memory", "memorize"): Method("write", served.memorize, non_blocking=non_blocking),
            ("central", "memory", "leases"): Method(
                "write", partial(serve_leases, central.memory.grants), non_blocking=True
            ),
            ("central", "memory", "forget"): Method("write", served.forget, non_blocking=non_blocking),
            ("central", "memory", "forget_manifest"): Method("write", served.forget_manifest),
            # Each function has a role of its own, which is looked at too.
            ("central", "command", "submit"): Method("read", self._submit, with_request=True),
            ("central", "command", "run"): Method("admin", self._run),
            ("central", "command", "start"): Method("admin", central.command.start),
            ("central", "command", "pause"): Method("admin", central.command.pause),
            ("environment",): Method("admin", lambda: policy.environment),
        }

    def find(self, peer: str, request: Request) -> Method:
        """Return the method that is meant. Raises :class:`PeerRefusedError` where the peer may not."""
        method = self.table.get(request.path)
        if method is None:
            raise PeerRefusedError(
                f"{shown(request.method)} is not exported; `describe` lists what is", peer=peer
            )
        if not allows(request.role, method.role):
            raise PeerRefusedError(
                f"{request.method} needs the role {shown(method.role)}, and the secret you connected "
                "with grants "
                f"{shown(request.role)}",
                peer=peer,
            )
        return method

    def check(self, peer: str, request: Request) -> None:
        """Raise :class:`PeerRefusedError` where the peer may not call this, whatever the arguments are."""
        method = self.find(peer, request)
        if method.call == self._submit and request.args and isinstance(request.args[0], str):
            self._function(request, request.args[0])

    def dispatch(self, peer: str, request: Request) -> object:
        """Call the method that is meant. Raises :class:`PeerRefusedError`, and what the method raises."""
        method = self.find(peer, request)
        before = (request,) if method.with_request else ()
        try:
            return method.call(*before, *request.args, **request.kwargs)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                # It never got into the method: the arguments are not the method's.
                raise InvalidArgumentError(f"{request.method}: {said(error)}") from error
            raise

    def non_blocking(self, request: Request) -> bool:
        """Whether calling the method that is meant never waits."""
        method = self.table.get(request.path)
        if method is None:
            return True
        return method.non_blocking(**request.kwargs) if callable(method.non_blocking) else method.non_blocking

    # -- the policy itself -----------------------------------------------------------------------------------

    def _describe(self, request: Request) -> dict[str, object]:
        """Say what is here, and what the caller may do with it."""
        from importlib_metadata import version

        router = self._policy.central.memory.router
        names = {pool.global_id: name for name, pool in router.nicknames.items()}
        return {
            "policy": self._policy.global_id,
            "nickname": self._policy.nickname,
            "version": version("laila-core"),
            "role": request.role,
            "pools": [
                {
                    "pool_id": gid,
                    "nickname": names.get(gid),
                    "kind": type(pool).__name__,
                    "affinity": router.affinities.get(gid, 0.0),
                    "durability": pool.durability,
                    "alpha": pool is router.alpha_pool,
                }
                for gid, pool in router.pools.items()
            ],
            "methods": sorted(
                ".".join(path) for path, method in self.table.items() if allows(request.role, method.role)
            ),
            "functions": [
                {"name": function.name, "role": function.role, "summary": function.summary}
                for function in exported_functions().values()
                if allows(request.role, function.role)
            ],
            "runs_signed_code": self._policy.central.communication.run_signed_code,
        }

    def _submit(
        self,
        request: Request,
        function: str,
        args: list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        taskforce_id: str | None = None,
        memorize_to: str | None = None,
    ) -> object:
        """Have the task force run the exported function of that name."""
        exported = self._function(request, function)
        self._check_memorizes(request, memorize_to)
        arguments, named = list(args or ()), dict(kwargs or {})
        work = exported.function
        return self._policy.central.command.submit(
            lambda: _settled(work(*arguments, **named)), taskforce_id=taskforce_id, memorize_to=memorize_to
        )

    def _check_memorizes(self, request: Request, memorize_to: object) -> None:
        """Refuse a pool to store to where the peer may not write."""
        if memorize_to is None:
            return
        if not isinstance(memorize_to, str):
            raise InvalidArgumentError(f"memorize_to is the nickname of a pool, not {shown(memorize_to)}")
        if not allows(request.role, "write"):
            raise PeerRefusedError(
                f"memorize_to needs the role 'write', and the secret you connected with grants "
                f"{shown(request.role)}",
                peer=self._policy.global_id,
            )

    def _function(self, request: Request, function: object) -> ExportedFunction:
        exported = exported_functions().get(function) if isinstance(function, str) else None
        if exported is None or not allows(request.role, exported.role):
            raise PeerRefusedError(
                f"no function {shown(function)} is exported to the role {shown(request.role)}; "
                "`describe` lists those that are",
                peer=self._policy.global_id,
            )
        return exported

    def _run(self, code: object, taskforce_id: str | None = None, memorize_to: str | None = None) -> object:
        """Have the task force run a callable that was shipped, and so was signed with a key of this side."""
        from laila.blob.blob import Blob

        if not self._policy.central.communication.run_signed_code:
            raise PeerRefusedError(
                "this policy runs no code of others; laila.communication.run_signed_code = True over there "
                "lets it run what is signed with a key that both have",
                peer=self._policy.global_id,
            )
        from laila.codec import decode
        from laila.codec.trust import CODE_KEY

        if not isinstance(code, Blob) or code.signature is None or code.key != CODE_KEY:
            raise InvalidArgumentError(
                f"code comes as a blob with the id {CODE_KEY}, signed as code; what was stored as a value "
                "is none"
            )

        work = decode(code)
        if not callable(work):
            raise InvalidArgumentError(f"the code is a {type(work).__name__}, which cannot be called")
        return self._policy.central.command.submit(
            lambda: _settled(work()), taskforce_id=taskforce_id, memorize_to=memorize_to
        )


def _settled(value: object) -> object:
    """Refuse what has no meaning elsewhere."""
    from inspect import isawaitable

    from laila.futures.base import FutureBase

    if isinstance(value, FutureBase):
        return value.wait()
    if isawaitable(value):
        close = getattr(value, "close", None)
        if close is not None:
            close()  # a coroutine that nobody will await
        raise RemoteError(
            f"the function gave a {type(value).__name__}, which cannot be sent: return its result",
            type_name=type(value).__name__,
        )
    return value
