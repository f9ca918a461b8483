"""What the tests share: the real service, the real sandbox provider over HTTP, a real database, and a clock."""
