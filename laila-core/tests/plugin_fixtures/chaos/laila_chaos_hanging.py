"""Hangs at import, and with it whoever imports it."""

import threading

threading.Event().wait()
