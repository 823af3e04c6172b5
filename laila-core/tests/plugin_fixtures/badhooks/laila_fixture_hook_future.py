"""Built for a contract that is not there yet."""

laila_contract = 2
