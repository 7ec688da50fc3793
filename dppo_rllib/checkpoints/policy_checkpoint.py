"""A policy on disk: everything that acting needs, nothing that only training needs.

A directory with `policy.json` (what it is) and `policy.safetensors` (its weights): readable
without Ray and without unpickling. Every checkpoint of an algorithm holds one in `policy/`.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, save_file
from torch import Tensor

from dppo_rllib.checkpoints.storage import StoragePath
from dppo_rllib.datasets.atomic import new_directory
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.modules.policies import build_policy, policy_config_from_dict
from dppo_rllib.modules.policy import ChunkPolicy, PolicyConfig
from dppo_rllib.networks import Critic, CriticConfig

FORMAT_VERSION = 1
DESCRIPTION, WEIGHTS = "policy.json", "policy.safetensors"
POLICY = "policy"  # the directory within the checkpoint of an algorithm
_NONE = type(None)
_FIELDS = {
    "config": (dict,),
    "normalization": (dict, _NONE),
    "task": (str, _NONE),
    "env": (dict, _NONE),
    "critic": (dict, _NONE),
    "provenance": (dict,),
}


@dataclass(frozen=True)
class PolicyCheckpoint:
    """A policy with its weights, its normalisation and where it belongs.

    Attributes:
        config: What defines the policy.
        weights: `actor.*`, `actor_ft.*` if fine-tuned, `eta.*` if learned, `critic.*` if known.
        normalization: Maps observations and actions; None if they are used as they are.
        task: Name of the task it was trained for.
        env: `{"id", "config", "max_episode_steps"}` to build its environment again; None if that
            was a Python object, or was made from one.
        critic: Architecture of the critic (fields of `CriticConfig`) if its weights are there.
        provenance: How it was made; for people.
    """

    config: PolicyConfig
    weights: dict[str, Tensor]
    normalization: Normalization | None = None
    task: str | None = None
    env: dict[str, Any] | None = None
    critic: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def component(self, name: str) -> dict[str, Tensor]:
        """Weights whose keys start with `name.`, without that prefix."""
        prefix = f"{name}."
        return {k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)}

    def build(self) -> ChunkPolicy:
        """The policy, ready to act."""
        policy = build_policy(self.config)
        own = {k: v for k, v in self.weights.items() if not k.startswith("critic.")}
        policy.load_state_dict(own)
        return policy.eval()


def save_policy(checkpoint: PolicyCheckpoint, path: str | os.PathLike[str]) -> Path:
    """Writes a policy, atomically; an earlier one at `path` is replaced.

    Returns:
        The directory.

    Raises:
        FileExistsError: There is something else at `path`.
    """
    target = Path(path).absolute()
    if target.exists() and not (target / DESCRIPTION).is_file() and any(target.iterdir()):
        raise FileExistsError(f"{path}: holds other files; expected a new directory or a policy")
    normalization = checkpoint.normalization
    description = {
        "format_version": FORMAT_VERSION,
        "config": checkpoint.config.to_dict(),
        "normalization": normalization.to_dict() if normalization else None,
        "task": checkpoint.task,
        "env": checkpoint.env,
        "critic": checkpoint.critic,
        "provenance": checkpoint.provenance,
    }
    weights = {k: v.detach().cpu().contiguous() for k, v in checkpoint.weights.items()}
    with new_directory(target, overwrite=True) as directory:
        save_file(weights, directory / WEIGHTS)
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    return target


def send_policy(checkpoint: PolicyCheckpoint, target: StoragePath) -> None:
    """Writes a policy to wherever `target` is; its description, which readers look for, is last."""
    if target.is_local:
        save_policy(checkpoint, target)
        return
    with tempfile.TemporaryDirectory() as scratch:
        written = save_policy(checkpoint, Path(scratch) / POLICY)
        for name in (WEIGHTS, DESCRIPTION):
            (target / name).copy_from(written / name)


def load_policy(path: str | os.PathLike[str]) -> PolicyCheckpoint:
    """Reads a policy, strictly: its weights must be exactly those its configuration asks for.

    Args:
        path: A policy's directory, or the checkpoint of an algorithm that holds one; a path or a
            URI.

    Raises:
        FileNotFoundError: There is no policy at `path`.
        ValueError: A field is unknown, missing or contradicts another, or weights are missing,
            unknown or misshapen.
        OSError: The storage cannot be reached.
    """
    directory = StoragePath.of(path)
    if not (directory / DESCRIPTION).is_file():
        directory = directory / POLICY
    if not (directory / DESCRIPTION).is_file():
        raise FileNotFoundError(
            f"no policy at {path}: expected a directory with {DESCRIPTION}, or a checkpoint of "
            "dppo_rllib"
        )
    source = directory / DESCRIPTION
    values = _read_description(source)
    try:
        config = policy_config_from_dict(values.pop("config"))
        normalization = values.pop("normalization")
        if normalization is not None:
            normalization = Normalization.from_dict(normalization)
            _check_normalization(normalization, config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}: {error}") from error
    try:
        weights = load((directory / WEIGHTS).read_bytes())
    except Exception as error:  # safetensors' own error type has no public base class
        raise ValueError(f"{directory / WEIGHTS}: cannot be read ({error})") from error
    checkpoint = PolicyCheckpoint(config, weights, normalization, **values)
    check_weights(checkpoint, str(directory / WEIGHTS))
    return checkpoint


def _read_description(source: StoragePath) -> dict[str, Any]:
    try:
        values = json.loads(source.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{source}: holds a {type(values).__name__}, expected an object")
    if values.pop("format_version", None) != FORMAT_VERSION:
        raise ValueError(
            f"{source}: format_version is not {FORMAT_VERSION}; it was written by another version "
            "of dppo_rllib"
        )
    if set(values) != set(_FIELDS):
        raise ValueError(f"{source}: fields {sorted(values)}, expected {sorted(_FIELDS)}")
    for name, types in _FIELDS.items():
        if not isinstance(values[name], types):
            expected = " or ".join("null" if t is _NONE else t.__name__ for t in types)
            raise ValueError(
                f"{source}: {name} is a {type(values[name]).__name__}, expected {expected}"
            )
    return values


def _check_normalization(normalization: Normalization, config: PolicyConfig) -> None:
    for name, ends, expected in (
        ("obs", normalization.obs_min, config.obs_dim),
        ("action", normalization.action_min, config.action_dim),
    ):
        if ends is not None and len(ends) != expected:
            raise ValueError(
                f"normalization: {name}_min has {len(ends)} entries, expected {name}_dim={expected}"
            )


def check_weights(checkpoint: PolicyCheckpoint, source: str) -> None:
    """Raises ValueError unless the weights are those of `checkpoint.config` and `.critic`."""
    config, given = checkpoint.config, checkpoint.weights
    expected = build_policy(config).state_dict()
    if checkpoint.critic is not None:
        architecture = build_dataclass(CriticConfig, checkpoint.critic)
        critic = Critic(architecture, config.observation_spec)
        expected |= {f"critic.{key}": value for key, value in critic.state_dict().items()}
    missing, unknown = sorted(expected.keys() - given), sorted(given.keys() - expected)
    if missing or unknown:
        raise ValueError(f"{source}: missing weights {missing}, unknown weights {unknown}")
    for key, value in expected.items():
        if given[key].shape != value.shape:
            raise ValueError(
                f"{source}: {key} has shape {tuple(given[key].shape)}, "
                f"expected {tuple(value.shape)}"
            )
