"""What is kept between runs is whole, made once for each recipe, and not heaped up."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests.harness.kept import UNUSED_SECONDS, kept


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "idv-gateway"


class Recipes:
    """Writes the recipe's number into the folder, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.made = 0

    def make(self, folder: Path) -> None:
        self.made += 1
        (folder / "number").write_text(str(self.made))


def test_a_recipe_is_followed_once_and_another_one_makes_another_folder() -> None:
    recipes = Recipes()
    first = kept("thing", "one", recipes.make)
    assert kept("thing", "one", recipes.make) == first
    assert kept("thing", "two", recipes.make) != first
    assert ((first / "number").read_text(), recipes.made) == ("1", 2)


def test_of_many_who_come_at_once_one_makes_it_and_all_find_it_whole() -> None:
    recipes, together = Recipes(), Barrier(8)

    def come(_: int) -> str:
        together.wait()
        return (kept("thing", "one", recipes.make) / "number").read_text()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(come, range(8))) == {"1"}
    assert recipes.made == 1


def test_what_was_broken_off_is_not_there_and_is_made_again(cache: Path) -> None:
    def break_off(folder: Path) -> None:
        (folder / "number").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept("thing", "one", break_off)
    assert [path.name for path in cache.iterdir()] == ["thing.lock"]
    assert (kept("thing", "one", Recipes().make) / "number").read_text() == "1"


def test_what_nobody_has_used_for_long_makes_room_for_the_next(cache: Path) -> None:
    recipes = Recipes()
    old, used = (kept("thing", recipe, recipes.make) for recipe in ("old", "used"))
    beside = kept("something-else", "old", recipes.make)
    long_ago = time.time() - UNUSED_SECONDS - 1
    for folder in (old, used, beside):
        os.utime(folder, (long_ago, long_ago))
    kept("thing", "used", recipes.make)
    new = kept("thing", "new", recipes.make)
    assert {path for path in cache.iterdir() if path.is_dir()} == {used, new, beside}
