"""Settings of stage `report`: one HTML page and one JSON file about a recipe's runs."""

from __future__ import annotations

from pydantic import Field

from instructgpt.config.base import Config


class ReportConfig(Config):
    """What the report reads and shows."""

    root: str | None = None
    """Directory that holds the stages' run directories; default: the one this run lies in."""
    evaluation: str | None = None
    """Run directory of the `evaluate` stage to show; default: the only one under root."""
    title: str = "InstructGPT"
    """Heading of the page."""
    num_examples: int = Field(default=60, ge=0)
    """Prompts shown with every model's answer, spread over tasks and languages."""
