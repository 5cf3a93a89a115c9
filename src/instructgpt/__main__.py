"""`python -m instructgpt` is the same as `instructgpt`."""

from instructgpt.cli.main import main

main()
