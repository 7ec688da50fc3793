"""Experiment trackers beside the files of a run: Weights & Biases, MLflow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ray import tune

PROJECT = "dppo_rllib"  # where WANDB_PROJECT and MLFLOW_EXPERIMENT_NAME name no other
_MODULES = {"wandb": "wandb", "mlflow": "mlflow"}  # by extra

LoggerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--logger",
        metavar="wandb|mlflow",
        help="Also log to Weights & Biases or MLflow, set up by their own variables (WANDB_MODE, "
        "WANDB_PROJECT, MLFLOW_TRACKING_URI, …); may be repeated. TensorBoard, CSV and JSON are "
        "always written.",
    ),
]


def check_loggers(names: Sequence[str]) -> None:
    """Raises ValueError unless the trackers are known, installed and set up."""
    for name in names:
        if name not in _MODULES:
            raise ValueError(
                f"--logger {name}: expected wandb or mlflow (TensorBoard is always written)"
            )
        if importlib.util.find_spec(_MODULES[name]) is None:
            raise ValueError(
                f'--logger {name}: not installed; expected pip install "dppo_rllib[{name}]"'
            )
    if "wandb" in names and os.environ.get("WANDB_MODE") not in ("offline", "disabled"):
        import wandb

        if not (os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False)):
            raise ValueError(
                "--logger wandb: no key; expected `wandb login`, WANDB_API_KEY, or "
                "WANDB_MODE=offline"
            )


def tracker_callbacks(names: Sequence[str]) -> list[tune.Callback]:
    """Tune's callbacks for trackers, each trial a run of theirs.

    A trial that is resumed goes on in its run: both trackers find it by the trial's id.

    Args:
        names: "wandb", "mlflow"; `check_loggers` has taken them.
    """
    builders: dict[str, Callable[[], Any]] = {"wandb": _wandb, "mlflow": _mlflow}
    return [builders[name]() for name in dict.fromkeys(names)]


def _wandb() -> Any:
    from dppo_rllib.cli.wandb_callback import WandbCallback

    return WandbCallback()


def _mlflow() -> Any:
    from dppo_rllib.cli.mlflow_callback import MLflowCallback

    return MLflowCallback()
