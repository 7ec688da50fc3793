"""Random shifts of pictures."""

from __future__ import annotations

import pytest
import torch
from golden_tensors import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dppo_rllib.networks import draw_shifts, random_shift
from dppo_rllib.networks.augmentation import PAD


def pictures(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def test_shifted_pictures_are_the_authors():
    images, shifts = golden("net/randomshift/in"), golden("net/randomshift/shift")
    shifted, official = random_shift(images, shifts.view(-1, 1, 2)), golden("net/randomshift/out")
    assert shifted.dtype == torch.uint8
    assert torch.equal(shifted.float(), official.round())
    # Their interpolation is off pixel centres by rounding.
    torch.testing.assert_close(shifted.float(), official, rtol=0, atol=0.005)


@settings(max_examples=30)
@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    x=st.integers(0, 2 * PAD),
    y=st.integers(0, 2 * PAD),
)
def test_every_pixel_comes_from_its_place_or_the_nearest_edge(height, width, x, y):
    image = pictures(1, 2, height, width)
    shifted = random_shift(image, torch.tensor([[[x, y]]]))
    for row in range(height):
        for column in range(width):
            from_row = min(max(row + y - PAD, 0), height - 1)
            from_column = min(max(column + x - PAD, 0), width - 1)
            assert torch.equal(shifted[..., row, column], image[..., from_row, from_column])


def test_middle_shift_leaves_pictures_where_they_are():
    images = pictures(3, 2, 6, 8, 10)
    assert torch.equal(random_shift(images, torch.full((3, 2, 2), PAD)), images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_move_as_bytes_do_and_keep_their_type(dtype):
    images, shifts = pictures(3, 1, 3, 8, 10), draw_shifts(3)
    shifted = random_shift(images.to(dtype), shifts)
    assert shifted.dtype == dtype
    assert torch.equal(shifted, random_shift(images, shifts).to(dtype))


def test_each_sample_and_camera_moves_by_its_own_shift_and_all_steps_of_it_alike():
    images, shifts = pictures(4, 3, 6, 8, 10), draw_shifts(4, num_cameras=2)
    shifted = random_shift(images, shifts)
    assert shifted.shape == images.shape
    for sample in range(4):
        for step in range(3):
            for camera in (0, 1):
                channels = slice(3 * camera, 3 * camera + 3)
                one = images[sample, step, channels][None]
                alone = random_shift(one, shifts[sample, camera][None, None])
                assert torch.equal(shifted[sample, step, channels], alone[0])


def test_shifts_cover_the_window_evenly():
    shifts = draw_shifts(20_000, 2, generator=torch.Generator().manual_seed(0))
    assert shifts.shape == (20_000, 2, 2)
    side = 2 * PAD + 1
    counts = (shifts[..., 0] * side + shifts[..., 1]).flatten().bincount(minlength=side**2)
    assert len(counts) == side**2
    assert (counts - 40_000 / side**2).abs().max() < 150  # about 22 is one standard deviation


def test_shifts_are_reproducible_from_a_generator():
    draws = [draw_shifts(8, 2, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)


def test_cameras_divide_the_channels():
    with pytest.raises(ValueError, match="shifts of 2 cameras: expected a divisor of 3 channels"):
        random_shift(pictures(1, 3, 8, 8), draw_shifts(1, 2))
