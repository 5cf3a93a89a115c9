"""beta, the coefficient of the KL penalty: fixed as in the paper, or steered to a target."""

from __future__ import annotations

from instructgpt.config.ppo import KLConfig
from instructgpt.losses.kl import adapted_kl_coef


class KLController:
    """Holds beta; it is training state, so it is saved with the checkpoint."""

    def __init__(self, config: KLConfig) -> None:
        self.config = config
        self.coef = config.coef

    def update(self, kl: float, num_episodes: int) -> None:
        """Adapt beta to the KL per sequence of the last `num_episodes` episodes (Ziegler 2019)."""
        if self.config.controller == "adaptive":
            self.coef = adapted_kl_coef(
                self.coef, kl, self.config.target, self.config.horizon, num_episodes
            )

    def state_dict(self) -> dict[str, float]:
        return {"coef": self.coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.coef = state["coef"]
