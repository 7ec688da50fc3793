"""The fake with tensors of PyTorch, as the fork has them."""

import torch
from fake_furniture import FakeFurniture


class TorchFurniture(FakeFurniture):
    """What a reset shows are random numbers of PyTorch."""

    takes_numpy = False
    device = torch.device("cpu")

    def reset(self, env_idxs=None):
        rows = torch.arange(self.num_envs) if env_idxs is None else env_idxs
        super().reset(None if env_idxs is None else env_idxs.numpy())
        self.robot[rows.numpy()] = torch.randn(len(rows), 14).numpy()
        return self.tensors(self.observation())

    def step(self, action):
        assert isinstance(action, torch.Tensor)
        obs, rewards, done, info = super().step(action.numpy())
        return self.tensors(obs), torch.from_numpy(rewards), torch.from_numpy(done), info

    def tensors(self, obs):
        return {key: torch.from_numpy(value) for key, value in obs.items()}
