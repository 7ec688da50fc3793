import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dppo_rllib.environments import PixelReach, make_chunked_env, reach_expert
from dppo_rllib.environments.pixel_reach import ENV_ID, STEP_SIZE, TOLERANCE


def expert_run(env, noise, episodes, seed=0):
    """Success and length of each episode."""
    act, rng, outcomes = reach_expert(noise), np.random.default_rng(seed), []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed + episode)
        length, over = 0, False
        while not over:
            action = act({key: value[None] for key, value in obs.items()}, rng)[0]
            obs, _, terminated, truncated, info = env.step(action)
            length, over = length + 1, terminated or truncated
        outcomes.append((info["success"], length))
    return np.array(outcomes)


@pytest.mark.parametrize("cameras", [1, 2])
@pytest.mark.filterwarnings("error")
def test_it_is_a_gymnasium_environment(cameras):
    check_env(PixelReach(cameras=cameras, render_mode="rgb_array"), skip_render_check=True)


def test_the_id_is_registered_with_a_time_limit():
    env = gymnasium.make(ENV_ID, image_size=16)
    env.reset(seed=1)
    away = np.zeros(2, np.float32)
    assert [env.step(away)[3] for _ in range(25)] == [False] * 24 + [True]


@pytest.mark.parametrize("env_id", [ENV_ID, f"dppo_rllib.environments:{ENV_ID}"])
def test_it_runs_in_chunks(make, env_id):
    env = make(env_id, 2, env_kwargs={"cameras": 2}, img_cond_steps=2)
    obs, _ = env.reset(seed=0)
    assert obs["state"].shape == (2, 2, 2) and obs["rgb"].shape == (2, 2, 6, 24, 24)
    assert "success" in env.step(np.zeros((2, 3, 2), np.float32))[-1]


@pytest.mark.parametrize("image_size", [8, 24, 96])
def test_the_expert_reaches_the_target_that_it_sees_on_a_straight_way(image_size):
    env = gymnasium.make(ENV_ID, image_size=image_size)
    outcomes = expert_run(env, 0.0, 50)
    assert outcomes[:, 0].all()
    assert outcomes[:, 1].max() <= np.ceil(2 / STEP_SIZE)


def test_noise_costs_time_and_success():
    env = gymnasium.make(ENV_ID)
    mild, wild = expert_run(env, 0.5, 60), expert_run(env, 3.0, 60)
    assert mild[:, 0].mean() > 0.9 > wild[:, 0].mean()
    assert mild[:, 1].mean() < wild[:, 1].mean()


def test_reward_and_success_come_once_with_the_end():
    env = PixelReach()
    env.reset(seed=3)
    env._x, env._y = env._target_x + TOLERANCE + STEP_SIZE, env._target_y
    assert env.step(np.zeros(2, np.float32))[1:] == (0.0, False, False, {"success": False})
    assert env.step(np.array([-0.99, 0], np.float32))[1] == 0
    assert env.step(np.array([-0.5, 0], np.float32))[1:] == (1.0, True, False, {"success": True})


def test_the_target_is_in_the_picture_and_nowhere_else():
    """Of two episodes that differ in the target only, only the green channel differs."""
    env = PixelReach()
    first, _ = env.reset(seed=0)
    env._target_x = -env._target_x
    env._draw(1, env._target_x, env._target_y)
    second = env._observe()
    np.testing.assert_array_equal(first["state"], second["state"])
    different = (first["rgb"] != second["rgb"]).any((1, 2))
    assert different.tolist() == [False, True, False]


def test_the_second_camera_travels_with_the_point():
    env = PixelReach(cameras=2)
    env.reset(seed=0)
    env._target_x, env._target_y = env._x + 0.5, env._y
    near = env._observe()["rgb"][3:]
    row, column = np.unravel_index(near[1].argmax(), near[1].shape)
    assert near[0, 11:13, 11:13].all() and column in (15, 16, 17) and row in (10, 11, 12, 13)
    env._target_x = env._x + 1.5
    assert not env._observe()["rgb"][4].any()


def test_up_is_up_and_walls_stop_the_point():
    env = PixelReach()
    env.reset(seed=0)
    env._target_x = env._target_y = -1.0
    for _ in range(20):
        obs, *_ = env.step(np.ones(2, np.float32))
    assert obs["state"].tolist() == [1, 1]
    assert obs["rgb"][0, 0, -1] == 255 and not obs["rgb"][0, 12:].any()


def test_pictures_that_were_returned_do_not_change():
    env = PixelReach()
    first, _ = env.reset(seed=0)
    kept = first["rgb"].copy()
    env.step(np.ones(2, np.float32))
    np.testing.assert_array_equal(first["rgb"], kept)


def test_it_is_filmed(make_serial):
    env = make_serial(ENV_ID, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.zeros((1, 3, 2), np.float32))
    (frame, *_) = env.pop_frames()
    assert frame.shape == (192, 192, 3) and frame.dtype == np.uint8 and frame[..., :2].any()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image_size": 7}, "image_size=7: expected at least 8"),
        ({"cameras": 3}, "cameras=3: expected 1 or 2"),
        ({"render_mode": "human"}, "render_mode='human': expected None or 'rgb_array'"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PixelReach(**kwargs)
    with pytest.raises(ValueError, match=message):
        make_chunked_env(PixelReach, 1, act_steps=1, cond_steps=1, env_kwargs=kwargs)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="noise=-1: expected at least 0"):
        reach_expert(-1)
