"""Turn errors of redis-py into errors of laila that say what to do, and show no password."""

from __future__ import annotations

import errno
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from laila.contract import empty_frames, shown
from laila.errors import LailaError, PoolClosedError, PoolError
from laila.pool.redis.connections import ClosedError, TooManyCallsError
from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laila.pool.redis.settings import RedisSettings

__all__ = ["reporting"]

# Older servers say in the text of the script's error why they refused a command of the script.
_NOT_ALLOWED = ("-NOPERM ", "ACL failure in script", "The user executing the script can't")
_CLUSTER = ("CLUSTERDOWN ", "MOVED ", "ASK ", "CROSSSLOT ", "TRYAGAIN ")
_PERHAPS = "A write may have happened or not; to store the same again does no harm"


@contextmanager
def reporting(what: str, where: str, label: str, settings: RedisSettings) -> Iterator[None]:
    """Turn an error of the body into a :class:`PoolError` of the pool ``label``; the server is ``where``."""
    try:
        yield
    except PoolError as error:
        error.pool = label
        raise
    except ClosedError:
        raise PoolClosedError(
            f"cannot {what}: the pool {shown(label)} was closed; open it again before using it", pool=label
        ) from None
    except TooManyCallsError:
        raise PoolError(
            f"cannot {what}: all {settings.max_connections} connections to {where} were in use for "
            f"{settings.timeout:g} seconds; raise max_connections=, or make fewer calls at once",
            pool=label,
            errno=errno.EAGAIN,
        ) from None
    except (exceptions.RedisError, OSError) as error:
        number, text = _explain(error, where, settings)
        text, leaks = _covered(text, error, settings)
        empty_frames(error)  # those of redis-py's that log in
        raise PoolError(f"cannot {what}: {text}", pool=label, errno=number) from (None if leaks else error)
    except LailaError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise PoolError(
            f"cannot {what}: {where} answered what no Redis server does to such a command; what runs there?",
            pool=label,
        ) from error


def _covered(text: str, error: Exception, settings: RedisSettings) -> tuple[str, bool]:
    """Return ``text`` without the password, and whether ``error`` or a cause of it shows the password."""
    secret = settings.password
    if not secret:
        return text, False
    return text.replace(secret, "…"), any(secret in str(cause) for cause in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain(error: Exception, where: str, settings: RedisSettings) -> tuple[int | None, str]:
    """Return the errno that fits, and the message."""
    said = str(error)
    if isinstance(error, exceptions.AuthenticationError):
        return errno.EACCES, _authentication(said, where, settings)
    if isinstance(error, exceptions.NoPermissionError) or _has(said, *_NOT_ALLOWED):
        user = settings.username or "default"
        return errno.EACCES, (
            f"the user {shown(user)} may not do this in {where} ({said}); give it the keys and commands "
            "that the "
            "page of this pool names (ACL SETUSER), or another user by username="
        )
    if isinstance(error, exceptions.OutOfMemoryError) or _has(said, "-OOM "):
        return errno.ENOSPC, (
            f"{where} is full ({said}): what is there stays; make room, raise its maxmemory, or let a cache "
            "forget (ttl= and a maxmemory-policy)"
        )
    if isinstance(error, exceptions.ReadOnlyError) or _has(said, "-READONLY "):
        return errno.EROFS, f"{where} is a replica, which only reads ({said}); give the URL of its primary"
    if isinstance(error, exceptions.BusyLoadingError):
        return errno.EAGAIN, f"{where} is still loading its data; try again, or raise retry_for="
    # redis-py has had classes for some of these only since 6.0, and they leave the code out of the text.
    cluster = exceptions.ClusterError | exceptions.AskError | exceptions.ClusterCrossSlotError
    if isinstance(error, cluster) or said.startswith(_CLUSTER):
        return errno.EOPNOTSUPP, (
            f"{where} belongs to a Redis Cluster ({said}), which this pool does not support; give the URL of "
            "a single server"
        )
    if isinstance(error, exceptions.ResponseError):
        return _refusal(said, where)
    if isinstance(error, exceptions.InvalidResponse):
        return errno.EPROTO, f"what answers at {where} is no Redis server ({said}); correct url="
    return _connection(error, said, where, settings)


def _has(said: str, *words: str) -> bool:
    return any(word in said for word in words)


def _authentication(said: str, where: str, settings: RedisSettings) -> str:
    how = "password= (LAILA_REDIS_PASSWORD) and, for an ACL user, username="
    if settings.password is None:
        return f"{where} wants a password ({said}); give {how}"
    if "without any password configured" in said or "no password is set" in said:
        return f"{where} has no password, but one was given ({said}); leave it out, or give a username= too"
    user = shown(settings.username or "default")
    return f"{where} refuses user {user} with this password ({said}); give {how}"


def _refusal(said: str, where: str) -> tuple[int | None, str]:
    if said.startswith("MISCONF"):
        return errno.EIO, f"{where} cannot write to its disk and takes nothing until it can ({said})"
    if said.startswith("BUSY"):
        return errno.EBUSY, f"{where} is busy with a script of somebody's ({said}); try again"
    if "WRONGTYPE" in said:
        return errno.EINVAL, (
            f"a key that should be this pool's is of another kind ({said}): another program uses the same "
            f"prefix in {where}; choose another prefix="
        )
    if "max number of clients" in said:
        return errno.EAGAIN, f"{where} has as many clients as it takes ({said}); raise its maxclients"
    return None, f"{where} says: {said}"


def _connection(error: Exception, said: str, where: str, settings: RedisSettings) -> tuple[int | None, str]:
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return errno.EACCES, (
                f"the certificate of {where} is not trusted ({cause.verify_message}); give the file of its "
                "authority by tls_ca=, and use the host name that the certificate is for"
            )
        if isinstance(cause, ssl.SSLError):
            return errno.EPROTO, f"no TLS with {where} ({cause.reason or cause}); is redis:// meant?"
    number = next((link.errno for link in _chain(error) if isinstance(link, OSError) and link.errno), None)
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        tls = "; does it speak TLS there?" if where.startswith("rediss:") else ""
        return errno.ETIMEDOUT, (
            f"{where} did not answer in time: timeout={settings.timeout:g}, "
            f"connect_timeout={settings.connect_timeout:g} seconds{tls}. {_PERHAPS}"
        )
    if number in (errno.ECONNREFUSED, errno.ENOENT):
        return number, f"no server at {where} ({said}); start it, or correct url="
    if "max number of clients" in said:
        return errno.EAGAIN, f"{where} has as many clients as it takes; raise its maxclients"
    return number or errno.ECONNRESET, (
        f"the connection to {where} cannot be made, or was lost ({said}). {_PERHAPS}"
    )
