"""What is in a `.pt` checkpoint of the DPPO authors' code, and that it is all there.

After pre-training: `{"epoch", "model", "ema"}` with `network.*`, of which the averaged weights are
the policy. After fine-tuning: `{"itr", "model"}` with `actor.*` (the frozen base; a mixture has
none), `actor_ft.*`, `critic.*` and, with DDIM, `eta.*`. `network.*` is there a second time the base
of a diffusion policy, but the fine-tuned network of the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dppo_rllib.denoising.schedules import cosine_schedule

StateDict = dict[str, Tensor]

_PRETRAINED, _FINE_TUNED = {"epoch", "model", "ema"}, {"itr", "model"}
# Networks that only algorithms without a counterpart here have.
_OFF_POLICY = re.compile(r"(critic_\w+\.|target_\w+\.|critic\.Q2\.|actor_target\.|ensemble_params)")
# Keys that every policy of a kind has; the bounds of a standard deviation are also a mixture's.
_KINDS = {
    "diffusion": re.compile(r"network\.(time_embedding|time_mlp)\."),
    "gmm": re.compile(r"network\.(mlp_weights|modes_head)\."),
    "gaussian": re.compile(r"network\.logvar_min$"),
}
_PARTS = {
    "diffusion": ("network", "actor", "actor_ft", "critic"),
    "gaussian": ("network", "actor", "actor_ft", "critic"),
    "gmm": ("network", "actor_ft", "critic"),
}
_TWIN = {"diffusion": "actor", "gaussian": "actor_ft", "gmm": "actor_ft"}  # of `network`
# Tensors that follow from the numbers of steps, where the code keeps them as buffers.
_SCHEDULE = re.compile(r"(betas|alphas|sqrt_|ddpm_|ddim_)\w*$")
# What encodes observations is a module of its own here, with a compression for each camera.
_ENCODER = re.compile(r"^(backbone|cond_mlp)\.")
_COMPRESSION = re.compile(r"^compress(\d?)\.")


def native_keys(state: StateDict) -> StateDict:
    """A network's weights under the names that ours has for them."""

    def renamed(key: str) -> str:
        if match := _COMPRESSION.match(key):
            camera = int(match[1] or 1) - 1
            return f"encoder.compress.{camera}.{key[match.end() :]}"
        return _ENCODER.sub(r"encoder.\1.", key)

    return {renamed(key): value for key, value in state.items()}


def official_key(key: str, *, numbered: bool) -> str:
    """The authors' name of a weight, for messages.

    Args:
        key: Our name.
        numbered: There are several compressions.
    """
    if match := re.match(r"encoder\.compress\.(\d+)\.", key):
        number = str(int(match[1]) + 1) if numbered else ""
        return f"compress{number}.{key[match.end() :]}"
    return re.sub(r"^encoder\.(backbone|cond_mlp)\.", r"\1.", key)


@dataclass(frozen=True)
class OfficialFile:
    """The weights of one policy, by part and without the parts' names.

    Attributes:
        path: Where they come from.
        kind: "diffusion", "gaussian" or "gmm".
        base: The pre-trained network; of a fine-tuned mixture, whose base the authors do not keep,
            the fine-tuned one.
        actor_ft: The fine-tuned network; None after pre-training.
        critic: The critic; None after pre-training.
        eta: DDIM's noise level; None after pre-training and without DDIM.
        denoising_steps: `K`, where the file says it.
        ddim_steps: Sampler steps of DDIM, where the file says it.
        provenance: Which weights of which file, and after how many epochs or iterations.
    """

    path: Path
    kind: str
    base: StateDict
    actor_ft: StateDict | None
    critic: StateDict | None
    eta: StateDict | None
    denoising_steps: int | None
    ddim_steps: int | None
    provenance: dict[str, Any]

    @property
    def base_part(self) -> str:
        """What the file calls the base."""
        return "network" if self.actor_ft is None or self.kind == "gmm" else "actor"


def read_official(path: Path) -> OfficialFile:
    """Reads a checkpoint; only tensors and numbers, never Python objects.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no such checkpoint, belongs to an off-policy algorithm, or a part is
            missing, unknown or contradicts another.
    """
    content = _load(path)
    fine_tuned = set(content) == _FINE_TUNED
    counter, chosen = ("itr", "model") if fine_tuned else ("epoch", "ema")
    model = content[chosen]
    _check_tensors(model, chosen, path)
    kind = _kind(model, path)
    weights = {key: value for key, value in model.items() if not _SCHEDULE.match(key)}
    denoising_steps, ddim_steps = _schedule(
        {key: value for key, value in model.items() if key not in weights}, path
    )
    parts = _split(weights, kind, fine_tuned, path)
    provenance = {
        "source": "DPPO authors' code",
        "file": path.name,
        "weights": chosen,
        counter: content[counter],
    }
    if fine_tuned:
        _check_same(parts["network"], parts[_TWIN[kind]], _TWIN[kind], path)
        if "actor" not in parts:
            provenance["base"] = "not in the file; the fine-tuned weights take its place"
    return OfficialFile(
        path=path,
        kind=kind,
        base=parts.get("actor", parts["network"]),
        actor_ft=parts.get("actor_ft"),
        critic=parts.get("critic"),
        eta=parts.get("eta"),
        denoising_steps=denoising_steps,
        ddim_steps=ddim_steps,
        provenance=provenance,
    )


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a .pt of the DPPO authors' code")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes that are no checkpoint raise whatever they lead to
        raise ValueError(
            f"{path}: not a torch checkpoint of tensors and numbers only "
            f"({type(error).__name__}: {str(error).strip().splitlines()[:1]})"
        ) from error
    if not isinstance(content, dict) or set(content) not in (_PRETRAINED, _FINE_TUNED):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: holds {found}, expected {sorted(_PRETRAINED)} (pre-trained) or "
            f"{sorted(_FINE_TUNED)} (fine-tuned)"
        )
    return content


def _check_tensors(model: object, name: str, path: Path) -> None:
    if not isinstance(model, dict):
        raise ValueError(f"{path}: {name} is a {type(model).__name__}, expected a state dict")
    for key, value in model.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: {key!r} is a {type(value).__name__}, expected a tensor")
        # An eta of 1, the end of its range, is stored as an infinite logit.
        invalid = value.isnan() if key.startswith("eta.") else ~value.isfinite()
        if invalid.any():
            raise ValueError(f"{path}: {key} holds NaN or infinity")


def _kind(model: StateDict, path: Path) -> str:
    """Which policy the weights are of."""
    for key in model:
        if _OFF_POLICY.match(key):
            raise ValueError(
                f"{path}: {key} belongs to an off-policy algorithm, which is not supported; "
                "expected a policy that was pre-trained, or fine-tuned by PPO"
            )
    found = {kind: key for kind, pattern in _KINDS.items() for key in model if pattern.match(key)}
    if "gmm" in found:
        found.pop("gaussian", None)
    if len(found) > 1:
        raise ValueError(f"{path}: keys of several kinds of policies: {sorted(found.values())}")
    if not found:
        raise ValueError(
            f"{path}: missing keys network.*, expected those of a diffusion policy "
            "(network.time_embedding.* or network.time_mlp.*) or of a Gaussian one "
            "(network.logvar_min)"
        )
    return next(iter(found))


def _schedule(buffers: StateDict, path: Path) -> tuple[int | None, int | None]:
    """`K` and the sampler steps of DDIM, from schedule buffers if there are any."""
    if not buffers:
        return None, None
    if "betas" not in buffers:
        raise ValueError(f"{path}: missing key betas, expected beside {sorted(buffers)}")
    betas = buffers["betas"].float()
    if betas.ndim != 1 or not torch.allclose(betas, cosine_schedule(len(betas)).betas, atol=1e-6):
        raise ValueError(f"{path}: betas are not those of the cosine schedule")
    return len(betas), len(buffers["ddim_t"]) if "ddim_t" in buffers else None


def _split(weights: StateDict, kind: str, fine_tuned: bool, path: Path) -> dict[str, StateDict]:
    required = _PARTS[kind] if fine_tuned else ("network",)
    optional = ("eta",) if fine_tuned and kind == "diffusion" else ()
    parts: dict[str, StateDict] = {}
    for key, value in weights.items():
        part, _, rest = key.partition(".")
        if part not in required + optional:
            raise ValueError(f"{path}: unknown key {key}, expected {[f'{p}.*' for p in required]}")
        parts.setdefault(part, {})[rest] = value
    for part in required:
        if part not in parts:
            hint = "; it was not fine-tuned by PPO" if part in ("actor_ft", "critic") else ""
            raise ValueError(f"{path}: missing keys {part}.*{hint}")
    return {part: native_keys(state) for part, state in parts.items()}


def _check_same(network: StateDict, twin: StateDict, name: str, path: Path) -> None:
    """Checks that a network is the same under the two names that the authors give it."""
    numbered = any(key.startswith("encoder.compress.1.") for key in network)
    for key in sorted(network.keys() | twin.keys()):
        shown = official_key(key, numbered=numbered)
        if key not in network or key not in twin:
            owner = name if key in network else "network"
            raise ValueError(f"{path}: missing key {owner}.{shown}")
        if not torch.equal(network[key], twin[key]):
            whose = "frozen base" if name == "actor" else "fine-tuned"
            raise ValueError(
                f"{path}: {name}.{shown} differs from network.{shown}, expected the same {whose} "
                "network under both names"
            )
