"""Fine-tune pre-trained diffusion policies for robots with reinforcement learning, on RLlib.

```python
from dppo_rllib import DPPOConfig
from dppo_rllib.tasks import get_task

algo = (
    DPPOConfig()
    .environment("Hopper-v5")
    .training(base_policy=get_task("hopper-medium").base_policy)
    .build_algo()
)
algo.train()
```
Importing the package registers its algorithms under their names, so that `tune.Tuner("DPPO", …)`
finds them.
"""

from dppo_rllib.algorithms import (
    DPPO,
    GMMBC,
    GMMPPO,
    DiffusionBC,
    DiffusionBCConfig,
    DPPOConfig,
    ExactDPPO,
    ExactDPPOConfig,
    GaussianBC,
    GaussianBCConfig,
    GaussianPPO,
    GaussianPPOConfig,
    GMMBCConfig,
    GMMPPOConfig,
)
from dppo_rllib.registration import register

__all__ = [
    "DPPO",
    "GMMBC",
    "GMMPPO",
    "DPPOConfig",
    "DiffusionBC",
    "DiffusionBCConfig",
    "ExactDPPO",
    "ExactDPPOConfig",
    "GMMBCConfig",
    "GMMPPOConfig",
    "GaussianBC",
    "GaussianBCConfig",
    "GaussianPPO",
    "GaussianPPOConfig",
    "register",
]
__version__ = "0.1.0"

register()
