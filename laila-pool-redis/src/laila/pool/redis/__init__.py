"""A laila pool on a Redis server: pipelined, atomic on the server, or with a private server."""

from __future__ import annotations

from laila.pool.redis.pool import RedisPool
from laila.pool.redis.settings import RedisSettings

__all__ = ["RedisPool", "RedisSettings"]
