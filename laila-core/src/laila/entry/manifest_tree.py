"""The tree of a manifest: text keys, with global ids at its leaves or flat lists of them.

A tree made of Entry objects keeps them until it is stored. What is known of the leaves is kept, too: their
types, sizes and digests.
"""

from __future__ import annotations

from laila.calling import helpful
from laila.entry.content import check_by, with_entries
from laila.entry.entry import Entry
from laila.entry.leaves import Leaves
from laila.entry.tree import leaves_of, read_tree
from laila.errors import (
    EmptyManifestError,
    IdentityConflictError,
    InvalidArgumentError,
    ManifestError,
    ManifestKeyError,
)
from laila.identity import parse_global_id
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
    from typing import Any, ClassVar, Literal, Self

    from laila.entry.leaves import Leaf
    from laila.entry.tree import Node

__all__ = ["ManifestTree"]


class ManifestTree(Entry):
    """The tree of a :class:`~laila.Manifest`: what it holds and how it is stored, without the verbs.

    Thread-safety: reading is safe.
    """

    __slots__ = ("_leaves", "_pending")

    _ask = "its branches are its items, manifest[…]; its entries are in manifest.resolved"

    _scope: ClassVar[str] = "MANIFEST"
    _pending: dict[str, Entry]
    _leaves: Leaves  # what is known of them

    @helpful
    def __init__(
        self,
        data: Mapping[str, object] | None = None,
        *,
        uuid: str | None = None,
        nickname: str | None = None,
        global_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
        by: Literal["content"] | None = None,
    ) -> None:
        named = uuid is not None or nickname is not None or global_id is not None
        if by is not None and check_by(by):
            data = with_entries({} if data is None else data)
        blueprint, pending = read_tree({} if data is None else data)
        if global_id is not None and parse_global_id(global_id).evolution is not None:
            raise IdentityConflictError(
                f"global_id={shown(global_id)} has an evolution, and a manifest has none"
            )
        super().__init__(
            data=blueprint,
            uuid=uuid,
            nickname=nickname,
            global_id=global_id,
            metadata=metadata,
            by=None if named else by,
        )
        self._pending = pending
        self._leaves = Leaves()
        contents = [(gid, entry._content) for gid, entry in pending.items() if entry._content is not None]
        self._leaves.add({gid: content.leaf for gid, content in contents if content.leaf is not None})

    @classmethod
    def constant(
        cls,
        data: object,
        *,
        global_id: str | None = None,
        uuid: str | None = None,
        nickname: str | None = None,
        metadata: Mapping[str, object] | None = None,
        by: Literal["content"] | None = None,
    ) -> Self:
        """Return ``Manifest(data, …)``: a manifest is a constant."""
        return cls(data, global_id=global_id, uuid=uuid, nickname=nickname, metadata=metadata, by=by)  # type: ignore[arg-type]

    @classmethod
    def variable(cls, data: object, **kwargs: Any) -> Self:
        """Raise ``TypeError``: a manifest does not evolve; build another one."""
        raise InvalidArgumentError("a manifest is a constant; build a new Manifest(…) for each state")

    @classmethod
    def contingent(cls, **kwargs: Any) -> Self:
        """Return a manifest made of ``kwargs`` in the state STAGED. The tree is checked, too."""
        self = super().contingent(**kwargs)
        self._leaves = Leaves()
        self._payload, self._pending = read_tree({} if self._payload is None else self._payload)
        return self

    # -- the tree --------------------------------------------------------------------------------------------

    @property
    def blueprint(self) -> dict[str, Node]:
        """The tree: text keys, and global ids, lists of them or further dicts."""
        return self._payload  # type: ignore[no-any-return]

    def keys(self) -> KeysView[str]:
        """List the top-level keys.

        Returns:
            A view, as ``dict.keys`` gives.
        """
        return self.blueprint.keys()

    def values(self) -> ValuesView[Node]:
        """List the top-level values: ids, lists of ids, dicts.

        Returns:
            A view, as ``dict.values`` gives.
        """
        return self.blueprint.values()

    def items(self) -> ItemsView[str, Node]:
        """List the top-level keys with their values.

        Returns:
            A view, as ``dict.items`` gives.
        """
        return self.blueprint.items()

    def __getitem__(self, key: str) -> Node:
        """Return what is under a top-level key: an id, a list of ids, a dict. Raises ``KeyError``."""
        try:
            return self.blueprint[key]
        except KeyError:
            raise ManifestKeyError(
                f"the manifest has no {shown(key)}; it has {list(self.blueprint)}"
            ) from None

    def __len__(self) -> int:
        """The number of top-level keys."""
        return len(self.blueprint)

    def __bool__(self) -> bool:
        return True  # an empty manifest is still a manifest

    def __iter__(self) -> Iterator[str]:
        """Yield the global id of every leaf, depth first, in insertion order."""
        return leaves_of(self.blueprint)

    def __contains__(self, global_id: object) -> bool:
        """Whether a leaf has this global id (an Entry stands for its id)."""
        wanted = global_id.global_id if isinstance(global_id, Entry) else global_id
        return any(leaf == wanted for leaf in self)

    # -- for the policy --------------------------------------------------------------------------------------

    def check_not_empty(self, verb: str) -> None:
        """Check that there is something to work on.

        Args:
            verb: What would be done, for the message.

        Raises:
            EmptyManifestError: the manifest is empty (a ``RuntimeError``).
        """
        if not self.blueprint:
            raise EmptyManifestError(f"cannot {verb} an empty manifest: give it entries or ids first")

    def note_leaves(self, known: Mapping[str, Leaf]) -> None:
        """Note what is known of leaves, for the table of the manifest.

        Args:
            known: What is known by global id, of these leaves and others.
        """
        if known:
            self._leaves.add({leaf: known[leaf] for leaf in self if leaf in known})

    def unknown_leaves(self) -> list[str]:
        """List the leaves that the table of the manifest does not describe.

        Returns:
            Their global ids, each once.
        """
        return self._leaves.unknown(self)

    def agrees_with(self, other: ManifestTree) -> bool:
        """Compare tree and table, as far as both manifests know their leaves.

        Args:
            other: The other manifest.

        Returns:
            Whether both have the same tree, and no leaf that is known to have another content.
        """
        if self.blueprint != other.blueprint or list(self) != list(other):
            return False
        rows = ((self._leaves.get(leaf), other._leaves.get(leaf)) for leaf in self)
        return all(one is None or two is None or one.digest == two.digest for one, two in rows)

    def pending(self) -> list[Entry]:
        """List the entries that wait to be stored with the manifest.

        Returns:
            Each entry once, in the order of the leaves.

        Raises:
            ManifestError: an entry has evolved since; the tree names the evolution that it had.
        """
        for leaf, entry in self._pending.items():
            if entry._evolution is not None and entry.global_id != leaf:
                raise ManifestError(
                    f"{leaf} evolved to {entry.global_id} after the manifest was made; make the manifest of "
                    "what it shall hold, or memorize before evolving",
                    path=leaf,
                )
        return [self._pending[leaf] for leaf in dict.fromkeys(self) if leaf in self._pending]

    def manifests(self) -> list[tuple[ManifestTree, list[Entry]]]:
        """List the manifests that wait to be stored, and what waits in each of them.

        Returns:
            Each manifest with the entries that wait in it; inner manifests come first, this manifest last.

        Raises:
            ManifestError: a manifest contains itself, or is empty.
        """
        found: dict[str, tuple[ManifestTree, list[Entry]]] = {}
        open_ids: set[str] = set()

        def visit(manifest: ManifestTree) -> None:
            gid = manifest.global_id
            if gid in found:
                return
            if gid in open_ids:
                raise ManifestError(f"the manifest {gid} contains itself", path=gid)
            manifest.check_not_empty("memorize")
            open_ids.add(gid)
            pending = manifest.pending()
            for entry in pending:
                if isinstance(entry, ManifestTree):
                    visit(entry)
            found[gid] = manifest, pending

        visit(self)
        return list(found.values())

    def _to_store(self) -> object:
        """Return the tree, and what is known of its leaves."""
        return self._payload_of(self.blueprint, self._leaves)

    @staticmethod
    def _payload_of(tree: dict[str, Node], known: Leaves) -> dict[str, object]:
        """Return what is stored of a tree: itself, and the table of leaves if anything is known of them."""
        table = known.stored(leaves_of(tree))
        return {"tree": tree} if table is None else {"tree": tree, "leaves": table}

    @classmethod
    def _recovered(cls, stored: object) -> Self:
        """Build from what was stored, which is checked like any other input."""
        if type(stored) is not dict or not {"tree"} <= stored.keys() <= {"tree", "leaves"}:
            raise ManifestError("a stored manifest is a tree, and a table of its leaves", path="$")
        self = cls.__new__(cls)
        self._payload, pending = read_tree(stored["tree"], stored=True)
        if pending:
            raise ManifestError("a stored manifest holds ids, not entries", path="$")
        self._pending = {}
        self._leaves = Leaves.read(stored["leaves"], self) if "leaves" in stored else Leaves()
        return self
