"""How all tests run.

One thread: the reference tensors were computed so, and small networks gain nothing by more. No
deadlines: how long an example takes tells how busy the machine is.
"""

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
