"""Parts that every component has: an identity, options that can be written down, and an end.

:mod:`~laila.component.backend` is the part that a pool's author writes. :mod:`~laila.component.authored`
checks it.
"""
