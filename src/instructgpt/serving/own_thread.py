"""Work with tensors beside an engine, in a thread that ends with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_own_thread(work: Callable[[], T]) -> T:
    """What `work()` returns, or raises.

    Every thread that computes has threads of OpenMP of its own, which stay as long as it does. Once
    there are more of them than processors GNU's OpenMP lets none of them wait actively, and each of
    an engine's many small operations has to wake its threads: a step took a third longer (LOG).
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name="own thread", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
