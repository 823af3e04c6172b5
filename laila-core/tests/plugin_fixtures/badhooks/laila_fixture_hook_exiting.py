"""A plugin that tries to end the process that imports it."""

import sys

sys.exit(3)
