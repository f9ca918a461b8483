"""How fast the service answers on this machine, beside a raw answer of the same web server. See docs/performance.md."""
