#!/usr/bin/env bash
# Starts a fine-tuning run, or goes on with it where an earlier start left checkpoints; for jobs
# that a cluster starts again after a failure or a pre-emption.
#
#   start_or_resume.sh OUTPUT TASK [option of `dppo finetune` ...]
#
# OUTPUT is a directory on a file system that all nodes share.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: $0 OUTPUT TASK [option of dppo finetune ...]" >&2
    exit 2
fi
output=$1
shift

if [ -e "$output/summary.json" ]; then
    echo "$output: is finished"
elif compgen -G "$output/experiment_state-*.json" >/dev/null; then
    exec dppo finetune --resume "$output"
else
    if [ -e "$output/run.json" ]; then
        # It stopped before training began, and there is nothing to go on with.
        mv "$output" "$output.unbegun-$(date +%s)"
    fi
    exec dppo finetune "$@" --output "$output"
fi
