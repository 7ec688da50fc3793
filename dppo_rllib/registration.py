"""Makes the algorithms known by name to Ray Tune and to RLlib."""

from __future__ import annotations

from ray.rllib.algorithms import registry
from ray.tune.registry import register_trainable

from dppo_rllib.algorithms.by_kind import ALGORITHMS


def register() -> None:
    """Registers every algorithm; to be called again after a second `ray.init`.

    Importing `dppo_rllib` calls it once.
    """
    for name, algorithm in ALGORITHMS.items():
        register_trainable(name, algorithm)

        def load(algorithm: type = algorithm) -> tuple[type, object]:
            return algorithm, algorithm.get_default_config()  # type: ignore[attr-defined]

        registry.ALGORITHMS[name] = load
