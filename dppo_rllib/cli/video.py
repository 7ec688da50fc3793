"""Videos of an episode, rendered in a process of its own: an OpenGL crash must not end a run.

An evaluation keeps the actions of its first episode, and the video shows them again. Computed anew
for a single environment they would be rounded otherwise, and contacts make another episode of that.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dppo_rllib.errors import UserError

if TYPE_CHECKING:
    from dppo_rllib.rollouts import Episode

_BACKENDS = ("egl", "osmesa")
_TIMEOUT_S = 600
_NEEDED = (
    "off-screen rendering needs EGL (apt-get install libegl1) or OSMesa (apt-get install "
    "libosmesa6), and an environment that supports render_mode='rgb_array'"
)


def record_video(
    policy: str | os.PathLike[str],
    episode: Episode,
    output: Path,
    *,
    seed: int,
    task: str | None = None,
    env: str | None = None,
    env_settings: Mapping[str, Any] | None = None,
    tasks_from: Sequence[str] = (),
) -> str:
    """Records an episode again.

    Args:
        policy: Directory of the policy that acted, a path or a URI.
        episode: The first of environment 0 in an evaluation.
        output: The mp4 file.
        seed: Of that evaluation.
        task: Task whose environment to use; None takes the checkpoint's.
        env: Environment to use instead of either.
        env_settings: Changes the task's.
        tasks_from: Files that register tasks.

    Returns:
        What is seen in it.

    Raises:
        UserError: There is no video; says why.
    """
    request = {
        "policy": str(policy),
        "chunks": episode.chunks.tolist(),
        "evaluated": {"total_reward": episode.total_reward, "success": episode.success},
        "output": str(output),
        "seed": seed,
        "task": task,
        "env": env,
        "env_settings": dict(env_settings or {}),
        "tasks_from": [str(path) for path in tasks_from],
    }
    command = [sys.executable, "-m", "dppo_rllib.cli.video"]
    chosen = os.environ.get("MUJOCO_GL")
    problem = ""
    for backend in [chosen] if chosen else _BACKENDS:
        environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        try:
            done = subprocess.run(
                command,
                input=json.dumps(request),
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            problem = f"not finished after {_TIMEOUT_S} s"
            continue
        if done.returncode == 0 and output.is_file():
            return done.stdout.splitlines()[-1]
        problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise UserError(f"no video: {problem}; {_NEEDED}")


def _description(name: str, evaluated: Episode, filmed: Episode) -> str:
    """What is seen; where a simulator does not repeat itself, what was evaluated, too."""
    text = f"{name}: episode 0, {filmed}"
    same = math.isclose(filmed.total_reward, evaluated.total_reward, rel_tol=1e-4, abs_tol=1e-4)
    if same and filmed.success == evaluated.success:
        return text
    return f"{text}; this simulator does not repeat what was evaluated, {evaluated}"


def _record(request: dict[str, Any]) -> None:
    import imageio.v2 as imageio
    import numpy as np

    from dppo_rllib.checkpoints import load_policy
    from dppo_rllib.checkpoints.evaluation import make_env
    from dppo_rllib.rollouts.evaluation import Episode, repeat_episode
    from dppo_rllib.tasks import get_task
    from dppo_rllib.tasks.load import load_tasks

    for path in request["tasks_from"]:
        load_tasks(path)
    overrides: dict[str, Any] = {}
    if request["env"] is not None:
        overrides = {"env": request["env"]}
    elif request["task"] is not None:
        task = get_task(request["task"])
        overrides = {
            "env": task.env,
            "env_config": {**task.env_config, **request["env_settings"]},
            "max_episode_steps": task.max_episode_steps,
        }
    env = make_env(load_policy(request["policy"]), 1, render_mode="rgb_array", **overrides)
    episode = Episode(np.array(request["chunks"], np.float32), **request["evaluated"])
    frames: list[np.ndarray] = []
    filmed = repeat_episode(
        env, episode, seed=request["seed"], on_step=lambda _: frames.extend(env.pop_frames())
    )
    fps = float(env.metadata.get("render_fps") or 30)
    env.close()
    output = Path(request["output"])
    # Even sides: what every player decodes.
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    pictures = np.stack(frames)[:, :height, :width]
    imageio.mimwrite(output, list(pictures), fps=fps, macro_block_size=1)
    print(_description(output.name, episode, filmed))


if __name__ == "__main__":
    _record(json.load(sys.stdin))
