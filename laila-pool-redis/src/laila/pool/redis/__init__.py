"""A laila pool on a Redis server: pipelined, atomic on the server, or a private server of its own."""
