"""Where the frozen networks of the losses get their weights: VGG16 with LPIPS's heads, and I3D.

Looked for in this order, and an error names every place that was tried::

    VGG16   the file that `losses.vgg16_weights` names, and nothing else if it names one
            the released checkpoint on the Hub (`loss_fn_lpips.*`)
            torchvision's published file, at PyTorch's address
    I3D     the file that `losses.i3d_weights` names, and nothing else if it names one
            the I3D file beside the released checkpoint on the Hub (`rgb_imagenet.pt`)
            the released checkpoint itself (`i3d.*`)

The heads of LPIPS 0.1 (7 kB, BSD-2) ship with torchmetrics.
"""

from __future__ import annotations

import pickle
import re
import urllib.request
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cvivit.errors import WeightsCorruptError, WeightsError, WeightsMismatchError, WeightsNotFoundError
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS

StateDict = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

RELEASED_REPOSITORY = "obvious-research/phenaki-cvivit"
RELEASED_FILES = ("CViViT/pytorch_model.bin", "CVIVIT/pytorch_model.bin")
"""The checkpoint; the repository's README spells the folder the second way."""
I3D_FILE = "frozen_models/pytorch_i3d/models/rgb_imagenet.pt"
VGG16_ADDRESS = "https://download.pytorch.org/models/vgg16-397923af.pth"
HUB_TIMEOUT_SECONDS = 10.0
HEADS_FILE = "functional/image/lpips_models/vgg.pth"

_VGG16_KEY = re.compile(r"(?:^|\.)(?:features|slice\d)\.(\d+)\.(weight|bias)$")


def load_lpips(vgg16_weights: str | None = None) -> LPIPS:
    """Return LPIPS with its weights, frozen and in eval mode.

    Raises:
        WeightsNotFoundError: no place has VGG16 weights, or torchmetrics is not installed.
        WeightsCorruptError, WeightsMismatchError: the file named is not one of VGG16 weights.
    """
    network = LPIPS()
    features = _find("VGG16", "vgg16_weights", vgg16_weights, (_released, _torchvision), _vgg16_state)
    state = {f"vgg.{key}": tensor for key, tensor in features.items()} | lpips_heads()
    return _frozen(network, state, "LPIPS")


def load_i3d(i3d_weights: str | None = None) -> I3D:
    """Return I3D with its weights, frozen and in eval mode.

    Raises:
        WeightsNotFoundError: no place has I3D weights.
        WeightsCorruptError, WeightsMismatchError: the file named is not one of I3D weights.
    """
    state = _find("I3D", "i3d_weights", i3d_weights, (_beside_released, _released), _i3d_state)
    return _frozen(I3D(), state, "I3D")


def read_state(path: Path) -> StateDict:
    """Return the tensors of a `.safetensors` file or of what torch.save wrote; code in it is never run.

    Raises:
        WeightsNotFoundError: no such file.
        WeightsCorruptError: it is neither, is cut short, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsNotFoundError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".safetensors":
            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsCorruptError(f"{path}: cannot be read as weights ({type(error).__name__})") from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise WeightsCorruptError(f"{path}: holds no table of tensors")
    return {str(key): value for key, value in state.items() if isinstance(value, Tensor)}


def lpips_heads() -> StateDict:
    """Return the heads of LPIPS 0.1 for VGG16, from torchmetrics.

    Raises:
        WeightsNotFoundError: torchmetrics is not installed.
    """
    spec = find_spec("torchmetrics")
    if spec is None or spec.origin is None:
        raise WeightsNotFoundError("the heads of LPIPS ship with torchmetrics, which is not installed")
    return read_state(Path(spec.origin).parent / HEADS_FILE)


def _find(
    network: str,
    setting: str,
    named: str | None,
    places: Sequence[Callable[[], Path]],
    select: Callable[[StateDict], StateDict],
) -> StateDict:
    if named is not None:
        state = select(read_state(Path(named)))
        if not state:
            raise WeightsMismatchError(f"{named}: holds no {network} weights")
        return state
    tried = []
    for place in places:
        try:
            path = place()
            if state := select(read_state(path)):
                return state
            tried.append(f"{path.name} holds none")
        except (OSError, ValueError, WeightsError) as error:
            summary = str(error).strip().partition("\n")[0]
            tried.append(f"{place.__name__.strip('_').replace('_', ' ')}: {summary}")
    raise WeightsNotFoundError(
        f"no {network} weights: name a file by losses.{setting} (evaluate: --{setting.replace('_', '-')}), "
        f"or do without the loss or the figure ({'; '.join(tried)})"
    )


def _released() -> Path:
    for name in RELEASED_FILES[:-1]:
        try:
            return _from_hub(name)
        except (OSError, ValueError):
            continue
    return _from_hub(RELEASED_FILES[-1])


def _beside_released() -> Path:
    return _from_hub(I3D_FILE)


def _from_hub(name: str) -> Path:
    """Fetch a file of the released repository, or take it from the cache where there is no connection.

    One quick question goes first: a download that finds no connection tries again for half a minute.
    """
    try:
        HfApi().model_info(RELEASED_REPOSITORY, timeout=HUB_TIMEOUT_SECONDS)
    except Exception as error:  # the Hub's HTTP library, and so its errors, change with its version
        try:
            return Path(hf_hub_download(RELEASED_REPOSITORY, name, local_files_only=True))
        except LocalEntryNotFoundError:
            raise OSError("the Hub cannot be reached, and the file is not in its cache") from error
    return Path(hf_hub_download(RELEASED_REPOSITORY, name))


def _torchvision() -> Path:
    """Fetch torchvision's file, or take it from its cache. A quick question goes first here, too."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG16_ADDRESS.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rpartition("-")[2]
        question = urllib.request.Request(VGG16_ADDRESS, method="HEAD")
        # torch's download waits without an end for what a firewall swallows.
        urllib.request.urlopen(question, timeout=HUB_TIMEOUT_SECONDS).close()  # noqa: S310 - https
        try:
            torch.hub.download_url_to_file(VGG16_ADDRESS, str(path), hash_prefix=digest, progress=False)
        except RuntimeError as error:  # some page came instead of the file
            raise WeightsCorruptError(str(error)) from error
    return path


def _vgg16_state(state: StateDict) -> StateDict:
    """Take VGG16's convolutions from torchvision's layout or from that of the lpips package."""
    matches = ((_VGG16_KEY.search(key), tensor) for key, tensor in state.items())
    return {f"features.{found[1]}.{found[2]}": tensor for found, tensor in matches if found}


def _i3d_state(state: StateDict) -> StateDict:
    """Take I3D, alone in the file or under `i3d.`, with or without `module.` before it."""
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    inner = {key.removeprefix("i3d."): tensor for key, tensor in bare.items() if key.startswith("i3d.")}
    chosen = inner or bare
    return chosen if "Conv3d_1a_7x7.conv3d.weight" in chosen else {}


def _frozen(network: Network, state: StateDict, name: str) -> Network:
    """Load every tensor, counters of batches aside, which files from before they existed lack."""
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
