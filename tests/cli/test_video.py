"""A video shows what was evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.checkpoints.evaluation import evaluate_policy, make_env
from dppo_rllib.cli.video import _description
from dppo_rllib.rollouts import Episode
from dppo_rllib.tasks import get_task


def test_a_video_is_of_the_first_episode_of_the_evaluation(
    dppo: Any, reach_policy: Path, tmp_path: Path
) -> None:
    file = tmp_path / "first.mp4"
    result = dppo("eval", reach_policy, "--episodes", 5, "--seed", 3, "--video", file)
    assert result.exit_code == 0, result.output
    task, policy = get_task("reach"), load_policy(reach_policy)
    envs = make_env(policy, 5, env=task.env, max_episode_steps=task.max_episode_steps)
    first = evaluate_policy(policy, envs, 5, seed=3)["deterministic"].first
    assert f"first.mp4: episode 0, {first}\n" in result.output
    assert b"ftyp" in file.read_bytes()[:16]


def test_what_a_simulator_does_not_repeat_is_said() -> None:
    evaluated = Episode(np.zeros((1, 2, 2), np.float32), 61.8, True)
    assert _description("a.mp4", evaluated, evaluated) == "a.mp4: episode 0, return 61.8, success"
    for other in (replace(evaluated, success=False), replace(evaluated, total_reward=60.0)):
        text = _description("a.mp4", evaluated, other)
        assert text.startswith(f"a.mp4: episode 0, {other}; ")
        assert text.endswith("does not repeat what was evaluated, return 61.8, success")
