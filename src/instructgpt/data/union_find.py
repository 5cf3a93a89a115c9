"""Union-find over the numbers from 0: what is linked, directly or not, has one name."""

from __future__ import annotations

from array import array


def unlinked(count: int) -> array[int]:
    """The numbers below `count`, each on its own."""
    return array("q", range(count))


def link(smallest: array[int], a: int, b: int) -> None:
    """Two numbers and all that are linked with them are one from now on."""
    low, high = sorted((find(smallest, a), find(smallest, b)))
    smallest[high] = low


def find(smallest: array[int], number: int) -> int:
    """The smallest number that is linked with `number`."""
    while smallest[number] != number:
        smallest[number] = smallest[smallest[number]]
        number = smallest[number]
    return number
