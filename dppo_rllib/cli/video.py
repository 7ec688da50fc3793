"""Videos of a policy, rendered in a process of its own: an OpenGL crash must not end a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_BACKENDS = ("egl", "osmesa")
_TIMEOUT_S = 600
_NEEDED = (
    "off-screen rendering needs EGL (apt-get install libegl1) or OSMesa (apt-get install "
    "libosmesa6), and an environment that supports render_mode='rgb_array'"
)


def record_video(
    policy: str | os.PathLike[str],
    output: Path,
    *,
    seed: int,
    task: str | None = None,
    env: str | None = None,
    tasks_from: Sequence[str] = (),
) -> str | None:
    """Records one episode, greedily.

    Args:
        policy: Directory of the policy, a path or a URI.
        output: The mp4 file.
        seed: Of the episode.
        task: Task whose environment to use; None takes the checkpoint's.
        env: Environment to use instead of either.
        tasks_from: Files that register tasks.

    Returns:
        None, or why there is no video.
    """
    request = {
        "policy": str(policy),
        "output": str(output),
        "seed": seed,
        "task": task,
        "env": env,
        "tasks_from": [str(path) for path in tasks_from],
    }
    command = [sys.executable, "-m", "dppo_rllib.cli.video", json.dumps(request)]
    chosen = os.environ.get("MUJOCO_GL")
    problem = ""
    for backend in [chosen] if chosen else _BACKENDS:
        environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            problem = f"not finished after {_TIMEOUT_S} s"
            continue
        if done.returncode == 0 and output.is_file():
            return None
        problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return f"no video: {problem}; {_NEEDED}"


def _record(request: dict[str, Any]) -> None:
    import imageio.v2 as imageio
    import numpy as np

    from dppo_rllib.checkpoints import load_policy
    from dppo_rllib.checkpoints.evaluation import make_env
    from dppo_rllib.rollouts.evaluation import policy_act, run_episodes
    from dppo_rllib.tasks import get_task
    from dppo_rllib.tasks.load import load_tasks

    for path in request["tasks_from"]:
        load_tasks(path)
    checkpoint = load_policy(request["policy"])
    overrides: dict[str, Any] = {}
    if request["env"] is not None:
        overrides = {"env": request["env"]}
    elif request["task"] is not None:
        task = get_task(request["task"])
        overrides = {
            "env": task.env,
            "env_config": task.env_config,
            "max_episode_steps": task.max_episode_steps,
        }
    env = make_env(checkpoint, 1, render_mode="rgb_array", **overrides)
    act = policy_act(checkpoint.build(), deterministic=True, seed=request["seed"])
    frames: list[np.ndarray] = []
    run_episodes(
        env, act, 1, seed=request["seed"], on_step=lambda _: frames.extend(env.pop_frames())
    )
    fps = float(env.metadata.get("render_fps") or 30)
    env.close()
    output = Path(request["output"])
    # Even sides: what every player decodes.
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    pictures = np.stack(frames)[:, :height, :width]
    imageio.mimwrite(output, list(pictures), fps=fps, macro_block_size=1)


if __name__ == "__main__":
    _record(json.loads(sys.argv[1]))
