"""What is decided, without I/O: the standard library alone."""
