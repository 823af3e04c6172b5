"""Every error laila raises, in one tree.

Each class derives from :class:`LailaError` and from the built-in that a caller who knows nothing of laila
would catch. A message says what happened, where, and what to do next; its parts are attributes. All of them
pickle, attributes included, because task forces and peers carry them from one process to another.

    LailaError
    ├── IdentityError (ValueError)                a malformed global id, uuid, nickname or namespace
    ├── IdentityConflictError (RuntimeError)      identity arguments that exclude each other
    ├── EntryNotFoundError (KeyError)             no such entry where it was looked for
    ├── PartNotFoundError (KeyError, IndexError)  no such part of an entry that was opened
    ├── PoolNotFoundError (KeyError)              no pool registered under that id or nickname
    ├── ImmutableEntryError (RuntimeError)        a constant asked to change
    ├── EvolutionConflictError (RuntimeError)     an evolution that another writer stored first
    ├── ManifestError (ValueError)                a manifest of mixed, malformed or nested-list leaves
    ├── ManifestKeyError (KeyError)               a key that a manifest lacks, or that two have
    ├── EmptyManifestError (RuntimeError)         a verb about a manifest without leaves
    ├── EntryDictError (ValueError)               a dict or JSON text that is no serialized entry
    ├── EntryTypeError (RuntimeError)             what is neither entry, dict nor JSON text, to be recovered
    ├── PayloadError (TypeError)                  a payload that cannot come back exactly as it went in
    │   └── PayloadCycleError (ValueError)        … because it contains itself
    ├── CorruptEntryError (ValueError)            stored bytes that are not what was written
    ├── UntrustedPayloadError (PermissionError)   a payload that needs code, without a valid signature
    ├── TransformationError (ValueError)          an unknown, failing or unavailable transformation
    │   └── SecretError (PermissionError)         a wrong or missing key
    ├── FileFormatError (ValueError)              a file that cannot be imported, or cannot hold the data
    ├── PoolError (OSError)                       a backend that failed to read or write
    │   ├── PoolFormatError (ValueError)          a file that is not this pool's
    │   ├── PoolLockedError (TimeoutError)        a file that another process holds
    │   ├── PoolClosedError (ValueError)          a pool used after close()
    │   └── PoolUnreachableError                  a pool of another process, which this one cannot reach
    ├── PoolKeyError (ValueError)                 a key that no pool takes, or another entry's
    ├── NoActivePolicyError (RuntimeError)        no policy, and none may be built
    ├── PolicyClosedError (RuntimeError)          a policy used after close(), or after the program's end
    ├── ReentryError (RuntimeError)               laila used in the midst of its own call, by a signal handler
    ├── PluginError (ImportError)                 a plugin that cannot be used
    │   └── MissingPluginError                    … because its distribution is not installed
    ├── ContractError (TypeError)                 a plugin's class that breaks its contract
    ├── TaskForceError (RuntimeError)             a task force that is shut down or cannot take the task
    │   ├── TaskForceNotFoundError (KeyError)     … because none is registered under that id
    │   └── WorkerLostError                       … or whose worker died while it ran the task
    ├── InvalidTaskError (TypeError)              a task that cannot be called, or not be sent
    ├── RemoteTraceback (RuntimeError)            the cause of a task's error: where it was raised, as text
    ├── FutureNotFoundError (KeyError)            no future known under that id
    ├── FutureSettledError (RuntimeError)         a future told its result twice
    ├── FutureResultError (RuntimeError)          the payload of a result that is no Entry
    ├── FutureCancelledError (RuntimeError)       the result of a cancelled future
    ├── FutureTimeoutError (TimeoutError)         a wait that ended before the work
    ├── LeaseError (RuntimeError)                 an entry that cannot be borrowed, or not any more
    │   ├── LeaseTimeoutError (TimeoutError)      … because another borrower did not give it back in time
    │   └── LeaseLostError                        … because the lease ran out, or is another borrower's now
    ├── ArgumentsError (ValueError)               an arguments file that cannot be read
    │   └── ArgumentsNotFoundError (FileNotFoundError)  … because it is not there
    ├── MissingArgumentError (AttributeError, KeyError)  a name that laila.args does not have
    ├── DirectoryError (OSError)                  a default directory that cannot be made
    ├── SettingsError (ValueError)                an option or argument whose value is wrong
    │   └── UnknownOptionError (TypeError)        … or an option that there is not
    ├── InvalidArgumentError (TypeError)          an argument of the wrong kind
    ├── InvalidValueError (ValueError)            an argument whose value cannot be used
    ├── GuaranteeError (RuntimeError)             a guarantee used where it cannot keep its word
    ├── EnvironmentSnapshotError (ValueError)     an environment that cannot be rebuilt
    ├── NotSupportedError (NotImplementedError)   what this laila, or this pool, cannot do
    ├── PeerNotFoundError (KeyError)              no peer is connected under that id
    ├── RemoteError (RuntimeError)                what a function of a peer raised, of a kind unknown here
    └── PeerError (ConnectionError)               a peer that cannot be reached or refused
        ├── PeerRefusedError (PermissionError)    … because the secret, the identity or the role is wrong
        ├── PeerTimeoutError (TimeoutError)       … because it did not answer in time
        └── PeerDisconnectedError                 … because the connection went away
"""

from __future__ import annotations

from laila.showing import escaped

__all__ = [
    "ArgumentsError",
    "ArgumentsNotFoundError",
    "ContractError",
    "CorruptEntryError",
    "DirectoryError",
    "EmptyManifestError",
    "EntryDictError",
    "EntryNotFoundError",
    "EntryTypeError",
    "EnvironmentSnapshotError",
    "EvolutionConflictError",
    "FileFormatError",
    "FutureCancelledError",
    "FutureNotFoundError",
    "FutureResultError",
    "FutureSettledError",
    "FutureTimeoutError",
    "GuaranteeError",
    "IdentityConflictError",
    "IdentityError",
    "ImmutableEntryError",
    "InvalidArgumentError",
    "InvalidTaskError",
    "InvalidValueError",
    "LailaError",
    "LeaseError",
    "LeaseLostError",
    "LeaseTimeoutError",
    "ManifestError",
    "ManifestKeyError",
    "MissingArgumentError",
    "MissingPluginError",
    "NoActivePolicyError",
    "NotSupportedError",
    "PartNotFoundError",
    "PayloadCycleError",
    "PayloadError",
    "PeerDisconnectedError",
    "PeerError",
    "PeerNotFoundError",
    "PeerRefusedError",
    "PeerTimeoutError",
    "PluginError",
    "PolicyClosedError",
    "PoolClosedError",
    "PoolError",
    "PoolFormatError",
    "PoolKeyError",
    "PoolLockedError",
    "PoolNotFoundError",
    "PoolUnreachableError",
    "ReentryError",
    "RemoteError",
    "RemoteTraceback",
    "SecretError",
    "SettingsError",
    "TaskForceError",
    "TaskForceNotFoundError",
    "TransformationError",
    "UnknownOptionError",
    "UntrustedPayloadError",
    "WorkerLostError",
]


class LailaError(Exception):
    """The base of every laila error: one message, and the parts it was made of as attributes.

    ``raise EntryNotFoundError("…", key=key, pool=pool)`` sets ``error.key`` and ``error.pool``. Parts must be
    picklable; pass names and ids, never pools, sockets or secrets.
    """

    def __init__(self, message: str, **parts: object) -> None:
        # Parts of a message come from files, servers and peers: nothing in it moves a cursor or ends a line.
        super().__init__(escaped(message))
        for name, value in parts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[type[LailaError], tuple[object, ...], dict[str, object]]:
        state = dict(self.__dict__)
        # OSError, ImportError and AttributeError keep these outside of the dict, and most forget them.
        for name in ("errno", "name", "path"):
            if name not in state and (value := getattr(self, name, None)) is not None:
                state[name] = value
        return type(self), self.args, state

    def __str__(self) -> str:
        # KeyError shows repr(args[0]) and OSError inspects its arguments; a laila message is shown as it is.
        return str(self.args[0]) if self.args else ""


class IdentityError(LailaError, ValueError):
    """A malformed global id, uuid, nickname or namespace; ``value`` holds what was given."""

    value: object


class IdentityConflictError(LailaError, RuntimeError):
    """Identity arguments that exclude each other, such as ``uuid=`` with ``global_id=``.

    Also a nickname that is taken, by a variable where a constant is to be stored, or the other way round:
    ``key`` is what was to be stored, and ``other`` what is there.
    """

    key: str
    other: str


class EntryNotFoundError(LailaError, KeyError):
    """No entry ``key`` in ``pool`` (its nickname or id).

    Where a manifest is not stored because leaves of it are missing, ``missing`` lists all of them.
    """

    key: str
    pool: str
    missing: list[str]


class PartNotFoundError(LailaError, KeyError, IndexError):
    """A part of an opened entry that it does not have; ``key`` is the id of the entry."""

    key: str


class PoolNotFoundError(LailaError, KeyError):
    """No pool is registered as ``pool``; ``registered`` lists what is."""

    pool: str
    registered: list[str]


class ImmutableEntryError(LailaError, RuntimeError):
    """A constant was asked to change, or stored again with another content."""

    key: str
    pool: str


class EvolutionConflictError(LailaError, RuntimeError):
    """Another writer stored this evolution first, with another content."""

    key: str
    pool: str


class ManifestError(LailaError, ValueError):
    """A manifest whose leaves are mixed, malformed or nested in lists of lists; ``path`` names the place."""

    path: str


class ManifestKeyError(LailaError, KeyError):
    """A top-level key that a manifest does not have, or that two to be merged both have."""


class EmptyManifestError(LailaError, RuntimeError):
    """A manifest without leaves was to be stored, fetched, deleted or divided."""


class EntryTypeError(LailaError, RuntimeError):
    """Something else than a serialized entry (a dict or its JSON text) or an Entry was to be recovered."""


class EntryDictError(LailaError, ValueError):
    """A dict or JSON text that is no serialized entry."""


class PayloadError(LailaError, TypeError):
    """A payload that would not come back exactly; ``path`` names the place inside it."""

    path: str


class PayloadCycleError(PayloadError, ValueError):
    """A payload that contains itself; ``path`` names where it closes."""


class CorruptEntryError(LailaError, ValueError):
    """Stored bytes that are not what was written: cut, damaged, or filed under another key."""

    key: str | None


class UntrustedPayloadError(LailaError, PermissionError):
    """A payload that needs code to come back, and whose signature is missing or does not verify.

    ``key_id`` names the signing key, ``type_name`` what would have been rebuilt. Nothing was imported or run.
    """

    key_id: str | None
    type_name: str | None


class TransformationError(LailaError, ValueError):
    """An unknown, failing or unavailable transformation; ``name`` names it."""

    name: str


class SecretError(TransformationError, PermissionError):
    """A wrong or missing key."""


class FileFormatError(LailaError, ValueError):
    """A file that cannot be imported, or data that a format of files cannot hold; ``file`` names the file."""

    file: str


class PoolError(LailaError, OSError):
    """A backend failed; ``pool`` names it, ``errno`` is the system's where there is one."""

    pool: str


class PoolFormatError(PoolError, ValueError):
    """A file or store that is not this pool's."""


class PoolLockedError(PoolError, TimeoutError):
    """Another process holds the pool."""


class PoolClosedError(PoolError, ValueError):
    """The pool was closed."""


class PoolUnreachableError(PoolError):
    """A pool of the policy that submitted the task, which the process that runs it cannot reach."""


class PoolKeyError(LailaError, ValueError):
    """A key that is no text of 1 to 512 bytes, or not that of the entry to be filed under it."""

    key: str


class NoActivePolicyError(LailaError, RuntimeError):
    """There is no active policy, and ``AUTO_INITIALIZE_POLICY`` is false."""


class PolicyClosedError(LailaError, RuntimeError):
    """The policy was closed, and its pools and task forces with it."""


class ReentryError(LailaError, RuntimeError):
    """laila was used by a signal handler or a destructor that interrupted a call of its own.

    Nothing was done. Waiting would never end: what is waited for needs what the interrupted call holds.
    """


class PluginError(LailaError, ImportError):
    """A plugin that cannot be used; ``plugin`` names it, ``distribution`` what it came from."""

    plugin: str
    distribution: str | None


class MissingPluginError(PluginError):
    """The distribution that brings this name is not installed; the message has the pip line."""


class ContractError(LailaError, TypeError):
    """A plugin's class that breaks its contract; ``plugin`` names the class."""

    plugin: str


class TaskForceError(LailaError, RuntimeError):
    """A task force that is shut down, or cannot take what it was given."""


class TaskForceNotFoundError(TaskForceError, KeyError):
    """No task force is registered as ``taskforce``; ``registered`` lists what is."""

    taskforce: str
    registered: list[str]


class WorkerLostError(TaskForceError):
    """The process that ran the task ``task`` died; the task force goes on."""

    task: str


class InvalidTaskError(LailaError, TypeError):
    """A task that is no callable without arguments, or that cannot be sent to where it is to run."""


class RemoteTraceback(LailaError, RuntimeError):
    """The cause of an error that a task raised in another process: the traceback there, as text."""

    def __init__(self, message: str, **parts: object) -> None:
        super().__init__(message, **parts)
        self.args = (message,)  # a traceback has lines


class FutureNotFoundError(LailaError, KeyError):
    """No future is known under this id: it settled long ago, or belongs to another process."""


class FutureSettledError(LailaError, RuntimeError):
    """A future was told its outcome a second time."""


class FutureResultError(LailaError, RuntimeError):
    """``data`` was asked of a future whose result is no Entry."""


class FutureCancelledError(LailaError, RuntimeError):
    """The outcome of a cancelled future."""


class FutureTimeoutError(LailaError, TimeoutError):
    """A wait that ended before the work did; the work goes on."""


class LeaseError(LailaError, RuntimeError):
    """An entry that cannot be borrowed, or that is borrowed no more; ``key`` names it."""

    key: str


class LeaseTimeoutError(LeaseError, TimeoutError):
    """Another borrower did not give an entry back in time: process ``pid`` on ``host``.

    ``since`` is the time at which the other began to borrow, in seconds since the epoch. All three are None
    if the holder is unknown.
    """

    host: str | None
    pid: int | None
    since: float | None


class LeaseLostError(LeaseError):
    """A lease ran out, or is another borrower's by now. Nothing was written."""


class ArgumentsError(LailaError, ValueError):
    """An arguments source that cannot be read; ``source`` and ``line`` say where."""

    source: str
    line: int | None


class ArgumentsNotFoundError(ArgumentsError, FileNotFoundError):
    """An arguments file that is not there."""


class MissingArgumentError(LailaError, AttributeError, KeyError):
    """``laila.args`` has no ``argument``, asked for as ``args.x`` or as ``args["x"]``."""

    argument: str


class DirectoryError(LailaError, OSError):
    """A default directory that cannot be made; ``directory`` is its path."""

    directory: str


class SettingsError(LailaError, ValueError):
    """An option or argument whose value is wrong or missing; ``option`` names it."""

    option: str


class UnknownOptionError(SettingsError, TypeError):
    """An option that a pool, task force, protocol or verb does not have; ``option`` names it."""


class InvalidArgumentError(LailaError, TypeError):
    """An argument of the wrong kind, such as an object to memorize that is no Entry."""


class InvalidValueError(LailaError, ValueError):
    """An argument of the right kind whose value cannot be used."""


class GuaranteeError(LailaError, RuntimeError):
    """A guarantee used where it cannot keep its word: left in another context, or outside an asyncio task."""


class EnvironmentSnapshotError(LailaError, ValueError):
    """An environment that cannot be rebuilt; ``problems`` lists every fault with its path."""

    problems: list[str]


class NotSupportedError(LailaError, NotImplementedError):
    """Something that this laila does not do yet, or that this pool has no use for."""


class PeerError(LailaError, ConnectionError):
    """A peer that cannot be reached, or refused."""

    peer: str


class PeerNotFoundError(LailaError, KeyError):
    """No peer is connected under the global id ``peer``; ``connected`` lists the ids that there are."""

    peer: str
    connected: list[str]


class PeerRefusedError(PeerError, PermissionError):
    """A wrong secret, an identity that is another's, or a call that the role does not allow."""


class PeerTimeoutError(PeerError, TimeoutError):
    """The peer did not answer in time. Whether it did what was asked is not known."""


class RemoteError(LailaError, RuntimeError):
    """A function of a peer raised an error of a class that is not known here; ``type_name`` names it."""

    type_name: str


class PeerDisconnectedError(PeerError):
    """The connection to the peer went away with the call under way."""
