"""`instructgpt VERB`: the verbs and what happens when one fails. Nothing heavy is imported here.

Exit codes: 0 done, 2 the user can mend it (one line on standard error), 3 a loop waits for people,
130 interrupted, and a traceback with 1 for what is our fault.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from instructgpt.cli import check, loop, publish, recipes, serve, stages, talk
from instructgpt.errors import InstructGPTError
from instructgpt.progress import show_progress


class Verbs(TyperGroup):
    """The group of all verbs; turns our errors into one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except InstructGPTError as error:
            sys.stderr.write(f"error: {error}\n")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted; start the same command again to resume\n")
            raise typer.Exit(130) from None


class LogLines(logging.Handler):
    """Warnings of the library as lines on standard error, wherever it points at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        sys.stderr.write(f"{record.levelname.lower()}: {self.format(record)}\n")


app = typer.Typer(
    cls=Verbs,
    name="instructgpt",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The whole of InstructGPT: pretrain, demonstrate, rank, reward, PPO-ptx, prove, talk. "
    "Begin with `instructgpt quickstart`.",
)


@app.callback()
def prepare() -> None:
    """Switch on progress and warnings; runs before every verb."""
    # RANK is how torchrun tells its processes apart; only the first one reports.
    show_progress(os.environ.get("RANK", "0") == "0")
    logger = logging.getLogger("instructgpt")
    if not logger.handlers:
        logger.addHandler(LogLines())
        logger.propagate = False


recipes.add_to(app)
loop.add_to(app)
talk.add_to(app)
publish.add_to(app)
serve.add_to(app)
check.add_to(app)
stages.add_to(app)


def main() -> None:
    """The program."""
    _choose_spinning(sys.argv[1:])
    app(prog_name="instructgpt")


def _choose_spinning(arguments: Sequence[str]) -> None:
    """Let the threads of a matrix product sleep soon when one of them has to be waited for.

    GNU's OpenMP spins 300,000 times first. Beside other programs that takes from the thread that is
    waited for the very time it needs: steps took up to 80 times longer (docs/LOG.md, 2026-11-26).
    A server, whose steps are many small operations, and which mostly has its machine to itself,
    spins a bit longer. Read when torch is loaded; whoever has chosen is left alone.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000" if arguments[:1] == ["serve"] else "1000"
