"""Every kind of policy: how fast it samples chunks, and how fast it learns.

Run with `make bench-policies` on a quiet machine; that also fills in the table of
`docs/policies.md`. Architectures, samplers and heads are those of the authors' configurations,
weights and observations are random. Every figure is a median over rounds in which all cells of the
table take their turn, because the speed of a machine drifts; the slowest sit some rounds out.

A chunk is sampled as a runner does it, from the host's observations to the host's chains and
log-probabilities. The update is the actor's share of a learner's minibatch: gathering,
log-probabilities and gradients, piece by piece; the value network is left out.
"""

from __future__ import annotations

import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from dppo_rllib.algorithms.accumulation import accumulate_gradients, balanced_pieces
from dppo_rllib.algorithms.piece_sizes import PieceSizes
from dppo_rllib.algorithms.ppo_loss import policy_loss
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.denoising import DenoisingConfig
from dppo_rllib.modules.diffusion_policy import DiffusionPolicyConfig
from dppo_rllib.modules.exact_diffusion_policy import ExactDiffusionPolicyConfig
from dppo_rllib.modules.gaussian_policy import GaussianPolicyConfig
from dppo_rllib.modules.gmm_policy import GMMPolicyConfig
from dppo_rllib.modules.policies import build_policy
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.modules.precision import autocast
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.networks import DiffusionMLPConfig, UNet1DConfig, VisionConfig
from dppo_rllib.networks.transformer import GaussianTransformerConfig, GMMTransformerConfig

BATCHES = (1, 50)  # chunks sampled at once: a robot, and the environments of a Robomimic run
ROUNDS = 5
TURN = 0.05  # seconds that a cell's turn takes at least
PATIENCE = 6.0  # seconds that all turns of a cell may take
MINIBATCH = {"cpu": 4096, "cuda": 65536}  # pairs at most; fewer where that takes long
UPDATE = 0.3  # seconds that are long
SAMPLED = 512  # chunks of a minibatch sampled at once
PROBE = 64  # pairs that tell how much memory one takes
SMALLEST_PIECE = 256  # pairs that threads do not divide any further
SHARE = 0.1  # of an iteration's pairs in one minibatch: how often pairs share a picture
BEGIN, END = "<!-- policies: begin -->", "<!-- policies: end -->"

Work = Callable[[], object]


# --- What is measured -------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A policy of the authors' configurations."""

    task: str
    config: Any

    @property
    def network(self) -> str:
        """Its actor in words."""
        network, vision = self.config.network, self.config.vision
        if hasattr(network, "mlp_dims"):
            text = f"MLP {len(network.mlp_dims)} × {network.mlp_dims[0]}"
        elif isinstance(network, UNet1DConfig):
            text = f"U-Net {', '.join(map(str, network.channels))}"
        else:
            text = f"transformer {network.num_layers} × {network.embed_dim}"
        if vision is None:
            return text
        return text + (", ViT" if vision.num_cameras == 1 else f", ViT × {vision.num_cameras}")

    @property
    def head(self) -> str:
        """Its sampler, or the distribution that it draws from."""
        config = self.config
        if isinstance(config, GaussianPolicyConfig):
            return "Gaussian"
        if isinstance(config, GMMPolicyConfig):
            return f"GMM of {config.network.num_modes}"
        denoising = config.denoising
        sampler = (
            f"DDPM {denoising.denoising_steps}"
            if denoising.ddim_steps is None
            else f"DDIM {denoising.ddim_steps} of {denoising.denoising_steps}"
        )
        if isinstance(config, ExactDiffusionPolicyConfig):
            return f"{sampler}, exact likelihood"
        return f"{sampler}, K' {config.ft_denoising_steps}"

    @property
    def label(self) -> str:
        """All of that."""
        return f"{self.task}, {self.network}, {self.head}"


def all_rows() -> list[Row]:
    """The table, top to bottom."""
    hopper = {"obs_dim": 11, "action_dim": 3}
    can = {"obs_dim": 23, "action_dim": 7}
    one_camera = {
        **{"obs_dim": 9, "action_dim": 7},
        **{"image_shape": (3, 96, 96), "vision": VisionConfig()},
    }
    two_cameras = {
        **{"obs_dim": 18, "action_dim": 14, "horizon_steps": 8, "act_steps": 8},
        **{"image_shape": (6, 96, 96), "vision": VisionConfig(num_cameras=2)},
    }
    one_leg = {"obs_dim": 58, "action_dim": 10, "act_steps": 8}
    ddpm = {"denoising": DenoisingConfig(denoising_steps=20), "ft_denoising_steps": 10}
    ddim = {"denoising": DenoisingConfig(100, ddim_steps=5), "ft_denoising_steps": 5}
    mish = DiffusionMLPConfig(activation="Mish")
    mish32 = DiffusionMLPConfig(activation="Mish", time_dim=32)
    transport_mlp = DiffusionMLPConfig((768,) * 3, activation="Mish", time_dim=32)
    one_leg_mlp = DiffusionMLPConfig(
        (1024,) * 7, 32, "Mish", use_layernorm=True, cond_mlp_dims=(512, 64)
    )
    can_unet, square_unet = UNet1DConfig(dim=40), UNet1DConfig(diffusion_step_embed_dim=32)
    one_leg_unet = UNet1DConfig(dim_mults=(1, 2, 4), groupnorm_eps=1e-4)
    diffusion, exact = DiffusionPolicyConfig, ExactDiffusionPolicyConfig
    gaussian, gmm = GaussianPolicyConfig, GMMPolicyConfig
    tuned = {"fine_tuned": True}
    return [
        Row("Hopper", diffusion(**hopper, **ddpm)),
        Row("Hopper", exact(**hopper, **ddpm)),
        Row("Can", diffusion(**can, **ddpm, network=mish)),
        Row("Can", diffusion(**can, **ddpm, network=can_unet)),
        Row("Can", gaussian(**can, **tuned)),
        Row("Can", gaussian(**can, **tuned, network=GaussianTransformerConfig())),
        Row("Can", gmm(**can, **tuned)),
        Row("Can", gmm(**can, **tuned, network=GMMTransformerConfig())),
        Row("One-leg", diffusion(**one_leg, **ddim, horizon_steps=8, network=one_leg_mlp)),
        Row("One-leg", diffusion(**one_leg, **ddim, horizon_steps=16, network=one_leg_unet)),
        Row("Can, pictures", diffusion(**one_camera, **ddim, network=mish32)),
        Row("Can, pictures", gaussian(**one_camera, **tuned)),
        Row("Square, pictures", diffusion(**one_camera, **ddim, network=square_unet)),
        Row("Transport, pictures", diffusion(**two_cameras, **ddim, network=transport_mlp)),
    ]


@dataclass(frozen=True)
class Setting:
    """Where and how networks compute."""

    device: torch.device
    threads: int
    mixed_precision: bool

    @property
    def label(self) -> str:
        """Words for the head of a column."""
        if self.mixed_precision:
            return "bfloat16"
        if self.device.type == "cuda":
            return "float32"
        return f"{self.threads} thread" + "s" * (self.threads > 1)


def settings(device: torch.device) -> list[Setting]:
    """The columns of a device; on a CPU mixed precision is measured with one thread.

    And only where it has instructions for bfloat16: emulated it is slower by an order of magnitude.
    """
    if device.type == "cuda":
        return [Setting(device, 1, mixed) for mixed in (False, True)]
    threads = sorted({1, usable_cores()})
    mixed = any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
    return [Setting(device, n, False) for n in threads] + [Setting(device, 1, True)] * mixed


# --- Work -------------------------------------------------------------------------------------


def random_observations(config: PolicyConfig, count: int) -> dict[str, torch.Tensor]:
    """Observation histories of the right shapes on the host."""
    obs = {"state": 2 * torch.rand(count, config.cond_steps, config.obs_dim) - 1}
    if config.image_shape is not None and config.vision is not None:
        shape = (count, config.vision.img_cond_steps, *config.image_shape)
        obs["rgb"] = torch.randint(256, shape, dtype=torch.uint8)
    return obs


def sampling_work(policy: Any, setting: Setting, batch: int) -> Work:
    """Chunks for the observations of `batch` environments, as a runner samples them."""
    device = setting.device
    obs = random_observations(policy.config, batch)
    generator = torch.Generator(device)

    def sample() -> None:
        with torch_threads(setting.threads), autocast(device, setting.mixed_precision):
            here = {key: value.to(device) for key, value in obs.items()}
            chain = policy.sample(here, noise=policy.draw_noise(batch, generator))
            chain.x.cpu(), chain.log_probs.cpu()

    return sample


@dataclass(frozen=True)
class Minibatch:
    """Random pairs of an iteration, and the distinct chunk steps that they come from."""

    obs: dict[str, torch.Tensor]
    chains: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor
    row: torch.Tensor
    step: torch.Tensor

    @classmethod
    def sampled(cls, policy: Any, pairs: int, device: torch.device) -> Minibatch:
        """Pairs in the order in which a learner takes them."""
        steps = policy.chain_steps
        drawn = torch.randperm(round(pairs / SHARE))[:pairs]
        if policy.config.vision is not None:
            drawn = drawn.sort().values
        distinct, row = torch.unique(drawn // steps, return_inverse=True)
        host = random_observations(policy.config, len(distinct))
        obs = {key: value.to(device) for key, value in host.items()}
        pieces = balanced_pieces(len(distinct), SAMPLED, threads=1)
        chains = [policy.sample({key: value[p] for key, value in obs.items()}) for p in pieces]
        x, log_probs = (torch.cat(parts) for parts in zip(*chains, strict=True))
        advantages = torch.randn(len(distinct)).to(device)
        return cls(obs, x, log_probs, advantages, row.to(device), (drawn % steps).to(device))

    def encoded(self, policy: Any, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encoded observations of rows; a picture that several pairs share is encoded once."""
        if "rgb" not in self.obs:
            return policy.encode({key: value[rows] for key, value in self.obs.items()})
        distinct, position = torch.unique_consecutive(rows, return_inverse=True)
        encoded = policy.encode({key: value[distinct] for key, value in self.obs.items()})
        return {key: value[position] for key, value in encoded.items()}


def update_work(policy: Any, setting: Setting) -> tuple[Work, int]:
    """The gradient of the actor's loss over a minibatch, as a learner accumulates it.

    Returns:
        What does it, and how many pairs there are.
    """
    device, threads = setting.device, setting.threads
    on_cpu = device.type == "cpu"
    parameters = list(policy.acting.parameters())
    counted = MinibatchStatistics(policy.chain_steps, device)

    def loss_on(pairs: int) -> Callable[[slice, MinibatchStatistics], torch.Tensor]:
        return actor_loss(policy, setting, Minibatch.sampled(policy, pairs, device))

    probe = loss_on(PROBE)
    size = PieceSizes(policy, device, None).rows(
        "actor", lambda piece: probe(piece, counted.empty()), PROBE
    )

    def work_on(pairs: int) -> Work:
        loss_of = loss_on(pairs)

        def accumulate() -> None:
            for parameter in parameters:
                parameter.grad = None
            with torch_threads(threads):
                accumulate_gradients(
                    loss_of, pairs, size, parameters, counted, threads if on_cpu else None
                )
            if not on_cpu:
                torch.cuda.synchronize(device)

        return accumulate

    # Threads share a minibatch only if there is a piece for each.
    pairs = threads * min(size, SMALLEST_PIECE) if threads > 1 else 4
    work = work_on(pairs)
    while warm_seconds_of(work) < UPDATE and pairs < MINIBATCH[device.type]:
        pairs *= 2
        work = work_on(pairs)
    return work, pairs


def actor_loss(
    policy: Any, setting: Setting, data: Minibatch
) -> Callable[[slice, MinibatchStatistics], torch.Tensor]:
    """The loss over a piece of a minibatch."""
    clip_ranges = torch.full((policy.chain_steps,), 0.01, device=setting.device)

    def loss_of(piece: slice, counted: MinibatchStatistics) -> torch.Tensor:
        rows, steps = data.row[piece], data.step[piece]
        with autocast(setting.device, setting.mixed_precision):
            log_probs = policy.log_prob(
                data.encoded(policy, rows),
                data.chains[rows, steps],
                data.chains[rows, steps + 1],
                steps,
            )
            terms = policy_loss(
                log_probs, data.log_probs[rows, steps], data.advantages[rows], clip_ranges[steps]
            )
        loss = terms.loss.sum()
        counted.add(policy_loss=loss, mean_kl_loss=terms.approx_kl, ratio=terms.ratio)
        counted.add_clipped(terms.clipped, steps)
        return loss / len(data.row)

    return loss_of


# --- Measuring --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One figure of the tables.

    Attributes:
        row: Of which policy.
        setting: Where.
        work: What is timed.
        chunks: How many it samples.
        pairs: How many it learns from.
    """

    row: Row
    setting: Setting
    work: Work
    chunks: int = 0
    pairs: int = 0

    @property
    def column(self) -> str:
        """Head of its column."""
        if self.chunks:
            return f"{self.chunks} chunk{'s' * (self.chunks > 1)}, {self.setting.label}"
        return self.setting.label

    def shown(self, seconds: float) -> str:
        """Milliseconds of sampling, or pairs a second."""
        if self.chunks:
            return f"{float(f'{seconds * 1e3:.3g}'):g}"
        return f"{float(f'{self.pairs / seconds:.3g}'):,.0f}"


def cells_of(row: Row, device: torch.device) -> list[Cell]:
    """All figures of a policy on one device."""
    policy = build_policy(row.config).to(device)
    cells = []
    for setting in settings(device):
        if setting.mixed_precision and isinstance(row.config, ExactDiffusionPolicyConfig):
            continue  # likelihoods need float32
        cells += [Cell(row, setting, sampling_work(policy, setting, n), chunks=n) for n in BATCHES]
        work, pairs = update_work(policy, setting)
        cells.append(Cell(row, setting, work, pairs=pairs))
    return cells


def seconds_of(work: Work, calls: int = 1) -> float:
    """Seconds of one call, as a mean."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def warm_seconds_of(work: Work) -> float:
    """Seconds of the better of two calls: the first of its kind takes longer than all others."""
    return min(seconds_of(work), seconds_of(work))


def measure(works: Sequence[Work], seconds: float, tick: Callable[[int], object]) -> list[float]:
    """Median seconds of one call of each, over rounds in which all take their turn.

    Args:
        works: What is timed.
        seconds: Rounds go on for so long, `ROUNDS` of them at least; what has taken `PATIENCE`
            seconds sits the others out.
        tick: Told the number of each round.
    """
    calls = [max(1, round(TURN / warm_seconds_of(work))) for work in works]
    found: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds
    for number in itertools.count(1):
        if number > ROUNDS and time.perf_counter() > end:
            break
        tick(number)
        for work, count, samples in zip(works, calls, found, strict=True):
            if count * sum(samples) < PATIENCE:
                samples.append(seconds_of(work, count))
    return [statistics.median(samples) for samples in found]


# --- Showing ----------------------------------------------------------------------------------


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, {versions}"
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    cores = f"{usable_cores()} of {os.cpu_count()} cores"
    return f"{model}, {cores}, {torch.backends.cpu.get_cpu_capability()}, {versions}"


def as_lines(figures: Mapping[Cell, float]) -> list[list[str]]:
    """The table's head, then a line per policy."""
    columns = list(dict.fromkeys(cell.column for cell in sorted(figures, key=lambda c: c.chunks)))
    shown: dict[Row, dict[str, str]] = {}
    for cell, seconds in figures.items():
        shown.setdefault(cell.row, {})[cell.column] = cell.shown(seconds)
    lines = [["task", "network", "sampler or head", "parameters", *columns]]
    for row, values in shown.items():
        count = sum(parameter.numel() for parameter in row.config.build_network().parameters())
        words = [row.task, row.network, row.head, f"{count:,}"]
        lines.append(words + [values.get(column, "–") for column in columns])
    return lines


def as_table(title: str, lines: Sequence[Sequence[str]]) -> Table:
    """For the terminal."""
    table = Table(title=title)
    for i, name in enumerate(lines[0]):
        table.add_column(name.replace(", ", "\n"), justify="left" if i < 3 else "right")
    for line in lines[1:]:
        table.add_row(*line)
    return table


def as_markdown(title: str, lines: Sequence[Sequence[str]]) -> str:
    """For a page."""
    rule = ["---"] * 3 + ["---:"] * (len(lines[0]) - 3)
    rows = [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
    return "\n".join([f"{title}:", "", *rows])


def fill_in(page: Path, text: str) -> None:
    """Puts `text` between the markers of a page.

    Raises:
        ValueError: It does not have both markers, once.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: expected the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main(
    only: Annotated[
        list[str] | None,
        typer.Option(help="Rows whose words contain this, as in the table; may be repeated."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="How long to measure on each device, warm-up apart.")
    ] = 60.0,
    markdown: Annotated[
        Path | None, typer.Option(help=f"A page with the marks {BEGIN} and {END} to fill in.")
    ] = None,
) -> None:
    """Measures every policy on the CPU, and on a GPU where there is one."""
    chosen = [r for r in all_rows() if any(w.lower() in r.label.lower() for w in only or [""])]
    if not chosen:
        raise typer.BadParameter(f"--only {only}: no row of {[row.label for row in all_rows()]}")
    console = Console(width=max(160, Console().width))
    torch.manual_seed(0)
    texts = []
    for kind in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        device = torch.device(kind)
        with console.status("building") as status:
            cells = []
            for row in chosen:
                status.update(f"{kind}: {row.label}")
                cells += cells_of(row, device)
            times = measure(
                [cell.work for cell in cells],
                seconds,
                lambda number, kind=kind: status.update(f"{kind}: round {number}"),
            )
        figures = dict(zip(cells, times, strict=True))
        texts.append(machine(device))
        console.print(f"[bold]{machine(device)}")
        for title, kept in (
            ("Sampling, ms", {c: t for c, t in figures.items() if c.chunks}),
            (
                "Update of the actor, pairs per second",
                {c: t for c, t in figures.items() if c.pairs},
            ),
        ):
            lines = as_lines(kept)
            console.print(as_table(title, lines))
            texts.append(as_markdown(title, lines))
    if markdown is not None:
        fill_in(markdown, "\n\n".join(texts))


if __name__ == "__main__":
    typer.run(main)
