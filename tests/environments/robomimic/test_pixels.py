"""What policies from pixels see. Drawn here, as far as something can be drawn here."""

import mujoco
import numpy as np
import pytest

from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.cameras import Cameras
from dppo_rllib.environments.robomimic.manipulation import MANIPULATIONS
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv
from dppo_rllib.errors import UserError


def robosuites(scene, cameras, data):
    """robosuite's own pictures of a state."""
    from robosuite.utils.binding_utils import MjRenderContextOffscreen

    sim = scene.env.sim
    mujoco.mj_copyData(sim.data._data, scene.model, data)
    if sim._render_context_offscreen is None:
        MjRenderContextOffscreen(sim, device_id=-1)
        options = sim._render_context_offscreen.vopt
        options.geomgroup[0], options.geomgroup[1] = 0, 1
    pictures = [sim.render(width=96, height=96, camera_name=name)[::-1] for name in cameras]
    return np.concatenate(pictures, axis=-1)


@pytest.mark.parametrize("name", ["lift", "square"])
def test_pictures_are_robosuites_but_for_reflections(name, scenes, opengl, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    task = MANIPULATIONS[name]
    scene = scenes(task)
    data = mujoco.MjData(scene.model)
    mujoco.mj_copyData(data, scene.model, scene.start(np.random.default_rng(0)))
    cameras = Cameras(scene.model, task.cameras, (96, 96))
    ours = cameras.draw(data)
    cameras._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 1
    reflecting = cameras.draw(data)
    cameras.close()
    theirs = robosuites(scene, task.cameras, data)
    np.testing.assert_array_equal(reflecting, theirs)
    assert np.abs(ours.astype(int) - theirs).mean() < 1
    assert ours.std() > 10


def test_a_policy_sees_the_robots_and_the_cameras(opengl):
    env = make_chunked_env("dppo_rllib/TransportPixels-v0", 2, act_steps=2, cond_steps=1)
    obs, _ = env.reset(seed=0)
    assert obs["state"].shape == (2, 1, 18) and obs["rgb"].shape == (2, 1, 6, 96, 96)
    assert obs in env.observation_space
    assert np.abs(obs["rgb"][:, :, :3].astype(int) - obs["rgb"][:, :, 3:]).mean() > 10
    moved = env.step(np.ones(env.action_space.shape, np.float32))[0]
    assert not np.array_equal(moved["rgb"], obs["rgb"])
    env.close()


def test_pictures_do_not_depend_on_when_they_are_drawn(opengl):
    late = make_chunked_env("dppo_rllib/LiftPixels-v0", 2, act_steps=2, cond_steps=1)
    always = RobomimicVectorEnv("lift", 2, pixels=True)
    late.reset(seed=0)
    always.reset(seed=0)
    chunk = np.random.default_rng(0).uniform(-1, 1, (2, 2, 7)).astype(np.float32)
    after = late.step(chunk)[0]["rgb"][:, 0]
    always.step(chunk[:, 0])
    np.testing.assert_array_equal(after, always.step(chunk[:, 1])[0]["rgb"].transpose(0, 3, 1, 2))
    late.close()
    always.close()


def test_videos_show_the_first_copy(opengl):
    env = make_chunked_env(
        "dppo_rllib/Lift-v0", 2, act_steps=2, cond_steps=1, render_mode="rgb_array"
    )
    env.reset(seed=0)
    env.step(np.ones(env.action_space.shape, np.float32))
    frames = env.pop_frames()
    assert len(frames) == 2 and frames[0].shape == (256, 256, 3)
    assert not np.array_equal(*frames)
    env.close()


def test_cameras_that_are_not_there_are_refused(scenes):
    model = scenes(MANIPULATIONS["lift"]).model
    with pytest.raises(ValueError, match=r"cameras \['sideview2'\]: expected some of"):
        Cameras(model, ("sideview2",), (8, 8))


def test_without_opengl_the_package_to_install_is_named(scenes, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(UserError, match=r"vulkan: .*apt-get install libegl1"):
        Cameras(scenes(MANIPULATIONS["lift"]).model, ("agentview",), (8, 8))


def test_frozen_pictures_are_told(opengl, monkeypatch):
    monkeypatch.setattr(Cameras, "draw", lambda self, data: np.zeros((8, 8, 3), np.uint8))
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><camera name="eye"/></worldbody></mujoco>'
    )
    with pytest.raises(UserError, match="pictures do not change"):
        Cameras(model, ("eye",), (8, 8))
