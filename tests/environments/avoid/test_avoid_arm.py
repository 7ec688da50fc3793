"""How the rod follows its command."""

from pathlib import Path

import numpy as np
import pytest

from dppo_rllib.environments.avoid.arm import Rods
from dppo_rllib.environments.avoid.table import PILLAR_RADII, PILLARS, ROD_RADIUS, START

GOLDEN = Path(__file__).parents[2] / "golden" / "avoid_arm.npz"
ALL = slice(None)


def rods(*places):
    made = Rods(len(places))
    made.place(ALL, np.array(places, complex))
    return made


def as_numbers(pairs):
    return pairs[..., 0].astype(float) + 1j * pairs[..., 1]


def test_it_moves_as_the_arm_of_d3il_does():
    """Two demonstrations by each way, recorded with `PandaRods`; see test_avoid_panda.py."""
    with np.load(GOLDEN) as arrays:
        changes, expected = as_numbers(arrays["actions"]), as_numbers(arrays["positions"])
    found = rods(*expected[:, 0])
    apart, behind = [], []
    for step in range(changes.shape[1]):
        assert not found.move(ALL, changes[:, step]).any()
        apart.append(np.abs(found.position - expected[:, step + 1]))
        behind.append(np.abs(found.desired - expected[:, step + 1]))
    assert np.sqrt(np.mean(np.square(apart))) < 0.0045
    assert np.max(apart) < 0.0105
    assert np.sqrt(np.mean(np.square(behind))) > 0.014


def test_it_comes_to_rest_where_it_shall_be():
    moved = rods(START, START, START)
    moved.move(ALL, np.array([0.01, 0.01j, -0.01 - 0.01j]))
    for _ in range(100):
        moved.move(ALL, np.zeros(3, complex))
    np.testing.assert_allclose(moved.position, moved.desired, atol=1e-4)
    assert np.abs(moved.position - START).min() > 0.009


def test_it_swings_more_slowly_than_it_stretches():
    """The start is to the right of the foot: changes along it stretch, across it swing."""
    outwards = START / abs(START)
    moved = rods(START, START)
    moved.move(ALL, 0.01 * outwards * np.array([1, 1j]))
    moved.move(ALL, np.zeros(2, complex))
    stretched, swung = np.abs(moved.position - START)
    assert stretched > 1.5 * swung > 0


def test_a_pillar_holds_it_off_and_is_felt():
    pressed = rods(0.5 - 0.16j)
    felt = []
    for _ in range(30):
        felt.append(bool(pressed.move(ALL, np.array([0.005j]))[0]))
    clearance = PILLAR_RADII[0] + ROD_RADIUS
    assert not any(felt[:2]) and any(felt)
    assert np.abs(pressed.position - PILLARS).min() >= clearance - 1e-9


def test_it_cannot_be_pushed_through_the_middle_of_a_pillar():
    pressed = rods(0.5 - 0.16j)
    for _ in range(12):
        pressed.move(ALL, np.array([0.01j]))
    assert pressed.desired.imag[0] == pytest.approx(-0.04)  # its command is behind it
    assert pressed.position.imag[0] < PILLARS.imag[0]


def test_rods_have_nothing_to_do_with_each_other():
    generator = np.random.default_rng(0)
    places = START + 0.05 * generator.normal(size=20)
    together, apart = rods(*places), rods(*places)
    for _ in range(60):
        changes = 0.01 * (generator.uniform(-1, 1, 20) + 1j * generator.uniform(-0.5, 1, 20))
        together.move(ALL, changes)
        for row in generator.permutation(20):
            apart.move(np.array([row]), changes[[row]])
    np.testing.assert_array_equal(together.position, apart.position)


def test_its_reach_ends():
    far = rods(0.7 + 0.3j)
    for _ in range(200):
        far.move(ALL, np.array([0.001 + 0.001j]))
    assert abs(far.desired[0]) > 1.0
    assert abs(far.position[0]) == pytest.approx(0.81, abs=0.01)
