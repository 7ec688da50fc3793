"""Pictures in rollouts and updates: how often they are encoded, as what, and to the same end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from tiny_policies import CHUNKS, ENVS, build, module_of, rollout, tiny_config
from torch import Tensor

from dppo_rllib.algorithms import augmentation, collectives, piece_sizes
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.piece_sizes import PieceSizes
from dppo_rllib.algorithms.ppo_loss import normalized_advantages, policy_loss, value_loss
from dppo_rllib.modules.chunk_module import CHAIN_NEXT, CHAIN_PREV, FT_INDEX, LOG_PROBS

PICTURES = ["pictures", "gaussian_pictures"]
WHOLE = 10_000  # rows of a piece


def learner_with_data(kind: str = "pictures", **training: Any) -> tuple[Any, IterationData]:
    """A learner and its first iteration."""
    learner, runner = build(tiny_config(kind, **({"microbatch_size": WHOLE} | training)))
    return learner, learner._prepare(rollout(learner, runner))


def some_pairs(data: IterationData, count: int = 10) -> Tensor:
    return torch.randperm(data.num_pairs, generator=torch.Generator().manual_seed(0))[:count]


def gradients(learner: Any) -> list[Tensor]:
    parameters = [p for params in learner._trained_parameters().values() for p in params]
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]


def assert_same_gradients(first: list[Tensor], second: list[Tensor]) -> None:
    assert any(gradient.any() for gradient in first)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def pictures_seen(network: Any) -> list[int]:
    """A list that grows by the pictures of every pass through a network's vision encoder."""
    seen: list[int] = []
    network.encoder.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return seen


@pytest.mark.parametrize("kind", PICTURES)
def test_an_update_encodes_each_distinct_observation_once(kind: str) -> None:
    learner, data = learner_with_data(kind)
    module, pairs = module_of(learner), some_pairs(data)
    distinct = len((pairs // data.ft_denoising_steps).unique())
    seen = [pictures_seen(network) for network in (module.policy.actor_ft, module.critic)]
    learner._accumulate(data, pairs, torch.Generator())
    assert seen == [[distinct], [distinct]]


def test_only_an_observation_that_two_pieces_share_is_encoded_twice() -> None:
    learner, data = learner_with_data(microbatch_size=3)
    seen = pictures_seen(module_of(learner).policy.actor_ft)
    learner._accumulate(data, torch.arange(data.num_pairs), torch.Generator())
    # 24 transitions of 12 observations, three at a time: every piece ends inside an observation
    # or begins with the rest of one.
    assert (data.num_pairs, seen) == (24, [2] * 8)


@pytest.mark.parametrize(("ft_steps", "of_base"), [(2, [ENVS] * CHUNKS), (4, [])])
def test_a_rollout_encodes_each_observation_once_for_each_network(
    ft_steps: int, of_base: list[int]
) -> None:
    learner, runner = build(tiny_config("pictures", ft_denoising_steps=ft_steps))
    policy = runner.module.policy
    seen = [pictures_seen(network) for network in (policy.actor, policy.actor_ft)]
    rollout(learner, runner)
    assert seen == [of_base, [ENVS] * CHUNKS]


def test_pictures_stay_bytes_until_they_are_encoded() -> None:
    learner, runner = build(tiny_config("pictures"))
    trajectories = rollout(learner, runner)
    pictures = trajectories.obs["rgb"]
    assert pictures.dtype == torch.uint8 and pictures.shape == (CHUNKS, ENVS, 1, 3, 16, 16)
    data = learner._prepare(trajectories)
    assert data.obs["rgb"].dtype == torch.uint8 and data.obs["rgb"].device == learner._device
    np.testing.assert_array_equal(data.obs["rgb"].numpy(), pictures.reshape(-1, 1, 3, 16, 16))
    encoded: list[torch.dtype] = []
    encoder = module_of(learner).policy.actor_ft.encoder
    encoder.backbone.register_forward_pre_hook(lambda _, args: encoded.append(args[0].dtype))
    learner._accumulate(data, some_pairs(data), torch.Generator())
    assert set(encoded) == {torch.uint8}


@pytest.mark.parametrize("kind", PICTURES)
def test_gradients_are_those_of_encoding_every_transition_by_itself(kind: str) -> None:
    learner, data = learner_with_data(kind)
    generator = torch.Generator().manual_seed(2)
    data.log_probs.add_(0.02 * torch.randn(data.log_probs.shape, generator=generator))
    pairs, module = some_pairs(data), module_of(learner)
    row, step = pairs // data.ft_denoising_steps, pairs % data.ft_denoising_steps
    batch = {
        Columns.OBS: data.observations(row),
        CHAIN_PREV: data.chains[row, step],
        CHAIN_NEXT: data.chains[row, step + 1],
        FT_INDEX: step,
    }
    advantages = normalized_advantages(
        data.advantages[row], normalize=True, lower_quantile=0, upper_quantile=1
    )
    terms = policy_loss(
        module.forward_train(batch)[LOG_PROBS],
        data.log_probs[row, step],
        advantages * learner._discounts[step],
        learner._clip_ranges[step],
    )
    assert 0 < terms.clipped.sum() < len(pairs)
    values = module.compute_values(batch)
    errors = value_loss(values, data.returns[row], data.values[row], None)
    loss = terms.loss.mean() + 0.5 * errors.mean()
    parameters = [p for params in learner._trained_parameters().values() for p in params]
    expected = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    learner._accumulate(data, pairs, torch.Generator())
    assert_same_gradients(gradients(learner), list(expected))


@pytest.mark.parametrize("kind", PICTURES)
def test_the_size_of_pieces_and_threads_do_not_change_gradients(kind: str) -> None:
    learner, data = learner_with_data(kind, microbatch_size=None, bc_loss_coeff=0.1)
    found = []
    own = learner._gradients
    for microbatch_size, threads in ((None, 1), (WHOLE, 2), (3, 1), (1, 2)):
        own.threads = threads
        own.sizes = PieceSizes(module_of(learner), learner._device, microbatch_size)
        learner._accumulate(data, some_pairs(data), torch.Generator().manual_seed(0))
        found.append(gradients(learner))
    for other in found[1:]:
        assert_same_gradients(found[0], other)


# Several learners


class Learners:
    """What `collectives` is to learners that are threads of one process."""

    def __init__(self, number: int):
        self.number, self._values = number, [None] * number
        self._barrier, self._local = threading.Barrier(number, timeout=60), threading.local()

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        def as_learner(rank: int) -> Any:
            self._local.rank = rank
            return work(rank)

        with ThreadPoolExecutor(self.number) as pool:
            return list(pool.map(as_learner, range(self.number)))

    def world_size(self) -> int:
        return self.number

    def gather(self, value: Any) -> list[Any]:
        self._values[self._local.rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values

    def all_reduce_sum(self, tensors: list[Tensor]) -> None:
        everyone = self.gather([tensor.clone() for tensor in tensors])
        for tensor, *parts in zip(tensors, *everyone, strict=True):
            tensor.copy_(sum(parts))


@pytest.mark.parametrize(("number", "augment"), [(2, False), (3, True)])
def test_any_number_of_learners_sees_and_does_the_same(
    number: int, augment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("pictures", augment=augment, bc_loss_coeff=0.1)
    learner, runner = build(config)
    trajectories = rollout(learner, runner)
    whole = learner._prepare(trajectories)
    pairs = some_pairs(whole)
    learner._accumulate(whole, pairs, torch.Generator().manual_seed(0))

    several, shards = [build(config)[0] for _ in range(number)], trajectories.split(number)
    learners = Learners(number)
    for name in ("world_size", "gather", "all_reduce_sum"):
        monkeypatch.setattr(collectives, name, getattr(learners, name))

    def work(rank: int) -> IterationData:
        data = several[rank]._prepare(shards[rank])
        several[rank]._accumulate(data, pairs, torch.Generator().manual_seed(0))
        return data

    parts = learners.run(work)
    for one, part in zip(several, parts, strict=True):
        mine = part.own_row >= 0
        own = part.own_row[mine]
        assert len(own) < len(mine)
        assert torch.equal(part.obs["rgb"][own], whole.obs["rgb"][mine])
        torch.testing.assert_close(part.log_probs[own], whole.log_probs[mine])
        torch.testing.assert_close(part.advantages, whole.advantages)
        assert_same_gradients(gradients(learner), gradients(one))


# Shifted pictures


def shifted(seed: int = 3, iteration: int = 0) -> tuple[Any, IterationData, Any]:
    config = tiny_config("pictures", augment=True, microbatch_size=WHOLE).debugging(seed=seed)
    learner, runner = build(config)
    trajectories = rollout(learner, runner)
    learner.iteration = iteration
    return learner, learner._prepare(trajectories), trajectories


def test_shifts_follow_from_seed_and_iteration() -> None:
    _, first, trajectories = shifted()
    assert torch.equal(first.obs["rgb"], shifted()[1].obs["rgb"])
    assert not torch.equal(first.obs["rgb"], shifted(iteration=1)[1].obs["rgb"])
    seen = trajectories.obs["rgb"].flatten(0, 1)
    moved = (first.obs["rgb"] != seen).flatten(1).any(dim=1)
    assert moved.float().mean() > 0.5
    assert torch.equal(first.obs["state"], trajectories.obs["state"].flatten(0, 1))


def test_shifted_pictures_are_scored_anew() -> None:
    learner, data, trajectories = shifted()
    sampled = trajectories.log_probs.flatten(0, 1)
    assert (data.log_probs - sampled).abs().max() > 1e-3
    statistics = learner._accumulate(data, torch.arange(data.num_pairs), torch.Generator())
    _, mean_kl, ratio = statistics.means(data.num_pairs)[:3]
    assert abs(float(ratio) - 1) < 1e-5 and abs(float(mean_kl)) < 1e-6


def test_without_pictures_there_is_nothing_to_shift() -> None:
    with pytest.raises(ValueError, match="augment=True: there are no pictures .* vision=None"):
        tiny_config("ddpm", augment=True).validate()


def test_moving_pictures_piece_by_piece_moves_them_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.randint(256, (7, 2, 3, 16, 16), dtype=torch.uint8)
    own_rows = np.array([-1, 0, 1, 2, -1, 3, 4, 5, 6])

    def moved(rows: int) -> Tensor:
        monkeypatch.setattr(augmentation, "_ROWS", rows)
        return augmentation.shift_pictures(pictures, own_rows, torch.Generator().manual_seed(0))

    whole, at_once = moved(WHOLE), []
    shift = augmentation.random_shift
    monkeypatch.setattr(
        augmentation, "random_shift", lambda *args: at_once.append(len(args[0])) or shift(*args)
    )
    assert torch.equal(moved(3), whole) and not torch.equal(whole, pictures)
    assert at_once == [6, 6, 2]  # two pictures a row


# The teacher


@pytest.mark.parametrize("kind", PICTURES)
def test_the_teacher_sees_each_distinct_observation_once(kind: str) -> None:
    learner, data = learner_with_data(kind, bc_loss_coeff=0.1)
    policy, pairs = module_of(learner).policy, some_pairs(data)
    distinct = len((pairs // data.ft_denoising_steps).unique())
    seen = [pictures_seen(network) for network in (policy.actor, policy.actor_ft)]
    learner._accumulate(data, pairs, torch.Generator())
    assert seen == [[distinct], [distinct]]


# Memory


def test_pieces_shrink_as_pictures_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_sizes, "free_bytes", lambda device: 2**20)
    pieces = []
    for size in (16, 24, 48):
        config = tiny_config("pictures").environment(env_config={"image_size": size})
        learner, runner = build(config.env_runners(rollout_fragment_length=12))
        data = learner._prepare(rollout(learner, runner))
        learner._accumulate(data, torch.arange(data.num_pairs), torch.Generator())
        actor, critic = (
            learner._gradients.sizes.rows(name, not_again, 100) for name in ("actor", "critic")
        )
        # Pictures as numbers alone take 12 bytes a pixel.
        assert critic < 2**20 / (12 * size**2)
        pieces.append(actor)
    assert pieces == sorted(pieces, reverse=True) and pieces[-1] < pieces[0] / 4


def not_again(piece: slice) -> Tensor:
    raise AssertionError("what was measured once is not measured again")
