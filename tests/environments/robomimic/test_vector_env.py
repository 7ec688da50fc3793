"""The tasks as environments."""

from importlib import metadata

import gymnasium
import mujoco
import numpy as np
import pytest

from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.robomimic import HORIZONS
from dppo_rllib.environments.robomimic.manipulation import MANIPULATIONS, proprioception
from dppo_rllib.environments.robomimic.simulation import Simulation
from dppo_rllib.environments.robomimic.vector_env import RobomimicEnv, RobomimicVectorEnv

ROW = np.array([0])


@pytest.fixture(scope="module")
def lift():
    env = RobomimicVectorEnv("lift", 3, max_episode_steps=6)
    yield env
    env.close()


def robots_part(obs, robots):
    keys = ("eef_pos", "eef_quat", "gripper_qpos")
    return np.concatenate([obs[f"robot{i}_{key}"] for i in range(robots) for key in keys])


def objects_part(name, obs):
    """robosuite 1.5's, put into the order of 1.4."""
    state = obs["object-state"]
    if name == "lift":
        return np.r_[state[:7], -state[7:]]
    if name == "transport":
        return np.r_[state[:27], state[29:], state[27:29]]
    return np.r_[state[7:], state[:7]]


def test_a_simulator_of_another_version_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "3.11.0" if name == "mujoco" else "1.5.2")
    with pytest.raises(ImportError, match=r"^install first: pip install .*mujoco 3\.11\.0 is inst"):
        RobomimicVectorEnv("lift")


def test_states_are_laid_out_as_those_of_robosuite(task, scenes):
    scene = scenes(task)
    simulation = Simulation(scene, 1)
    simulation.start(0, np.random.default_rng(0))
    for action in np.random.default_rng(1).uniform(-1, 1, (25, task.action_dim)):
        obs, *_ = scene.env.step(action)
        simulation.step(ROW, action[None])
    robots = proprioception(simulation, ROW)[0]
    np.testing.assert_allclose(robots, robots_part(obs, task.robots), atol=1e-5)
    objects, theirs = task.objects(simulation, ROW)[0], objects_part(task.name, obs)
    assert objects.shape == (task.object_dim,)
    # Of poses relative to the hand robosuite takes the object's of the step before.
    np.testing.assert_allclose(objects[:7], theirs[:7], atol=1e-5)
    np.testing.assert_allclose(objects[7:], theirs[7:], atol=2e-3)


def put(simulation, joint, position):
    data, address = simulation.datas[0], simulation.scene.model.joint(joint).qposadr[0]
    data.qpos[address : address + 3] = position
    data.qvel[:] = 0


SOLUTIONS = {
    "lift": [("cube_joint0", (0.0, 0.0, 0.9))],
    "can": [("Can_joint0", (0.2, 0.4, 0.86))],
    "square": [("SquareNut_joint0", (0.23, 0.1, 0.83))],
}


@pytest.mark.parametrize("name", ["lift", "can", "square"])
def test_solved_is_where_robosuite_gives_its_reward(name, scenes):
    task = MANIPULATIONS[name]
    scene = scenes(task)
    simulation = Simulation(scene, 1)
    simulation.start(0, np.random.default_rng(0))
    assert not task.solved(simulation, ROW)[0] and scene.env.reward() == 0
    for joint, position in SOLUTIONS[name]:
        put(simulation, joint, position)
    mujoco.mj_forward(scene.model, simulation.datas[0])
    mujoco.mj_copyData(scene.env.sim.data._data, scene.model, simulation.datas[0])
    assert scene.env.reward() == 1
    assert task.solved(simulation, ROW)[0]


@pytest.mark.parametrize("name", ["can", "square"])
def test_what_is_still_held_is_not_solved(name, scenes):
    """As with robosuite, over positions around the goal and the hand."""
    task = MANIPULATIONS[name]
    scene, generator = scenes(task), np.random.default_rng(0)
    simulation = Simulation(scene, 1)
    simulation.start(0, np.random.default_rng(0))
    joint, goal = SOLUTIONS[name][0]
    hand = simulation.datas[0].site_xpos[scene.arms.hands[0]].copy()
    seen = set()
    for place in (*generator.normal(goal, 0.05, (40, 3)), *generator.normal(hand, 0.03, (10, 3))):
        put(simulation, joint, place)
        mujoco.mj_forward(scene.model, simulation.datas[0])
        mujoco.mj_copyData(scene.env.sim.data._data, scene.model, simulation.datas[0])
        solved = bool(task.solved(simulation, ROW)[0])
        assert solved == bool(scene.env.reward())
        seen.add(solved)
    assert seen == {True, False}


def test_transport_is_solved_when_both_lie_in_their_bins(scenes):
    task = MANIPULATIONS["transport"]
    scene = scenes(task)
    simulation = Simulation(scene, 1)
    simulation.start(0, np.random.default_rng(0))
    data, group = simulation.datas[0], scene.env.transport
    bins = (
        data.geom_xpos[group.target_bin_base_geom_ids[0]],
        data.geom_xpos[group.trash_bin_base_geom_ids[0]],
    )
    flags = []
    # Where the trash lies at first the payload belongs: out of the way with it, then in with both.
    for trash, payload in (((2, 2, 2), None), (bins[1], None), (bins[1], bins[0])):
        for part, place in ((group.trash, trash), (group.payload, payload)):
            if place is not None:
                put(simulation, part.joints[0], np.asarray(place) + [0, 0, 0.021])
        mujoco.mj_forward(scene.model, data)
        mujoco.mj_copyData(scene.env.sim.data._data, scene.model, data)
        assert bool(task.solved(simulation, ROW)[0]) == bool(scene.env._check_success())
        flags.append(task.objects(simulation, ROW)[0, -2:].tolist())
    assert flags == [[0, 0], [0, 1], [1, 1]]


def test_spaces_are_those_of_the_benchmark(lift):
    assert lift.single_observation_space.shape == (19,)
    assert lift.single_action_space == gymnasium.spaces.Box(-1, 1, (7,), np.float32)
    assert lift.reset(seed=0)[0] in lift.observation_space


def test_ended_episodes_stand_still_until_they_are_reset(lift):
    start, _ = lift.reset(seed=[0, 1, 2])
    action = np.full((3, 7), 0.5, np.float32)
    for step in range(6):
        obs, reward, terminated, truncated, infos = lift.step(action)
        assert truncated.tolist() == [step == 5] * 3 and not terminated.any()
        assert not infos["success"].any() and not reward.any()
    np.testing.assert_array_equal(lift.step(action)[0], obs)
    again, _ = lift.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(again[[0, 2]], obs[[0, 2]])
    assert np.abs(again[1] - start[1]).max() > 1e-3  # the next episode of its seed
    _, _, _, truncated, _ = lift.step(action)
    assert truncated.tolist() == [True, False, True]


def test_a_copys_episodes_follow_from_its_seed(lift):
    def episodes(seed, copies):
        shown = [copies.reset(seed=seed)[0]]
        shown += [copies.reset()[0] for _ in range(2)]
        return np.array(shown)

    together = episodes([7, 8, 9], lift)
    np.testing.assert_array_equal(episodes(7, lift), together)
    alone = RobomimicVectorEnv("lift", 1)
    np.testing.assert_array_equal(episodes(8, alone)[:, 0], together[:, 1])
    alone.close()


def test_a_simulation_that_diverges_is_cut_and_counted():
    env = make_chunked_env("dppo_rllib/Lift-v0", 2, act_steps=4, cond_steps=1)
    env.reset(seed=0)
    chunk = np.zeros(env.action_space.shape, np.float32)
    before = env.step(chunk)[0]["state"]
    env._envs._envs.simulation.datas[1].qvel[:] = 1e9
    obs, reward, terminated, truncated, infos = env.step(chunk)
    assert infos["invalid"].tolist() == truncated.tolist() == [False, True]
    np.testing.assert_array_equal(infos["final_obs"]["state"][1], before[1])
    assert np.isfinite(obs["state"]).all() and infos["env_steps"].tolist() == [4, 0]
    assert not env.step(chunk)[4]["invalid"].any()
    env.close()


def test_single_environments_are_made_by_gymnasium():
    env = gymnasium.make("dppo_rllib/Lift-v0", max_episode_steps=3)
    assert isinstance(env.unwrapped, RobomimicEnv)
    obs, _ = env.reset(seed=8)
    together = RobomimicVectorEnv("lift", 2)
    np.testing.assert_array_equal(together.reset(seed=7)[0][1], obs)
    for _ in range(3):
        _, _, _, truncated, info = env.step(np.ones(7, np.float32))
    assert truncated and info == {"success": False}
    env.close()
    together.close()


@pytest.mark.parametrize("name, horizon", HORIZONS.items())
def test_ids_know_their_horizon(name, horizon):
    for kind in ("", "Pixels"):
        spec = gymnasium.spec(f"dppo_rllib/{name.capitalize()}{kind}-v0")
        assert spec.max_episode_steps == horizon
        assert spec.kwargs == {"task": name, "pixels": kind == "Pixels"}


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"task": "stack"}, "task='stack': expected one of"),
        ({"task": "lift", "num_envs": 0}, "num_envs=0: expected at least 1"),
        ({"task": "lift", "num_threads": 0}, "num_threads=0: expected at least 1"),
        ({"task": "lift", "image_size": -1}, "image_size=-1: expected at least 1"),
        ({"task": "lift", "max_episode_steps": 0}, "max_episode_steps=0: expected at least 1"),
        ({"task": "lift", "render_mode": "human"}, "render_mode='human': expected"),
    ],
)
def test_arguments_are_checked_before_anything_is_built(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RobomimicVectorEnv(**kwargs)


def test_pictures_of_state_environments_are_refused(lift):
    with pytest.raises(ValueError, match="pixels=False: expected True"):
        lift.draw(ROW)
    with pytest.raises(ValueError, match="render_mode=None: expected 'rgb_array'"):
        lift.render()
