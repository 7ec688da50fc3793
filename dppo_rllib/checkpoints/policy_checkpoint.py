"""A policy on disk: everything that acting needs, nothing that only training needs.

A directory with `policy.json` (what it is) and `policy.safetensors` (its weights): readable
without Ray and without unpickling. Every checkpoint of an algorithm holds one in `policy/`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from dppo_rllib.environments import Normalization
from dppo_rllib.modules.policy import DiffusionPolicy, PolicyConfig

FORMAT_VERSION = 1
_JSON, _WEIGHTS = "policy.json", "policy.safetensors"
_FIELDS = ("config", "normalization", "task", "env", "critic", "provenance")


@dataclass(frozen=True)
class PolicyCheckpoint:
    """A policy with its weights, its normalisation and where it belongs.

    Attributes:
        config: What defines the policy.
        weights: `actor.*`, `actor_ft.*` if fine-tuned, `critic.*` if known.
        normalization: Maps observations and actions; None if they are used as they are.
        task: Name of the task it was trained for.
        env: `{"id", "config", "max_episode_steps"}` to build its environment again; None if that
            was a Python object without a name.
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

    def build(self) -> DiffusionPolicy:
        """The policy, ready to act."""
        policy = DiffusionPolicy(self.config)
        policy.load_state_dict({k: v for k, v in self.weights.items() if "critic." not in k})
        return policy.eval()


def save_policy(checkpoint: PolicyCheckpoint, path: str | os.PathLike[str]) -> Path:
    """Writes a policy, atomically; an earlier one at `path` is replaced.

    Returns:
        The directory.
    """
    target = Path(path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        weights = {k: v.detach().cpu().contiguous() for k, v in checkpoint.weights.items()}
        save_file(weights, scratch / _WEIGHTS)
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
        (scratch / _JSON).write_text(json.dumps(description, indent=2) + "\n")
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def load_policy(path: str | os.PathLike[str]) -> PolicyCheckpoint:
    """Reads a policy, strictly: its weights must be exactly those its configuration asks for.

    Args:
        path: A policy's directory, or the checkpoint of an algorithm that holds one.

    Raises:
        FileNotFoundError: There is no policy at `path`.
        ValueError: A field is unknown or missing, or weights are missing, unknown or misshapen.
    """
    directory = Path(path)
    if not (directory / _JSON).is_file():
        directory = directory / "policy"
    if not (directory / _JSON).is_file():
        raise FileNotFoundError(
            f"no policy at {path}: expected a directory with {_JSON}, or a checkpoint of dppo_rllib"
        )
    source = directory / _JSON
    try:
        values = json.loads(source.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: not valid JSON ({error})") from error
    if values.pop("format_version", None) != FORMAT_VERSION:
        raise ValueError(
            f"{source}: format_version is not {FORMAT_VERSION}; it was written by another version "
            "of dppo_rllib"
        )
    if set(values) != set(_FIELDS):
        raise ValueError(f"{source}: fields {sorted(values)}, expected {sorted(_FIELDS)}")
    try:
        config = PolicyConfig.from_dict(values.pop("config"))
        weights = load_file(directory / _WEIGHTS)
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{directory}: {error}") from error
    except Exception as error:  # safetensors' own error type has no public base class
        raise ValueError(f"{directory / _WEIGHTS}: cannot be read ({error})") from error
    normalization = values.pop("normalization")
    checkpoint = PolicyCheckpoint(
        config=config,
        weights=weights,
        normalization=Normalization.from_dict(normalization) if normalization else None,
        **values,
    )
    check_weights(checkpoint, str(directory / _WEIGHTS))
    return checkpoint


def check_weights(checkpoint: PolicyCheckpoint, source: str) -> None:
    """Raises ValueError unless the weights are those of `checkpoint.config`."""
    expected = DiffusionPolicy(checkpoint.config).state_dict()
    given = {k: v for k, v in checkpoint.weights.items() if not k.startswith("critic.")}
    missing, unknown = sorted(expected.keys() - given), sorted(given.keys() - expected)
    if missing or unknown:
        raise ValueError(f"{source}: missing weights {missing}, unknown weights {unknown}")
    for key, value in expected.items():
        if given[key].shape != value.shape:
            raise ValueError(
                f"{source}: {key} has shape {tuple(given[key].shape)}, "
                f"expected {tuple(value.shape)}"
            )
