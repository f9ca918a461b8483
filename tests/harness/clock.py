from datetime import UTC, datetime, timedelta


class Clock:
    """A clock that moves only when a test moves it. Service and sandbox share it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 4, 7, 17, 28, 25, 150_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)
