"""Long checks of what laila promises: kill -9, races, damage, faults, soaks and histories.

``make torture`` runs them. ``ONLY=crash,race``, ``POOLS=hdf5,sqlite``, ``ROUNDS=2000``, ``SECONDS=600`` and
``SEED=7`` choose. Each prints its seed, and the same seed does the same again. The servers are on loopback.
"""
