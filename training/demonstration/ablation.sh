#!/usr/bin/env bash
# Measure what each choice about the codebook and the optimizer gives: short runs, each with one choice reverted.
#
#   training/demonstration/ablation.sh WORK
#
# WORK is the folder that run.sh has worked in: its shards and held-out clips are used.
set -euo pipefail
work=${1:?the folder that run.sh has worked in}
python=${PYTHON:-python}

short() {  # NAME [KEY=VALUE ...]
    local name=$1 overrides=()
    shift
    for setting in losses.lpips=0 losses.i3d=0 loop.steps=150 loop.crop_steps=150 loop.ema_decay=0.9 data.batch_size=8 \
        schedule.warmup_steps=30 schedule.hold_steps=20 schedule.decay_steps=100 quantizer.bypass_steps=30 \
        validation.every_steps=150 validation.lpips=false validation.videos=0 checkpoint.every_steps=150 "$@"; do
        overrides+=(--set "$setting")
    done
    $python -m training train --config demo --set "data.train=$work/shards/train-*.tar" \
        --set "data.validation=$work/held-out/validation-*.tar" --set "checkpoint.directory=$work/ablation/$name" \
        "${overrides[@]}"
}

short as-shipped
short no-k-means quantizer.kmeans=false
short no-restart quantizer.dead_code_threshold=0
short restart-often quantizer.dead_code_threshold=0.5
short width-8 model.codebook_dim=8
short rotation quantizer.gradient=rotation
short no-bypass quantizer.bypass_steps=0
short decay-0.8 quantizer.decay=0.8
short adamw optimizer.kind=adamw
