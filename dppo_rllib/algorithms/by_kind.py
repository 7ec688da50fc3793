"""Which algorithms there are, and which of them trains a policy."""

from __future__ import annotations

from dppo_rllib.algorithms.chunk_algorithm import ChunkAlgorithm
from dppo_rllib.algorithms.diffusion_bc import DiffusionBC
from dppo_rllib.algorithms.dppo import DPPO
from dppo_rllib.algorithms.exact_dppo import ExactDPPO
from dppo_rllib.algorithms.gaussian_bc import GMMBC, GaussianBC
from dppo_rllib.algorithms.gaussian_ppo import GMMPPO, GaussianPPO

# By the kind of the policy that they train.
PRETRAINING: dict[str, type[ChunkAlgorithm]] = {
    "diffusion": DiffusionBC,
    "gaussian": GaussianBC,
    "gmm": GMMBC,
}
# By the kind of the policy that they go on from.
FINE_TUNING: dict[str, type[ChunkAlgorithm]] = {
    "diffusion": DPPO,
    "exact_diffusion": ExactDPPO,
    "gaussian": GaussianPPO,
    "gmm": GMMPPO,
}
ALGORITHMS = {cls.__name__: cls for cls in (*FINE_TUNING.values(), *PRETRAINING.values())}


def algorithm_named(name: str, among: dict[str, type[ChunkAlgorithm]]) -> type[ChunkAlgorithm]:
    """One of `PRETRAINING` or `FINE_TUNING` by its own name.

    Raises:
        ValueError: There is no such algorithm.
    """
    found = {cls.__name__: cls for cls in among.values()}
    if name not in found:
        raise ValueError(f"algorithm={name!r}: expected one of {sorted(found)}")
    return found[name]
