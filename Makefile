# make demo   set up, then fine-tune the shipped Hopper policy: before, after, curve, videos
# make test   set up, then every check and the default test suite
# make test-slow   set up, then the tests that take longer: jobs, sweeps, every policy by command
# make test-warp   set up, then what concerns MuJoCo Warp: compiles for minutes, needs no GPU
# make test-lerobot   whether LeRobot reads what we write; in an environment of its own, of 8 GB
# make bench  set up, then the benchmark tables
# make bench-policies   only that of the policies, into docs/policies.md
# make bench-locomotion only that of Gymnasium's locomotion, into docs/locomotion.md
# make bench-robomimic  only those of the Robomimic tasks, into docs/robomimic.md
# make bench-furniture  only that of the Furniture-Bench tasks, into docs/furniture.md; of MuJoCo Warp,
#   too, where it is installed (pip install "dppo_rllib[furniture-warp]")
# make bench-furniture-iteration  of DPPO at the paper's size, into docs/furniture.md; needs a GPU
# make bench-datasets   only those of training samples, into docs/data.md
# make bench-avoid-kitchen  only those of Avoid and Franka Kitchen, into docs/avoid.md, docs/kitchen.md
# make bench-scaling    only those of one and two runners and learners, into docs/scaling.md

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-warp test-lerobot bench bench-avoid-kitchen bench-datasets \
	bench-furniture bench-furniture-iteration bench-locomotion bench-policies bench-robomimic \
	bench-scaling setup

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "dppo_rllib needs Python 3.10 or newer; try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mujoco,robomimic,kitchen,furniture,video,dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps robosuite==1.5.2 furniture-bench==0.1
	touch $@

# Larger steps than the paper's (actor_lr 1e-4, clip_param 0.01) and fewer epochs than its 5.
demo: setup
	$(BIN)/dppo finetune hopper-medium --iterations 14 --episodes 50 \
		--set actor_lr=6e-4 --set actor_min_lr=6e-4 --set clip_param=0.02 --set num_epochs=3

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# Not in the set-up of all: with the job server installed, every Ray takes longer to start.
test-slow: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mujoco,dev,cluster]'
	$(BIN)/pytest -m slow

test-warp: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[furniture-warp,dev]'
	$(BIN)/pytest -m "slow or not slow" -k warp tests/environments

# Versions are those that LeRobot asks for; constraints.txt has newer ones.
test-lerobot:
	$(PYTHON) -m venv .venv-lerobot
	.venv-lerobot/bin/python -m pip install --quiet --editable '.[lerobot]' \
		pytest pytest-timeout hypothesis beartype
	.venv-lerobot/bin/pytest tests/datasets/test_lerobot_itself.py

bench: setup
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.hopper
	$(BIN)/python -m benchmarks.policies
	$(BIN)/python -m benchmarks.locomotion
	$(BIN)/python -m benchmarks.robomimic
	$(BIN)/python -m benchmarks.furniture
	$(BIN)/python -m benchmarks.datasets
	$(BIN)/python -m benchmarks.avoid_kitchen

bench-policies: setup
	$(BIN)/python -m benchmarks.policies --markdown docs/policies.md

bench-datasets: setup
	$(BIN)/python -m benchmarks.datasets --markdown docs/data.md

bench-locomotion: setup
	$(BIN)/python -m benchmarks.locomotion --markdown docs/locomotion.md

bench-scaling: setup
	$(BIN)/python -m benchmarks.scaling --markdown docs/scaling.md

bench-robomimic: setup
	$(BIN)/python -m benchmarks.robomimic --markdown docs/robomimic.md

bench-avoid-kitchen: setup
	$(BIN)/python -m benchmarks.avoid_kitchen --markdown docs

# With mujoco_warp, too, where it is installed.
bench-furniture: setup
	$(BIN)/python -m benchmarks.furniture --markdown docs/furniture.md

bench-furniture-iteration: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[furniture-warp,dev]'
	$(BIN)/python -m benchmarks.furniture_iteration --markdown docs/furniture.md
