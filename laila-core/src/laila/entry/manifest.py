"""Manifest: a constant entry whose payload is a nested dict of references to other entries.

The tree has text keys; its leaves are global ids, or flat lists of them. A manifest made of Entry objects
keeps them until it is memorized, and then stores them with itself: the entries first, the manifest last, so
that a stored manifest never refers to what was not written.
"""

from __future__ import annotations

from laila.entry.comparing import compare, rows_of_pending
from laila.entry.construction import EntryState
from laila.entry.manifest_tree import ManifestTree
from laila.entry.outline import Outline, html_of, lines_of
from laila.entry.paths import places_of
from laila.entry.patterns import select
from laila.entry.tree import map_leaves, read_tree
from laila.errors import ImmutableEntryError, InvalidArgumentError, ManifestError, ManifestKeyError
from laila.showing import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import IO, Any, Self

    from laila.entry.comparing import ManifestDiff
    from laila.entry.entry import Entry
    from laila.entry.leaves import Leaf, Leaves
    from laila.entry.patterns import Patterns
    from laila.entry.tree import Node
    from laila.futures import GroupFuture

__all__ = ["Manifest"]


class Manifest(ManifestTree):
    """A named tree of entries: a checkpoint, a dataset, a run.

    ``Manifest({"weights": entry, "history": [entry, entry]}, nickname="run-7")``, or with the ids of entries
    that are stored already. With ``by="content"`` the leaves are values. Each value becomes an entry with an
    id made from it; dicts are branches, a list is one entry for each item. Raises :class:`ManifestError`
    (a ``ValueError``) for a tree that mixes entries and ids, nests lists in lists, or holds anything else.
    Thread-safety: reading is safe; ``extend`` is for one thread at a time.
    """

    __slots__ = ()

    # -- parts and sums --------------------------------------------------------------------------------------

    def sub_manifest(self, keys: Patterns) -> Manifest:
        """Make a manifest of a part of the tree.

        Args:
            keys: Top-level keys, patterns such as ``"encoder/*"`` or ``"**/bias"``, and paths such as
                ``("history", 3)``: one text, or a list. Who names a branch names all below it. A list has
                those of its items that are named.

        Returns:
            A new manifest, with those of its entries that wait to be stored.

        Raises:
            ManifestKeyError: a key or path is not there, or nothing matches (a ``KeyError``).
            EmptyManifestError: this manifest is empty (a ``RuntimeError``).
        """
        self.check_not_empty("take a part of")
        if not isinstance(keys, str) and hasattr(keys, "__iter__"):
            keys = list(keys)
            names = [key for key in keys if isinstance(key, str) and key in self.blueprint]
            if len(names) == len(keys):  # in the order of the caller
                return self._part({key: self.blueprint[key] for key in names})
        return self._part(select(self.blueprint, keys, None))

    def _part(self, tree: dict[str, Node]) -> Manifest:
        """Make a manifest of a part of the tree, with what waits in it and what is known of it."""
        part = Manifest(tree)
        part._pending = {leaf: self._pending[leaf] for leaf in part if leaf in self._pending}
        part._leaves.add({leaf: row for leaf in part if (row := self._leaves.get(leaf)) is not None})
        part.note_packed(self.places_lent(part))
        return part

    def extend(self, other: Manifest, *, overwrite: bool = False) -> None:
        """Take over the top-level keys of another manifest.

        Args:
            other: The other manifest, which stays as it is.
            overwrite: Let keys of ``other`` replace keys that are here too.

        Raises:
            InvalidArgumentError: ``other`` is not a manifest (a ``TypeError``).
            ManifestKeyError: a key is in both, and ``overwrite`` is not set (a ``KeyError``).
        """
        if not isinstance(other, Manifest):
            raise InvalidArgumentError(f"a manifest is extended by a manifest, not {type(other).__name__}")
        if self._uuid[14] == "8":  # of an id by content
            raise ImmutableEntryError(
                'the id of this manifest was made from its tree (by="content"): make a new manifest, a + b, '
                "or give it a nickname when you make it",
                key=self.global_id,
            )
        both = [key for key in other.blueprint if key in self.blueprint]
        if both and not overwrite:
            raise ManifestKeyError(
                f"both manifests have {', '.join(map(repr, both))}; extend(…, overwrite=True) replaces them"
            )
        copied, _ = read_tree(other.blueprint)
        self.blueprint.update(copied)
        self._leaves.add_all(other._leaves)
        self.note_packed(other.places_lent(other))
        self._pending.update(other._pending)
        self._pending = {leaf: self._pending[leaf] for leaf in self if leaf in self._pending}
        self.user_metadata()  # kept, though what is known of the stored form is not
        self._stored = None
        self._notes = None
        self._state = EntryState.READY

    def __iadd__(self, other: Manifest) -> Self:
        self.extend(other)
        return self

    def __add__(self, other: Manifest) -> Manifest:
        """Return a new manifest with the keys of both. Raises as :meth:`extend` does."""
        if not isinstance(other, Manifest):
            return NotImplemented
        total = Manifest(self.blueprint)
        total._pending = dict(self._pending)
        total._leaves.add_all(self._leaves)
        total.note_packed(self.places_lent(self))
        total.extend(other)
        return total

    # -- what is in it, without reading a leaf ---------------------------------------------------------------

    def _rows(self, pool_nickname: str | None = None, pool_id: str | None = None) -> Leaves:
        """Return what is known of the leaves; the pool is asked for what the table lacks."""
        rows = self._leaves.copy()
        rows.add(rows_of_pending(self))
        unknown = rows.unknown(self)
        if unknown:
            from laila.active import get_active_policy

            memory = get_active_policy().central.memory
            found = memory.describe(unknown, pool_nickname=pool_nickname, pool_id=pool_id)
            asked = {key: leaf for key, leaf in zip(unknown, found, strict=True) if leaf is not None}
            rows.add(asked)
            self.note_leaves(asked)
        return rows

    def describe(
        self, *, pool_nickname: str | None = None, pool_id: str | None = None
    ) -> dict[str, Leaf | None]:
        """Say what each leaf is: ``type``, ``shape``, ``dtype``, ``nbytes`` and ``digest``.

        The table of a stored manifest says it. The pool is asked for what the table lacks, by the heads of
        the leaves. Entries that wait to be stored are looked at as they are now. Blocks.

        Args:
            pool_nickname: The pool to ask, by nickname.
            pool_id: The pool to ask, by id.

        Returns:
            What each leaf is, by its path, such as ``"encoder/weight"`` or ``"history/3"``. None for what
            is not in the pool, and for the id of a variable without evolution.

        Raises:
            PayloadError: an entry that waits cannot be stored.
        """
        rows = self._rows(pool_nickname, pool_id)
        return {path: rows.get(leaf) for path, leaf in places_of(self.blueprint)}

    @property
    def nbytes(self) -> int:
        """The bytes of the payloads of all leaves, each once; inner manifests count without their leaves.

        Asks the alpha pool as :meth:`describe` does. Raises :class:`ManifestError` where a leaf is not known.
        """
        rows = self._rows()
        unknown = rows.unknown(self)
        if unknown:
            raise ManifestError(
                f"the size of {len(unknown)} of the leaves is not known, such as {unknown[0]}: it is not in "
                "the alpha pool, or it is a variable without evolution; manifest.describe(pool_nickname=…) "
                "asks another pool",
                path=unknown[0],
            )
        return sum(map(rows.nbytes, dict.fromkeys(self)))

    def tree(
        self, *, depth: int | None = None, limit: int | None = 1000, file: IO[str] | None = None
    ) -> None:
        """Print the tree: of each leaf type, dtype, shape and bytes, of each branch the sum.

        Asks the alpha pool as :meth:`describe` does. A leaf that is not known is a question mark.

        Args:
            depth: How many levels are opened; None for all.
            limit: How many lines are printed below the first; None for all.
            file: Where to; standard output by default.
        """
        name = self._nickname or self.global_id
        outline = Outline(self.blueprint, self._leaves)
        if self._pending or not outline.is_known:
            outline = Outline(self.blueprint, self._rows())
        lines = lines_of(self.blueprint, outline, depth, limit)
        print(f"{escaped(name, 200)}  {next(lines)}", *lines, sep="\n", file=file)

    def diff(self, other: Manifest) -> ManifestDiff:
        """Compare two manifests by the digests of their leaves: what changes from this one to ``other``.

        Asks the alpha pool as :meth:`describe` does; reads no leaf.

        Args:
            other: The manifest after.

        Returns:
            The paths that were ``added``, ``removed`` and ``changed``; false where there is no difference.

        Raises:
            InvalidArgumentError: ``other`` is not a manifest (a ``TypeError``).
        """
        if not isinstance(other, Manifest):
            raise InvalidArgumentError(f"a manifest is compared with a manifest, not {type(other).__name__}")
        return compare(self, self._rows(), other, other._rows())

    def _word_for(self, leaf: str) -> str | None:
        return type(self._pending[leaf].data).__name__ if leaf in self._pending else None

    def _repr_html_(self) -> str:
        """The tree, for notebooks. Asks no pool."""
        return html_of(self._nickname or self.global_id, self.blueprint, self._leaves, self._word_for)

    # -- the verbs, through the active policy ----------------------------------------------------------------

    @property
    def resolved(self) -> dict[str, Any]:
        """The tree with an Entry at each leaf, fetched now from the alpha pool: ``resolve()``."""
        return self.resolve()

    def resolve(
        self,
        *,
        include: Patterns | None = None,
        exclude: Patterns | None = None,
        pool_nickname: str | None = None,
        pool_id: str | None = None,
        refresh: bool = False,
    ) -> dict[str, Any]:
        """Fetch leaves now, and put the entries into the tree. Blocks. Each call fetches again.

        Args:
            include: What is fetched: a pattern such as ``"**/encoder/*"``, or a list of patterns and paths
                such as ``("history", 3)``. All by default. Who names a branch names all below it.
            exclude: What is left out, likewise.
            pool_nickname: The pool, by nickname.
            pool_id: The pool, by id.
            refresh: Read past the caches of a chain and renew them.

        Returns:
            The tree, or the part of it, with an Entry at each leaf.

        Raises:
            EmptyManifestError: the manifest is empty (a ``RuntimeError``).
            ManifestKeyError: a path is not there, or nothing is left (a ``KeyError``).
            EntryNotFoundError: a leaf is missing (a ``KeyError``).
        """
        part = self._selected(include, exclude)
        group = part.remember(pool_nickname=pool_nickname, pool_id=pool_id, refresh=refresh)
        tree: dict[str, Any] = map_leaves(part.blueprint, dict(zip(part, group.result, strict=True)))
        return tree

    async def resolved_async(
        self,
        *,
        include: Patterns | None = None,
        exclude: Patterns | None = None,
        pool_nickname: str | None = None,
        pool_id: str | None = None,
        refresh: bool = False,
    ) -> dict[str, Any]:
        """Fetch leaves without blocking the event loop, and put the entries into the tree.

        Args:
            include: What is fetched: a pattern such as ``"**/encoder/*"``, or a list of patterns and paths
                such as ``("history", 3)``. All by default. Who names a branch names all below it.
            exclude: What is left out, likewise.
            pool_nickname: The pool, by nickname.
            pool_id: The pool, by id.
            refresh: Read past the caches of a chain and renew them.

        Returns:
            The tree, or the part of it, with an Entry at each leaf.

        Raises:
            EmptyManifestError: the manifest is empty (a ``RuntimeError``).
            ManifestKeyError: a path is not there, or nothing is left (a ``KeyError``).
            EntryNotFoundError: a leaf is missing (a ``KeyError``).
        """
        part = self._selected(include, exclude)
        group = part.remember(pool_nickname=pool_nickname, pool_id=pool_id, refresh=refresh)
        tree: dict[str, Any] = map_leaves(part.blueprint, dict(zip(part, await group, strict=True)))
        return tree

    def _selected(self, include: Patterns | None, exclude: Patterns | None) -> Manifest:
        self.check_not_empty("resolve")
        if include is None and exclude is None:
            return self
        return self._part(select(self.blueprint, include, exclude))

    def memorize(
        self,
        *,
        pool_nickname: str | None = None,
        pool_id: str | None = None,
        batch_size: int | None = None,
        overwrite: bool = False,
        verify: bool = False,
        missing_ok: bool = False,
        provenance: Mapping[str, object] | None = None,
        pack: int | str | None = None,
    ) -> GroupFuture[Any]:
        """Store the entries that wait here, and then the manifest. Does not block.

        A manifest is stored when everything that it refers to is stored. Entries that this process stored in
        that pool before are not stored again, so a manifest may grow: ``extend`` it, and memorize it with
        ``overwrite``.

        Leaves that were given as ids are looked for in the pool first, in one batch. If some are missing,
        nothing is written, and the :class:`~laila.errors.EntryNotFoundError` (a ``KeyError``) of the group
        lists them in ``missing``.

        Args:
            pool_nickname: The pool, by nickname.
            pool_id: The pool, by id.
            batch_size: How many entries are written at a time; by default as many as have 64 MiB together.
            overwrite: Replace the tree that is stored under this manifest's id.
            verify: Read each snapshot again before it is stored, as :func:`laila.memorize` does.
            missing_ok: Store the manifest without looking for leaves that were given as ids.
            provenance: Where the manifest came from, as for :func:`laila.memorize`. Its leaves are not told.
            pack: How many bytes of small leaves are stored together in one entry, such as ``"16 MiB"``. That
                packs constants below 64 KiB without a nickname, which are read through the manifest then.

        Returns:
            A group. Its children are the entries, each once, in the order of the leaves, then the manifests
                among them,
            inner ones first, then this manifest.
        """
        from laila.active import get_active_policy

        memory = get_active_policy().central.memory
        return memory.memorize_manifest(
            self,
            pool_nickname=pool_nickname,
            pool_id=pool_id,
            batch_size=batch_size,
            overwrite=overwrite,
            verify=verify,
            missing_ok=missing_ok,
            provenance=provenance,
            pack=pack,
        )

    def remember(
        self,
        leaves: Iterable[Entry | str] | None = None,
        *,
        pool_nickname: str | None = None,
        pool_id: str | None = None,
        batch_size: int | None = None,
        refresh: bool = False,
    ) -> GroupFuture[Any]:
        """Fetch every leaf, or some of them. Does not block.

        Args:
            leaves: The ids of the leaves to fetch, or their entries, in any order; all by default.
            pool_nickname: The pool, by nickname.
            pool_id: The pool, by id.
            batch_size: How many leaves are read at a time; 128 by default.
            refresh: Read past the caches of a chain and renew them.

        Returns:
            A group with one child for each leaf, in the order of iteration, or of ``leaves``. Each resolves
            to its Entry.

        Raises:
            ManifestKeyError: one of ``leaves`` is no leaf of this manifest (a ``KeyError``).
        """
        from laila.active import get_active_policy

        memory = get_active_policy().central.memory
        return memory.remember_manifest(
            self,
            pool_nickname=pool_nickname,
            pool_id=pool_id,
            batch_size=batch_size,
            refresh=refresh,
            leaves=leaves,
        )

    def forget(
        self, *, pool_nickname: str | None = None, pool_id: str | None = None, batch_size: int | None = None
    ) -> GroupFuture[Any]:
        """Delete the manifest first, and then the leaves that no other manifest has. Does not block.

        A leaf that another manifest of the pool, or a pin, refers to stays. Each manifest of the pool is read
        for that, and its keys are listed: the cost is linear in both. If another manifest, or a pin, refers
        to this manifest, nothing is deleted, and the group fails with :class:`ManifestError`.

        The packs that were made with the manifest go, too. A leaf in a pack of another manifest stays, and
        its child says so with a :class:`ManifestError`.

        Args:
            pool_nickname: The pool, by nickname.
            pool_id: The pool, by id.
            batch_size: How many leaves are deleted at a time; all of them by default.

        Returns:
            A group with one child for each leaf; the last child is that of the manifest. Each becomes None,
            also that of a leaf that stays.
        """
        from laila.active import get_active_policy

        memory = get_active_policy().central.memory
        return memory.forget_manifest(
            self, pool_nickname=pool_nickname, pool_id=pool_id, batch_size=batch_size
        )
