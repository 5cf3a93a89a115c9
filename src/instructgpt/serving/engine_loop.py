"""The thread that owns an engine: it takes requests in, steps them together, hands pieces out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from instructgpt.rollout.engine import BaseEngine
from instructgpt.rollout.live_batch import LiveBatch
from instructgpt.rollout.types import EngineStats
from instructgpt.serving.generation import Generation, Piece

Arrivals = list[tuple[Generation, Piece | None]]
_Command = tuple[Callable[[Generation], None], Generation] | None  # None: stop


class EngineLoop:
    """Runs `engine` in a thread of its own until `stop`.

    notify: called in that thread with what has come, once per step; None instead of a piece when
    the engine has failed. A failure shows its traceback and leaves `alive` False.
    """

    def __init__(self, engine: BaseEngine, notify: Callable[[Arrivals], None]) -> None:
        self._engine = engine
        self._live = LiveBatch(engine)
        self._notify = notify
        self._commands: SimpleQueue[_Command] = SimpleQueue()
        self._running: dict[int, Generation] = {}
        self._numbers: dict[Generation, int] = {}
        self._stopping = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests are still being answered."""
        return not self._over.is_set()

    @property
    def stats(self) -> EngineStats:
        return self._live.stats

    def submit(self, generation: Generation) -> None:
        """Let it wait for its turn."""
        self._commands.put((self._add, generation))
        if not self.alive:
            generation.arrive(None)

    def cancel(self, generation: Generation) -> None:
        """Free what it holds; nothing happens when it has ended."""
        self._commands.put((self._drop, generation))

    def stop(self) -> None:
        """Finish what runs, then end the thread."""
        self._commands.put(None)
        self._thread.join()

    def _guarded(self) -> None:
        try:
            with self._engine.forward.ready():  # once, not at every step
                self._work()
        finally:
            self._over.set()
            left = list(self._running.values())
            while not self._commands.empty():  # this thread is the only one that takes
                command = self._commands.get()
                left += [] if command is None else [command[1]]
            if left:
                self._notify([(generation, None) for generation in left])

    def _work(self) -> None:
        while not (self._stopping and self._live.idle):
            self._obey()
            if not self._live.idle:
                self._step()

    def _obey(self) -> None:
        """Carry out all commands; wait for one when there is nothing else to do."""
        if self._live.idle and not self._stopping:
            self._carry_out(self._commands.get())
        while not self._commands.empty():
            self._carry_out(self._commands.get())

    def _carry_out(self, command: _Command) -> None:
        if command is None:
            self._stopping = True
        else:
            act, generation = command
            act(generation)

    def _step(self) -> None:
        arrivals: Arrivals = []
        for token in self._live.step():
            generation = self._running.get(token.request)
            if generation is None:
                continue
            piece = generation.take(token)
            if piece is None:
                continue
            arrivals.append((generation, piece))
            if piece.finish_reason is not None and token.finish_reason is None:
                self._live.cancel(token.request, token.sample)  # a stop string
            if generation.finished:
                self._forget(generation)
        if arrivals:
            self._notify(arrivals)

    def _add(self, generation: Generation) -> None:
        number = self._live.add(
            generation.prompt_ids,
            generation.params,
            n=generation.n,
            key=generation.key,
            top=generation.top,
            changes=generation.changes,
            ignore_eos=generation.ignore_eos,
        )
        self._running[number] = generation
        self._numbers[generation] = number

    def _drop(self, generation: Generation) -> None:
        number = self._numbers.get(generation)
        if number is not None:
            self._live.cancel(number)
            self._forget(generation)

    def _forget(self, generation: Generation) -> None:
        del self._running[self._numbers.pop(generation)]
