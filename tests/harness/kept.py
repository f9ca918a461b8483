"""What takes long to make is made once and kept between runs. A run that finds nothing makes it again."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

# No run of the tests lasts so long: what lay untouched for this time is in nobody's hands.
UNUSED_SECONDS = 7 * 24 * 60 * 60


def kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` has filled by this recipe, now or in an earlier run; nobody may write to it.

    Of several processes that come at once, one makes it, and the others wait. Whoever is broken off leaves nothing.
    """
    place = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "idv-gateway"
    place.mkdir(parents=True, exist_ok=True)
    folder = place / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _remove_unused(place, name)
            with TemporaryDirectory(dir=place, prefix="unfinished-") as unfinished:
                made = Path(unfinished) / name
                made.mkdir()
                make(made)
                made.rename(folder)
        os.utime(folder)
    return folder


def _remove_unused(place: Path, name: str) -> None:
    for other in place.glob(f"{name}-*"):
        if other.stat().st_mtime < time.time() - UNUSED_SECONDS:
            shutil.rmtree(other)
