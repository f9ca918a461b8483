from __future__ import annotations


def plain_id(value: object) -> str:
    """A test's id without backslashes: pytest doubles those of a given id when it collects again in the same process.

    The mutation tool does that, would not find the test by its id, and would take the error for a change that was
    noticed.
    """
    return ascii(value).replace("\\", "/")[:50]
