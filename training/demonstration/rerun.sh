#!/usr/bin/env bash
# Repeat the first steps of the run from its saved configuration, and compare them with its log.
#
#   training/demonstration/rerun.sh WORK [STEPS]
#
# WORK is the folder that run.sh has worked in: its shards, held-out clips and frozen networks are used.
set -euo pipefail
work=${1:?the folder that run.sh has worked in} steps=${2:-200}
python=${PYTHON:-python}
here=$(dirname "$0")
$python -m training train --config "$here/config.json" --set "loop.steps=$steps" \
    --set "data.train=$work/shards/train-*.tar" --set "data.validation=$work/held-out/validation-*.tar" \
    --set "losses.vgg16_weights=$work/frozen/vgg16.safetensors" --set "losses.i3d_weights=$work/frozen/i3d.safetensors" \
    --set "checkpoint.directory=$work/rerun"
$python -m training.demonstration.compare "$here/log.jsonl" "$work/rerun/log.jsonl" --steps "$steps"
