"""Files with sweeps over a task so small that a trial is nearly free."""

from __future__ import annotations

from pathlib import Path

SWEEP_FILE = '''
import gymnasium
import numpy as np
from ray import tune

from dppo_rllib.sweeps import Sweep
from dppo_rllib.tasks import Task, register


class Nod(gymnasium.Env):
    """Reward for the sign of an action; episodes of two steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), float(action[0] > 0), self.steps == 2, False, {}


register(
    Task(
        name="nod", description="", env=Nod, obs_dim=1, action_dim=1, from_scratch=True, num_envs=4,
        rollout_fragment_length=8,
        settings={
            "GaussianPPO": {
                "horizon_steps": 1, "act_steps": 1, "minibatch_size": 16, "num_epochs": 1,
                "network": {"mlp_dims": (8,)}, "critic": {"mlp_dims": (8,)},
                "actor_lr_warmup_steps": 0, "actor_min_lr": 1e-6,
            }
        },
    )
)
SPACE = {"task": "nod", "algorithm": "GaussianPPO"}
'''
SEEDS = """
SWEEP = Sweep(
    "nods",
    {**SPACE, "clip_param": tune.grid_search([0.1, 0.2]), "seed": tune.grid_search([0, 1])},
    iterations=3,
)
"""
LR, CLIP = {"bad": 1e-5, "good": 1e-2}, {"bad": 0.05, "good": 0.3}
POPULATION = f"""
from ray.tune.schedulers import PopulationBasedTraining

SWEEP = Sweep(
    "population",
    {{
        **SPACE,
        "seed": 0,
        "actor_lr": tune.grid_search({list(LR.values())}),
        "clip_param": tune.sample_from(
            lambda drawn: {CLIP["bad"]} if drawn["actor_lr"] == {LR["bad"]} else {CLIP["good"]}
        ),
    }},
    iterations=8,
    scheduler=PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=3,
        quantile_fraction=0.5,
        resample_probability=0.0,
        hyperparam_mutations={{
            "actor_lr": tune.uniform(1e-4, 1e-1), "clip_param": tune.uniform(0.1, 1.0)
        }},
        synch=True,
    ),
)
"""


def sweep_file(path: Path, sweep: str) -> Path:
    path.write_text(SWEEP_FILE + sweep)
    return path
