"""Makes the files beside it: Minari's with Minari, and RLlib's as its runners make them.

    pip install "minari[all]==0.5.4" msgpack-numpy
    python tests/golden/formats/make.py

Two episodes, of 5 steps that terminate and of 3 steps that are truncated; `expected.npz` holds
their arrays, end to end. RLlib has not recorded them itself: rows have the columns of its
`OfflineSingleAgentEnvRunner`, episodes and arrays are packed as there, and Ray Data writes them.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import gymnasium
import msgpack
import msgpack_numpy
import numpy as np
import ray
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.compression import pack_if_needed

HERE = Path(__file__).parent
LENGTHS = (5, 3)


def episodes():
    """Observations with the last one, and what else there is."""
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        ramp = np.linspace(0, 200, 40)
        picture = np.stack([ramp[None, :] + 0 * ramp[:36, None]] * 3, axis=-1)
        yield {
            "state": rng.normal(size=(length + 1, 4)).astype(np.float32),
            "goal": rng.normal(size=(length + 1, 2)).astype(np.float32),
            "picture": np.stack([picture + 5 * t for t in range(length + 1)]).astype(np.uint8),
            "actions": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
            "rewards": rng.normal(size=length).astype(np.float32),
        }


def write_expected():
    arrays = {}
    for key in ("state", "goal", "picture", "actions", "rewards"):
        cut = slice(None, -1) if key in ("state", "goal", "picture") else slice(None)
        arrays[key] = np.concatenate([episode[key][cut] for episode in episodes()])
    np.savez_compressed(HERE / "expected.npz", lengths=np.array(LENGTHS), **arrays)


def write_minari():
    os.environ["MINARI_DATASETS_PATH"] = str(HERE / "scratch")
    import minari
    from minari.data_collector import EpisodeBuffer

    box = gymnasium.spaces.Box
    space = gymnasium.spaces.Dict(
        state=box(-9, 9, (4,), np.float32),
        goal=gymnasium.spaces.Dict(place=box(-9, 9, (2,), np.float32)),
        picture=box(0, 255, (36, 40, 3), np.uint8),
    )
    for storage in ("hdf5", "arrow"):
        buffers = []
        for i, episode in enumerate(episodes()):
            last = [False] * (LENGTHS[i] - 1) + [True]
            observations = {
                "state": episode["state"],
                "goal": {"place": episode["goal"]},
                "picture": episode["picture"],
            }
            buffers.append(
                EpisodeBuffer(
                    observations=observations,
                    actions=episode["actions"],
                    rewards=episode["rewards"].tolist(),
                    terminations=last if i == 0 else [False] * LENGTHS[i],
                    truncations=last if i == 1 else [False] * LENGTHS[i],
                    infos={},
                )
            )
        name = f"{storage}/human-v0"
        minari.create_dataset_from_buffers(
            name,
            buffers,
            observation_space=space,
            action_space=box(-1, 1, (2,), np.float32),
            data_format=storage,
            algorithm_name="none",
            author="nobody",
            author_email="nobody@example.org",
            code_permalink="https://example.org",
        )
        shutil.copytree(HERE / "scratch" / name, HERE / f"minari_{storage}", dirs_exist_ok=True)
    shutil.rmtree(HERE / "scratch")


def write_rllib():
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)
    rows, items = [], []
    for i, recorded in enumerate(episodes()):
        episode = SingleAgentEpisode(id_=f"episode{i}")
        episode.add_env_reset(observation=recorded["state"][0])
        for t in range(LENGTHS[i]):
            last = t == LENGTHS[i] - 1
            episode.add_env_step(
                observation=recorded["state"][t + 1],
                action=recorded["actions"][t],
                reward=float(recorded["rewards"][t]),
                terminated=last and i == 0,
                truncated=last and i == 1,
            )
            rows.append(
                {
                    "eps_id": episode.id_,
                    "agent_id": None,
                    "module_id": None,
                    "obs": recorded["state"][t],
                    "actions": recorded["actions"][t],
                    "rewards": float(recorded["rewards"][t]),
                    "new_obs": recorded["state"][t + 1],
                    "terminateds": episode.is_terminated,
                    "truncateds": episode.is_truncated,
                }
            )
        items.append(msgpack.packb(episode.get_state(), default=msgpack_numpy.encode))
    packed = [
        row | {key: pack_if_needed(row[key]) for key in ("obs", "new_obs", "actions")}
        for row in rows
    ]
    for name, values in (("steps", rows), ("packed", packed), ("episodes", items)):
        folder = HERE / f"rllib_{name}"
        shutil.rmtree(folder, ignore_errors=True)
        ray.data.from_items(values).repartition(1).write_parquet(str(folder))


if __name__ == "__main__":
    write_expected()
    write_minari()
    write_rllib()
    sys.exit(0)
