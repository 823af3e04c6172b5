"""What ``pool[manifest]`` gives: the manifest's tree over one pool, to read from and to copy."""

from __future__ import annotations

from laila.errors import InvalidArgumentError, ManifestError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from laila.contract.pool import Pool
    from laila.entry import Manifest
    from laila.futures import GroupFuture

__all__ = ["PoolWrapper"]


class PoolWrapper:
    """A manifest's tree as a pool holds it: keys and indexes lead to leaves, which are read on access.

    ``manifest`` is the global id of the manifest that the tree is all of, None for a branch of one.
    """

    __slots__ = ("_manifest", "_of", "_pool", "_tree")

    def __init__(self, pool: Pool, tree: Any, of: Manifest, manifest: str | None = None) -> None:
        self._pool = pool
        self._tree = tree
        self._of = of  # knows where packed leaves are
        self._manifest = manifest

    def __getitem__(self, key: object) -> object:
        """Go one step down the tree: a PoolWrapper for a branch, the plain blob for a leaf."""
        node = self._tree[key]
        if not isinstance(node, str):
            return PoolWrapper(self._pool, node, self._of)
        wanted = self._of.wanted(node)
        if wanted is not None:
            from laila.tiering.packed import PackReader

            (blob,) = PackReader(self._pool).read([wanted])
            if isinstance(blob, BaseException):
                raise blob
            if blob is not None:
                return blob
        return self._pool[node]

    def __iter__(self) -> Iterator[object]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def __contains__(self, key: object) -> bool:
        return key in self._tree

    def __le__(self, other: object) -> GroupFuture[str]:
        """Copy a manifest with its leaves, ``dest[manifest] <= src[manifest]``, or the leaves of a branch.

        The group has one child a leaf, in the order of the tree, and the manifest's last: see
        :func:`laila.tiering.copytree.copy_manifest`. Raises ``TypeError`` where the right side is no
        manifest of a pool, :class:`~laila.errors.ManifestError` (a ``ValueError``) where it is another one.
        """
        if not isinstance(other, PoolWrapper):
            self._refuse(other)
        if self._manifest != other._manifest or self._tree != other._tree:
            raise ManifestError(
                f"{self!r} <= {shown(other)}: the two sides are not the same part of one manifest", path="$"
            )
        from laila.tiering.copytree import copy_manifest

        return copy_manifest(self._pool, other._pool, self._tree, self._manifest, other._of)

    def __ge__(self, other: object) -> NoReturn:
        # Python comes here for `pool <= wrapper`, after the pool did not know what to do.
        self._refuse(other)

    def _refuse(self, other: object) -> NoReturn:
        raise InvalidArgumentError(
            f"a manifest is copied from pool to pool: dest[manifest] <= src[manifest]; on the other side of "
            f"{self!r} is a {type(other).__name__}"
        )

    def __repr__(self) -> str:
        what = self._manifest or f"{self._tree!r:.200}"
        return f"<PoolWrapper of {self._pool.label!r}: {what}>"
