"""Logs, metrics and traces: what the service tells its operator, without a word about a person."""
