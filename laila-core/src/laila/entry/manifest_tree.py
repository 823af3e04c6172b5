"""The tree of a manifest: text keys, with global ids at its leaves or flat lists of them.

A tree made of Entry objects keeps them until it is stored. What is known of the leaves is kept, too: their
types, sizes and digests.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from laila.calling import helpful
from laila.entry.content import check_by, with_entries
from laila.entry.entry import Entry
from laila.entry.leaves import Leaves
from laila.entry.packs import Packs, Wanted
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
    from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
    from typing import Any, ClassVar, Literal, Self

    from laila.entry.leaves import Leaf
    from laila.entry.packs import Place
    from laila.entry.tree import Node

__all__ = ["ManifestTree", "holder_of"]


_packing: WeakValueDictionary[int, ManifestTree] = WeakValueDictionary()


def holder_of(leaf: str) -> str | None:
    """Return the id of a manifest of this process in whose packs a leaf lies, if there is one."""
    for known in _packing.valuerefs():
        manifest = known()
        if manifest is not None and manifest._packs.get(leaf) is not None:
            return manifest.global_id
    return None


class ManifestTree(Entry):
    """The tree of a :class:`~laila.Manifest`: what it holds and how it is stored, without the verbs.

    Thread-safety: reading is safe.
    """

    __slots__ = ("_leaves", "_packs", "_pending")

    _ask = "its branches are its items, manifest[…]; its entries are in manifest.resolved"

    _scope: ClassVar[str] = "MANIFEST"
    _pending: dict[str, Entry]
    _leaves: Leaves  # what is known of them
    _packs: Packs  # where those are that are packed

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
        self._packs = Packs()
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
        self._packs = Packs()
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

    @property
    def is_named(self) -> bool:
        """Whether the id was made from a name or from the content, and is the same when it is made again."""
        return self._uuid[14] in "58"

    def note_packed(self, places: Mapping[str, Place]) -> None:
        """Note where leaves lie that are packed.

        Args:
            places: Their places, by global id.
        """
        if places:
            self._packs.add(places)
            _packing[id(self)] = self

    def place_of(self, leaf: str) -> Place | None:
        """Say where a leaf lies.

        Args:
            leaf: Its global id.

        Returns:
            Its place in a pack; None if it is not packed.
        """
        return self._packs.get(leaf)

    def places_lent(self, leaves: Iterable[str]) -> dict[str, Place]:
        """List the places of packed leaves, for another manifest.

        Args:
            leaves: Global ids.

        Returns:
            The places by global id. Their packs belong to this manifest, or to the one that it has them from.
        """
        return self._packs.lent(leaves, self.global_id)

    def drop_places(self, leaves: Iterable[str]) -> None:
        """Forget where leaves lie.

        Args:
            leaves: Their global ids.
        """
        self._packs.drop(leaves)

    @property
    def is_packed(self) -> bool:
        """Whether some leaves are known to lie in packs."""
        return bool(self._packs)

    def is_leaf(self, global_id: str) -> bool:
        """Say whether an id is known to be that of a leaf, without walking the tree.

        Args:
            global_id: The id.

        Returns:
            False where only the tree can tell.
        """
        return self._leaves.has_place(global_id)

    @property
    def packs(self) -> list[str]:
        """The ids of the packs that leaves lie in, each once."""
        if not self._packs:
            return []
        places = map(self._packs.get, self)
        return list(dict.fromkeys(place.pack for place in places if place is not None))

    def references(self) -> list[str]:
        """List what a pool must hold for the manifest to be whole, except the manifest itself.

        Returns:
            The ids of leaves with entries of their own, and of packs, each once, in the order of the leaves.
        """
        if not self._packs:
            return list(dict.fromkeys(self))
        places = ((leaf, self._packs.get(leaf)) for leaf in self)
        return list(dict.fromkeys(leaf if place is None else place.pack for leaf, place in places))

    def wanted(self, leaf: str) -> Wanted | None:
        """Say what is to be read for a leaf.

        Args:
            leaf: The global id of a leaf.

        Returns:
            Its place in a pack, and its digest; None for a leaf with an entry of its own.
        """
        place = self._packs.get(leaf)
        if place is None:
            return None
        row = self._leaves.get(leaf)
        return Wanted(leaf, place, None if row is None else row.digest)

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
        return self._payload_of(self.blueprint, self._leaves, self._packs)

    @staticmethod
    def _payload_of(tree: dict[str, Node], known: Leaves, packs: Packs) -> dict[str, object]:
        """Return what is stored of a tree: itself, what is known of its leaves, and where packed ones are."""
        tables = {"leaves": known.stored(leaves_of(tree)), "packs": packs.stored(leaves_of(tree))}
        return {"tree": tree, **{name: table for name, table in tables.items() if table is not None}}

    @classmethod
    def _recovered(cls, stored: object) -> Self:
        """Build from what was stored, which is checked like any other input."""
        if type(stored) is not dict or not {"tree"} <= stored.keys() <= {"tree", "leaves", "packs"}:
            raise ManifestError("a stored manifest is a tree, and tables of its leaves", path="$")
        self = cls.__new__(cls)
        self._payload, pending = read_tree(stored["tree"], stored=True)
        if pending:
            raise ManifestError("a stored manifest holds ids, not entries", path="$")
        self._pending = {}
        self._leaves = Leaves.read(stored["leaves"], self) if "leaves" in stored else Leaves()
        self._packs = Packs()
        if "packs" in stored:
            self._packs = Packs.read(stored["packs"], self)
            _packing[id(self)] = self
        return self
