"""Tokenize on Ray: what `tokenize` does, with the tokens made by a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvivit.folders import lock_folder, typed_write_errors
from cvivit.tokenizing.ceiling import DEFAULT_MAX_FAILED
from cvivit.tokenizing.listing import Listing
from cvivit.tokenizing.making import MakeInOrder, ShowProgress
from cvivit.tokenizing.ray.cluster import check_device, connected, plan_actors, precision_there
from cvivit.tokenizing.ray.encoding import EncodeOnRay
from cvivit.tokenizing.run import check_and_list, compare, identity_of, is_complete, make_dataset
from cvivit.tokenizing.settings import ModelFacts, TokenizeSettings
from cvivit.tokens.datasets.manifest import Manifest

if TYPE_CHECKING:
    from cvivit.runtime.precision import PrecisionChoice
    from cvivit.weights import LoadedWeights


def tokenize_on_ray(
    inputs: Sequence[str] | Listing,
    output: Path,
    weights: LoadedWeights,
    settings: TokenizeSettings | None = None,
    *,
    address: str = "local",
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    readers: int | None = None,
    max_failed: str = DEFAULT_MAX_FAILED,
    retry_failed: bool = False,
    progress: ShowProgress | None = None,
    say: Callable[[str], None] = print,
) -> Manifest:
    """Make a token dataset as `cvivit.tokenizing.run.tokenize` does, on the machines of a Ray cluster.

    The cluster reads the sources and computes their tokens. This program lists the sources and writes the
    dataset, so only the sources must be reachable from every machine, under the same names. This package must
    be installed on every machine.

    Ray takes seconds to start, so wrong inputs, a finished dataset, and one that is another are found before
    that. A finished dataset is kept in whichever precision it is, if `precision` is "auto".

    Args:
        inputs: as for `tokenize`, and so are the others that are not named here.
        output: the folder of the dataset.
        weights: those of the model. They are sent to the machines.
        settings: how sources are read and cut.
        address: "local" to start a Ray on this machine, "auto" for the one that runs here, or HOST:PORT.
        device: "auto" for GPUs where the cluster has any, "cpu" or "cuda".
        precision: "auto" is decided by a device of the cluster.
        readers: reading actors at most.
        max_failed: how many inputs may be unusable.
        retry_failed: whether inputs that could not be used before are tried again.
        progress: called now and then.
        say: takes the sentence on how many reading actors keep a device busy.

    Raises:
        ClusterError: the cluster cannot be reached, lacks what is needed, or failed. What was written stays,
            and the run may be started again.
    """
    settings = settings or TokenizeSettings()
    check_device(device)
    listing = check_and_list(inputs, output, weights.config, settings, max_failed)
    known = None if precision == "auto" else precision
    if finished := _look_before(
        output, listing, identity_of(listing, settings, weights.fingerprint, known), retry_failed
    ):
        return finished
    with connected(address):
        actors = plan_actors(device, readers)
        chosen = precision_there(precision, actors) if precision == "auto" else precision
        model = ModelFacts(fingerprint=weights.fingerprint, config=weights.config, precision=chosen)
        make = MakeInOrder(EncodeOnRay(weights, chosen, actors, say))
        return make_dataset(
            listing,
            output,
            model,
            make,
            settings,
            max_failed=max_failed,
            retry_failed=retry_failed,
            progress=progress,
        )


def _look_before(
    output: Path, listing: Listing, identity: dict[str, Any], retry_failed: bool
) -> Manifest | None:
    """Return the manifest of a dataset for which nothing is to be done, and find out what cannot be done."""
    if not output.exists():
        return None
    with typed_write_errors(output), lock_folder(output):
        manifest = compare(output, identity, listing)
        if manifest is not None and is_complete(output, manifest, retry_failed=retry_failed):
            return manifest
    return None
