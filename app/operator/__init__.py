"""What an operator runs: the `idv` command and what it needs."""
