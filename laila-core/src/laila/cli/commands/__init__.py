"""The commands, one module each: ``new_pool.py`` is ``laila new-pool``.

The docstring of a command module is its help, and the module has two functions::

    def configure(parser: argparse.ArgumentParser) -> None   # add arguments
    def run(options: argparse.Namespace) -> int              # do the work, return the exit code

To add a command is to add a file. Modules are imported to build the help, so they import what they need
inside their functions.
"""
