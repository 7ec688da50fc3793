"""What a runner holds while it samples."""

from __future__ import annotations

import tracemalloc

from tiny_policies import build, rollout, tiny_config


def test_a_rollout_holds_its_pictures_once() -> None:
    config = tiny_config("pictures").environment(env_config={"image_size": 48})
    learner, runner = build(config.env_runners(rollout_fragment_length=60))
    rollout(learner, runner)
    tracemalloc.start()
    trajectories = rollout(learner, runner, iteration=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trajectories.obs["rgb"].nbytes > 0.9 * trajectories.nbytes
    assert peak < 1.2 * trajectories.nbytes
