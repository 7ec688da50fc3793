"""Franka Kitchen as environments."""

import gymnasium
import numpy as np
import pytest

from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.kitchen import ENV_ID, MAX_EPISODE_STEPS
from dppo_rllib.environments.kitchen.scene import noise_amplitudes
from dppo_rllib.environments.kitchen.subtasks import DEFAULT_SUBTASKS, GOALS, Subtasks
from dppo_rllib.environments.kitchen.vector_env import KitchenEnv, KitchenVectorEnv

BURNER = ("microwave", "kettle", "bottom burner", "light switch")


@pytest.fixture(scope="module")
def theirs():
    """gymnasium-robotics' own environment, without noise."""
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import KitchenEnv as Theirs

    env = Theirs(
        tasks_to_complete=list(DEFAULT_SUBTASKS), object_noise_ratio=0.0, robot_noise_ratio=0.0
    )
    yield env
    env.close()


@pytest.fixture(scope="module")
def quiet():
    """Two copies without noise."""
    env = KitchenVectorEnv(2, noise_ratio=0.0)
    yield env
    env.close()


def as_benchmark(obs, env):
    """D4RL's layout of what gymnasium-robotics shows: positions of arm and objects, the goal."""
    goal = np.zeros(30)
    for name, values in env.goal.items():
        first, _ = GOALS[name]
        goal[first : first + len(values)] = values
    return np.concatenate([obs["observation"][:9], obs["observation"][18:39], goal])


def test_it_shows_and_rewards_what_gymnasium_robotics_does(theirs, quiet):
    """Along the same random actions; not only nearly."""
    obs, _ = theirs.reset(seed=0)
    shown, _ = quiet.reset(seed=0)
    np.testing.assert_array_equal(shown[0], as_benchmark(obs, theirs).astype(np.float32))
    for action in np.random.default_rng(0).uniform(-1.2, 1.2, (50, 9)).astype(np.float32):
        obs, reward, *_ = theirs.step(action)
        shown, rewards, *_ = quiet.step(np.stack([action, -action]))
        np.testing.assert_array_equal(shown[0], as_benchmark(obs, theirs).astype(np.float32))
        assert rewards[0] == reward
    assert np.abs(shown[0] - shown[1]).max() > 0.1


def test_subtasks_are_done_where_gymnasium_robotics_says_so(theirs):
    generator = np.random.default_rng(0)
    subtasks = Subtasks(list(GOALS))
    goals = {name: np.array(values) for name, (_, values) in GOALS.items()}
    kept = theirs.tasks_to_complete
    theirs.tasks_to_complete = list(GOALS)
    seen = set()
    for _ in range(200):
        positions = subtasks.goal + generator.normal(0, generator.choice([0.05, 0.2, 1]), 30)
        achieved = {n: positions[f : f + len(v)] for n, (f, v) in GOALS.items()}
        theirs.compute_reward(achieved, goals, {})
        done = dict(zip(subtasks.names, subtasks.done(positions[None])[0].tolist(), strict=True))
        assert done == {name: name in theirs.step_task_completions for name in GOALS}
        seen |= set(done.items())
    theirs.tasks_to_complete = kept
    assert len(seen) == 2 * len(GOALS)


def test_spaces_are_those_of_the_benchmark(quiet):
    assert quiet.single_observation_space.shape == (60,)
    assert quiet.single_action_space == gymnasium.spaces.Box(-1, 1, (9,), np.float32)
    assert quiet.reset(seed=0)[0] in quiet.observation_space
    assert quiet.metadata["render_fps"] == 12.5


def test_positions_are_disturbed_as_much_as_in_d4rl(quiet):
    """A tenth of what its specification of the joints says, of arm and objects, uniformly."""
    noisy = KitchenVectorEnv(1)
    calm = quiet.reset(seed=0)[0][0]
    seen = np.array([noisy.reset(seed=seed)[0][0] for seed in range(300)]) - calm
    amplitudes = 0.1 * noise_amplitudes()
    assert amplitudes[:9].tolist() == pytest.approx([0.01] * 9)
    assert amplitudes[23:].tolist() == pytest.approx([5e-4] * 3 + [1e-2] * 3 + [5e-4])
    largest = np.abs(seen[:, :30]).max(axis=0)
    assert (largest <= 1.001 * amplitudes + 1e-6).all() and (largest > 0.9 * amplitudes).all()
    assert not seen[:, 30:].any()
    noisy.close()


def test_commands_count_from_where_joints_are_seen_to_be():
    env = KitchenVectorEnv(1, noise_ratio=0.5)
    env.reset(seed=0)
    still = np.zeros((1, 9), np.float32)
    for _ in range(5):
        seen = env._seen[0, :9].copy()
        env.step(still)
        np.testing.assert_array_equal(env.kitchens.datas[0].ctrl, seen.clip(*env._limits.T))
    env.close()


def put(env, row, *names):
    """Moves what some subtasks are about to where it shall be."""
    for name in names:
        first, values = GOALS[name]
        env.kitchens.datas[row].qpos[first : first + len(values)] = values


@pytest.mark.parametrize("subtasks", [DEFAULT_SUBTASKS, BURNER])
def test_each_subtask_is_worth_1_once_and_the_last_one_ends_the_episode(subtasks):
    env = KitchenVectorEnv(2, subtasks=subtasks, noise_ratio=0.0)
    still = np.zeros((2, 9), np.float32)
    env.reset(seed=0)
    for count, name in enumerate(subtasks, start=1):
        put(env, 1, name)
        _, rewards, terminated, truncated, infos = env.step(still)
        assert rewards.tolist() == [0, 1] and infos["subtasks_done"].tolist() == [0, count]
        last = count == len(subtasks)
        assert terminated.tolist() == infos["success"].tolist() == [False, last]
        assert not truncated.any()
        env.kitchens.start(np.array([1]))  # what has been done counts on
        if not last:
            assert not env.step(still)[1].any()
    env.close()


def test_ended_episodes_stand_still_until_they_are_reset():
    env = KitchenVectorEnv(3, max_episode_steps=3)
    env.reset(seed=0)
    action = np.full((3, 9), 0.3, np.float32)
    for step in range(3):
        obs, _, terminated, truncated, _ = env.step(action)
        assert truncated.tolist() == [step == 2] * 3 and not terminated.any()
    np.testing.assert_array_equal(env.step(action)[0], obs)
    again, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(again[[0, 2]], obs[[0, 2]])
    assert (again[1, :9] != obs[1, :9]).all()
    assert env.step(action)[3].tolist() == [True, False, True]
    env.close()


def test_threads_change_nothing():
    one, two = KitchenVectorEnv(3), KitchenVectorEnv(3, num_threads=2)
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 3, 9)).astype(np.float32)
    for env in (one, two):
        env.reset(seed=4)
    for action in actions:
        np.testing.assert_array_equal(one.step(action)[0], two.step(action)[0])
    one.close()
    two.close()


def test_a_simulation_that_diverges_is_cut_and_counted():
    env = make_chunked_env(ENV_ID, 2, act_steps=2, cond_steps=1)
    env.reset(seed=0)
    chunk = np.zeros(env.action_space.shape, np.float32)
    before = env.step(chunk)[0]["state"]
    env._envs._envs.kitchens.datas[1].qvel[:] = 1e12
    obs, _, terminated, truncated, infos = env.step(chunk)
    assert infos["invalid"].tolist() == truncated.tolist() == [False, True]
    assert not terminated.any()
    np.testing.assert_array_equal(infos["final_obs"]["state"][1], before[1])
    assert np.isfinite(obs["state"]).all() and infos["env_steps"].tolist() == [2, 0]
    assert not env.step(chunk)[4]["invalid"].any()
    env.close()


def test_single_environments_are_made_by_gymnasium():
    env = gymnasium.make(ENV_ID, max_episode_steps=2, subtasks=["kettle"])
    assert isinstance(env.unwrapped, KitchenEnv)
    obs, _ = env.reset(seed=8)
    together = KitchenVectorEnv(2, subtasks=["kettle"])
    np.testing.assert_array_equal(together.reset(seed=7)[0][1], obs)
    for _ in range(2):
        _, _, _, truncated, info = env.step(np.zeros(9, np.float32))
    assert truncated and info == {"success": False, "subtasks_done": 0}
    assert gymnasium.spec(ENV_ID).max_episode_steps == MAX_EPISODE_STEPS == 280
    env.close()
    together.close()


@pytest.mark.slow
def test_pictures_show_the_kitchen(with_opengl):
    script = (
        "import numpy as np; from dppo_rllib.environments.kitchen.vector_env import *; "
        "env = KitchenEnv(render_mode='rgb_array'); env.reset(seed=0); one = env.render(); "
        "[env.step(np.ones(9, np.float32)) for _ in range(5)]; two = env.render(); env.close(); "
        "print(one.shape, one.std() > 20, (one != two).mean() > 0.01)"
    )
    done = with_opengl(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "(360, 480, 3) True True"


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"num_envs": 0}, "num_envs=0: expected at least 1"),
        ({"num_threads": 0}, "num_threads=0: expected at least 1"),
        ({"max_episode_steps": 0}, "max_episode_steps=0: expected at least 1"),
        ({"noise_ratio": -1.0}, "noise_ratio=-1.0: expected a number from 0"),
        ({"render_mode": "human"}, "render_mode='human': expected"),
        ({"subtasks": ["toaster"]}, r"subtasks=\['toaster'\]: expected some of"),
        ({"subtasks": []}, r"subtasks=\[\]: expected different ones"),
        ({"subtasks": "kettle"}, "subtasks='kettle': expected different ones"),
        ({"subtasks": ["kettle", "kettle"]}, "expected different ones"),
    ],
)
def test_arguments_are_checked_before_anything_is_built(kwargs, message):
    with pytest.raises(ValueError, match=message):
        KitchenVectorEnv(**kwargs)


def test_pictures_must_be_asked_for(quiet):
    with pytest.raises(ValueError, match="render_mode=None: expected 'rgb_array'"):
        quiet.render()
