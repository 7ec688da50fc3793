"""The paper's comparison: tasks × algorithms × seeds, one line of a table for each pair.

    dppo tune tune_configs/paper_table.py

An algorithm starts from a policy of its own kind; pre-train those that are not shipped first:

    dppo pretrain hopper-medium --policy gaussian --output pretrained/hopper-medium-gaussian
    dppo pretrain hopper-medium --policy gmm --output pretrained/hopper-medium-gmm
"""

from pathlib import Path

from ray import tune

from dppo_rllib.sweeps import Sweep

TASKS = ["hopper-medium"]
KINDS = {"DPPO": "diffusion", "ExactDPPO": "diffusion", "GaussianPPO": "gaussian", "GMMPPO": "gmm"}
PRETRAINED = Path("pretrained").absolute()


def base_policy(drawn: dict) -> str | None:
    """The policy of the algorithm's kind, if one was pre-trained here; else the task's own."""
    policy = PRETRAINED / f"{drawn['task']}-{KINDS[drawn['algorithm']]}"
    return str(policy) if policy.exists() or KINDS[drawn["algorithm"]] != "diffusion" else None


SWEEP = Sweep(
    "tasks × algorithms",
    {
        "task": tune.grid_search(TASKS),
        "algorithm": tune.grid_search(list(KINDS)),
        "base_policy": tune.sample_from(base_policy),
        "seed": tune.grid_search([0, 1, 2]),
    },
    iterations=200,
)
