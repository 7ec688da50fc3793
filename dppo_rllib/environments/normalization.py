"""Min-max normalisation of observations and actions to [-1, 1]."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float, Float32

from dppo_rllib.environments.arrays import Values, beside, single_precision

_EPSILON = 1e-6
_KEYS = ("obs_min", "obs_max", "action_min", "action_max")
_PTH_KEYS = {
    "stats.observations.min": "obs_min",
    "stats.observations.max": "obs_max",
    "stats.actions.min": "action_min",
    "stats.actions.max": "action_max",
}


@dataclass(frozen=True, eq=False)
class Normalization:
    """Ranges that are mapped to [-1, 1]; values outside of them are mapped beyond, not clipped.

    Attributes:
        obs_min: Lower ends of the observations; None leaves observations as they are.
        obs_max: Upper ends.
        action_min: Lower ends of the actions.
        action_max: Upper ends.

    Raises:
        ValueError: Ends differ in shape, are not finite, or a lower end is above its upper end.
    """

    obs_min: Float32[np.ndarray, " Do"] | None
    obs_max: Float32[np.ndarray, " Do"] | None
    action_min: Float32[np.ndarray, " Da"]
    action_max: Float32[np.ndarray, " Da"]

    def __post_init__(self) -> None:
        if (self.obs_min is None) != (self.obs_max is None):
            raise ValueError("obs_min and obs_max: expected both or neither")
        for name in ("obs", "action"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low is None:
                continue
            if low.shape != high.shape or low.ndim != 1:
                raise ValueError(
                    f"{name}_min, {name}_max: shapes {low.shape} and {high.shape}, expected one "
                    "dimension and the same length"
                )
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                raise ValueError(f"{name}_min, {name}_max: expected finite numbers")
            if (low > high).any():
                i = int(np.argmax(low > high))
                raise ValueError(
                    f"{name}_min[{i}]={low[i]}: expected at most {name}_max[{i}]={high[i]}"
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Normalization):
            return NotImplemented
        pairs = [(getattr(self, key), getattr(other, key)) for key in _KEYS]
        return all(
            (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
            for a, b in pairs
        )

    __hash__ = None  # type: ignore[assignment]

    def normalize_obs(self, obs: Float[Values, "*N Do"]) -> Float32[Values, "*N Do"]:
        """Observations as networks see them; of tensors, tensors on their device."""
        obs = single_precision(obs)
        if self.obs_min is None or self.obs_max is None:
            return obs
        return _normalized(obs, self.obs_min, self.obs_max)

    def normalize_action(self, action: Float[np.ndarray, "*N Da"]) -> Float32[np.ndarray, "*N Da"]:
        """Demonstrated actions as networks see them."""
        return _normalized(single_precision(action), self.action_min, self.action_max)

    def denormalize_action(self, action: Float[Values, "*N Da"]) -> Float32[Values, "*N Da"]:
        """Actions of the environment for those of the policy; as the authors', without epsilon."""
        span = beside(self.action_max - self.action_min, action)
        return (single_precision(action) + 1) / 2 * span + beside(self.action_min, action)

    @classmethod
    def from_data(
        cls, observations: Float[np.ndarray, "M Do"], actions: Float[np.ndarray, "M Da"]
    ) -> Normalization:
        """The ranges of a dataset.

        Raises:
            ValueError: There are no rows, or an entry is NaN or infinite.
        """
        for name, values in (("observations", observations), ("actions", actions)):
            if len(values) == 0:
                raise ValueError(f"{name}: 0 rows, expected at least 1")
        ends = (observations.min(0), observations.max(0), actions.min(0), actions.max(0))
        return cls(*(end.astype(np.float32) for end in ends))

    @classmethod
    def from_spaces(cls, action_space: gymnasium.spaces.Box) -> Normalization:
        """Observations as they are, actions over the bounds of the action space.

        Raises:
            ValueError: The action space is not bounded.
        """
        if not action_space.is_bounded():
            raise ValueError(
                f"action_space={action_space}: unbounded; expected a normalization with its ranges"
            )
        low, high = action_space.low, action_space.high
        return cls(None, None, low.astype(np.float32), high.astype(np.float32))

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str]) -> Normalization:
        """Reads the authors' `normalization.npz`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: An array is missing.
        """
        with np.load(path) as arrays:
            if missing := [key for key in _KEYS if key not in arrays]:
                raise ValueError(f"{path}: missing {missing}, expected {list(_KEYS)}")
            return cls(**{key: arrays[key].astype(np.float32) for key in _KEYS})

    @classmethod
    def from_pth(cls, path: str | os.PathLike[str]) -> Normalization:
        """Reads the authors' `normalization.pth` of a Furniture-Bench task, strictly.

        The authors divide its observations by their range itself, without the epsilon that is
        added here: within the range a value differs by at most 2e-6 / range.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file holds other things than the tensors that it must.
        """
        import torch  # only these files need it

        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # other bytes raise whatever they lead to
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(f"{path}: no torch file of tensors only ({reason})") from error
        if not isinstance(content, dict) or set(content) != set(_PTH_KEYS):
            is_dict = isinstance(content, dict)
            found = sorted(map(str, content)) if is_dict else type(content).__name__
            raise ValueError(f"{path}: holds {found}, expected {sorted(_PTH_KEYS)}")
        for key, value in content.items():
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                raise ValueError(f"{path}: {key} is no tensor of floats")
        arrays = {ours: content[key].float().numpy() for key, ours in _PTH_KEYS.items()}
        return cls(**arrays)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Normalization:
        """Reads either of the authors' files, which one by its ending.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It does not hold what it must.
        """
        return cls.from_pth(path) if os.fspath(path).endswith(".pth") else cls.from_npz(path)

    def to_dict(self) -> dict[str, list[float] | None]:
        """Plain lists (JSON); exact."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: None if v is None else v.astype(float).tolist() for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Normalization:
        """Inverse of `to_dict`.

        Raises:
            ValueError: A key is missing or unknown.
        """
        if set(values) != set(_KEYS):
            raise ValueError(f"normalization: keys {sorted(values)}, expected {sorted(_KEYS)}")
        arrays: dict[str, Any] = {
            key: None if ends is None else np.asarray(ends, np.float32)
            for key, ends in values.items()
        }
        return cls(**arrays)


def _normalized(
    values: Any, low: Float32[np.ndarray, " D"], high: Float32[np.ndarray, " D"]
) -> Any:
    span = beside(high - low + _EPSILON, values)
    return 2 * ((values - beside(low, values)) / span - 0.5)
