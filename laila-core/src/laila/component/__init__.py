"""What every component is: an identity, options that can be written down, and an end.

:mod:`~laila.component.backend` is what a pool's author writes. :mod:`~laila.component.authored` checks it.
"""
