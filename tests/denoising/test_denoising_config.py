"""Contradictory configurations are refused with field and value."""

from __future__ import annotations

import re

import pytest

from dppo_rllib.denoising import DenoisingConfig

CLIPS = ("denoised_clip_value", "eps_clip_value", "randn_clip_value", "final_action_clip_value")


def refused(field: str, value: object, **others: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{field}={value}: expected")):
        DenoisingConfig(**{field: value} | others)


def test_defaults_are_the_authors():
    config = DenoisingConfig()
    assert (config.denoising_steps, config.ddim_steps, config.eta) == (20, None, 1.0)
    assert config.predict_epsilon
    assert (config.denoised_clip_value, config.randn_clip_value) == (1.0, 3.0)
    assert (config.eps_clip_value, config.final_action_clip_value) == (None, None)


def test_ddpm_samples_every_step_and_ddim_its_own():
    assert DenoisingConfig(denoising_steps=20).sampler_steps == 20
    assert DenoisingConfig(denoising_steps=100, ddim_steps=5).sampler_steps == 5
    assert DenoisingConfig(denoising_steps=5, ddim_steps=5).sampler_steps == 5


@pytest.mark.parametrize("value", [0, -1])
def test_denoising_steps_are_positive(value):
    refused("denoising_steps", value)


@pytest.mark.parametrize("value", [0, -1, 21])
def test_ddim_takes_one_to_all_denoising_steps(value):
    refused("ddim_steps", value, denoising_steps=20)


def test_too_many_ddim_steps_are_refused_with_the_limit():
    with pytest.raises(ValueError, match="denoising_steps=20"):
        DenoisingConfig(denoising_steps=20, ddim_steps=21)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_eta_is_within_0_and_1(value):
    refused("eta", value, ddim_steps=5)


def test_only_ddim_clips_eps():
    with pytest.raises(ValueError, match=r"eps_clip_value=1\.0: only DDIM clips eps"):
        DenoisingConfig(eps_clip_value=1.0)
    assert DenoisingConfig(eps_clip_value=1.0, ddim_steps=5).eps_clip_value == 1.0


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
@pytest.mark.parametrize("field", CLIPS)
def test_clips_are_positive(field, value):
    refused(field, value, ddim_steps=5)


@pytest.mark.parametrize("field", [clip for clip in CLIPS if clip != "randn_clip_value"])
def test_clips_may_be_absent(field):
    assert getattr(DenoisingConfig(**{field: None}), field) is None
