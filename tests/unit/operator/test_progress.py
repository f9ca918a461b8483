import io

from app.operator.progress import progress


def test_a_log_gets_a_line_every_ten_seconds_with_what_is_done() -> None:
    clock, log = [0.0], io.StringIO()
    with progress("Encrypting again", stream=log, monotonic=lambda: clock[0]) as show:
        for done in range(500, 3500, 500):
            clock[0] += 4
            show(done)
    assert log.getvalue().splitlines() == ["Encrypting again: 1500 so far", "Encrypting again: 3000 so far"]


def test_short_work_leaves_no_line() -> None:
    log = io.StringIO()
    with progress("Removing attempts", stream=log, monotonic=lambda: 0.0) as show:
        show(500)
    assert log.getvalue() == ""
