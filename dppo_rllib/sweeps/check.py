"""Whether a sweep can run, found out before it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search.sample import Domain
from ray.tune.search.variant_generator import generate_variants, parse_spec_vars

from dppo_rllib.algorithms.apply_settings import validate
from dppo_rllib.sweeps.sweep import Sweep
from dppo_rllib.sweeps.trial import trial_config
from dppo_rllib.tasks import get_task, missing_requirements

_DRAWS = 3  # of random values, to meet their limits


def check_sweep(sweep: Sweep) -> None:
    """Tries configurations of the whole grid, each with a few draws of what is random.

    Raises:
        ValueError: A key is no setting, a value cannot be, settings contradict each other, or a
            task is not installed.
        FileNotFoundError: There is no policy to start from.
    """
    for drawn in drawn_configurations(sweep):
        if missing := missing_requirements(get_task(drawn["task"])):
            raise ValueError(f"task {drawn['task']}: install first: {'; '.join(missing)}")
        try:
            validate(trial_config(drawn))
        except ValueError as error:
            raise ValueError(f"param_space: {error} (in {_shown(drawn)})") from error


def drawn_configurations(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """The whole grid, each point with a few draws of what is random, and what may become of it."""
    space = dict(sweep.param_space)
    _, random, _ = parse_spec_vars(space)
    generator = np.random.default_rng(0)
    mutations = _mutations(sweep)
    for _ in range(_DRAWS if random or mutations else 1):
        for _, drawn in generate_variants(space, random_state=generator):
            yield drawn
            if mutations:
                yield drawn | {key: _drawn(value, generator) for key, value in mutations.items()}


def _mutations(sweep: Sweep) -> Mapping[str, Any]:
    """What population based training changes in the middle of a trial."""
    if isinstance(sweep.scheduler, PopulationBasedTraining):
        return sweep.scheduler._hyperparam_mutations
    return {}


def _drawn(values: Any, generator: np.random.Generator) -> Any:
    if isinstance(values, Domain):
        return values.sample(random_state=generator)
    if callable(values):
        return values()
    return values[generator.integers(len(values))]


def _shown(drawn: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in drawn.items())
