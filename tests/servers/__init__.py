"""Real servers for the tests, on loopback: each is started by whoever needs it and ends with its owner."""
