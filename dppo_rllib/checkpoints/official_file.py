"""What is in a `.pt` checkpoint of the DPPO authors' code, and that it is all there.

After pre-training: `{"epoch", "model", "ema"}` with `network.*`, of which the averaged weights are
the policy. After fine-tuning: `{"itr", "model"}` with `network.*` and `actor.*` (both the frozen
base), `actor_ft.*`, `critic.*` and, with DDIM, `eta.*`.
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
# Keys of networks without a counterpart here; the first match names the architecture.
_UNSUPPORTED = (
    (r"\.(backbone|compress\d?)\.", "a vision encoder"),
    (r"\.(time_mlp|down_modules|mid_modules|up_modules|final_conv)\.", "a U-Net"),
    (r"\.mlp_weights\.", "a Gaussian mixture policy"),
    (r"\.(logvar\w*$|mlp_logvar\.|mlp_base\.)", "a Gaussian policy"),
    (r"\.transformer\.", "a transformer"),
    (r"^(critic_\w+\.|target_\w+\.|critic\.Q2\.)", "an off-policy algorithm"),
)
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


@dataclass(frozen=True)
class OfficialFile:
    """The weights of one policy, by part and without the parts' names.

    Attributes:
        path: Where they come from.
        base: The pre-trained denoiser.
        actor_ft: The fine-tuned denoiser; None after pre-training.
        critic: The critic; None after pre-training.
        eta: DDIM's noise level; None after pre-training and with DDPM.
        denoising_steps: `K`, where the file says it.
        ddim_steps: Sampler steps of DDIM, where the file says it.
        provenance: Which weights of which file, and after how many epochs or iterations.
    """

    path: Path
    base: StateDict
    actor_ft: StateDict | None
    critic: StateDict | None
    eta: StateDict | None
    denoising_steps: int | None
    ddim_steps: int | None
    provenance: dict[str, Any]


def read_official(path: Path) -> OfficialFile:
    """Reads a checkpoint; only tensors and numbers, never Python objects.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no such checkpoint, belongs to an unsupported architecture, or a
            part is missing, unknown or contradicts another.
    """
    content = _load(path)
    fine_tuned = set(content) == _FINE_TUNED
    counter, chosen = ("itr", "model") if fine_tuned else ("epoch", "ema")
    model = content[chosen]
    _check_tensors(model, chosen, path)
    _refuse_unsupported(model, path)
    weights = {key: value for key, value in model.items() if not _SCHEDULE.match(key)}
    denoising_steps, ddim_steps = _schedule(
        {key: value for key, value in model.items() if key not in weights}, path
    )
    parts = _split(weights, fine_tuned, path)
    if fine_tuned:
        _check_same_base(parts["network"], parts["actor"], path)
    return OfficialFile(
        path=path,
        base=parts["network"],
        actor_ft=parts.get("actor_ft"),
        critic=parts.get("critic"),
        eta=parts.get("eta"),
        denoising_steps=denoising_steps,
        ddim_steps=ddim_steps,
        provenance={
            "source": "DPPO authors' code",
            "file": path.name,
            "weights": chosen,
            counter: content[counter],
        },
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
        if not key.startswith("eta.") and not value.isfinite().all():
            raise ValueError(f"{path}: {key} holds NaN or infinity")


def _refuse_unsupported(model: StateDict, path: Path) -> None:
    for pattern, architecture in _UNSUPPORTED:
        for key in model:
            if re.search(pattern, key):
                raise ValueError(
                    f"{path}: {key} belongs to {architecture}, which is not supported yet; "
                    "expected an MLP diffusion policy, pre-trained or fine-tuned by DPPO"
                )


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


def _split(weights: StateDict, fine_tuned: bool, path: Path) -> dict[str, StateDict]:
    required = ("network", "actor", "actor_ft", "critic") if fine_tuned else ("network",)
    parts: dict[str, StateDict] = {}
    for key, value in weights.items():
        part, _, rest = key.partition(".")
        if part not in required and not (fine_tuned and part == "eta"):
            raise ValueError(f"{path}: unknown key {key}, expected {[f'{p}.*' for p in required]}")
        parts.setdefault(part, {})[rest] = value
    for part in required:
        if part not in parts:
            hint = "; it was not fine-tuned by DPPO" if part in ("actor_ft", "critic") else ""
            raise ValueError(f"{path}: missing keys {part}.*{hint}")
    return {part: native_keys(state) for part, state in parts.items()}


def _check_same_base(network: StateDict, actor: StateDict, path: Path) -> None:
    for key in sorted(network.keys() | actor.keys()):
        if key not in network or key not in actor:
            owner = "actor" if key in network else "network"
            raise ValueError(f"{path}: missing key {owner}.{key}")
        if not torch.equal(network[key], actor[key]):
            raise ValueError(
                f"{path}: actor.{key} differs from network.{key}, expected the same frozen base "
                "network under both names"
            )
