"""The autoencoder's losses by name, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from training.config.schema import LossesConfig
from training.losses.frozen import load_i3d, load_lpips
from training.losses.i3d import I3D, resize_frames
from training.losses.lpips import LPIPS
from training.losses.reconstruction import reconstruction_loss


class GeneratorLosses(nn.Module):
    """Losses of a reconstruction against its video. Losses of weight 0 are neither computed nor loaded.

    Args:
        config: weights of the losses and how they are computed.
        lpips: the frozen network, where `config.lpips` is not 0.
        i3d: the frozen network, where `config.i3d` is not 0.
    """

    def __init__(self, config: LossesConfig, *, lpips: LPIPS | None = None, i3d: I3D | None = None) -> None:
        super().__init__()
        if (config.lpips > 0 and lpips is None) or (config.i3d > 0 and i3d is None):
            raise ValueError("a loss with a weight needs its network")
        self.config = config
        self.lpips = lpips.train(config.lpips_mode == "train") if lpips and config.lpips else None
        self.i3d = i3d.train(config.i3d_mode == "train") if i3d and config.i3d else None

    @classmethod
    def load(cls, config: LossesConfig) -> GeneratorLosses:
        """Return the losses with their frozen networks, found as `training.losses.frozen` says.

        Raises:
            WeightsError: weights of a frozen network are missing or damaged, or do not fit.
        """
        return cls(
            config,
            lpips=load_lpips(config.vgg16_weights) if config.lpips else None,
            i3d=load_i3d(config.i3d_weights) if config.i3d else None,
        )

    def forward(self, reconstruction: Tensor, video: Tensor, *, with_i3d: bool = True) -> dict[str, Tensor]:
        """Return each loss, unweighted, of `b c t h w` in [0, 1]. Stills have no loss of I3D."""
        losses = {}
        if self.config.reconstruction:
            losses["reconstruction"] = reconstruction_loss(reconstruction, video)
        if self.lpips is not None:
            places = drawn_frames(video, self.config.lpips_frames)
            seen, wanted = (frames_of(clips)[places] for clips in (reconstruction, video))
            losses["lpips"] = self.lpips(seen, wanted).mean()
        if self.i3d is not None and video.shape[2] > 1 and with_i3d:
            clips = slice(self.config.i3d_clips)
            with torch.no_grad():
                wanted = self._video_features(video[clips])
            losses["i3d"] = F.mse_loss(self._video_features(reconstruction[clips]), wanted)
        return losses

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the losses, each multiplied by the weight of its name."""
        return torch.stack([getattr(self.config, name) * loss for name, loss in losses.items()]).sum()

    def _video_features(self, video: Tensor) -> Tensor:
        assert self.i3d is not None
        features: Tensor = self.i3d(
            resize_frames(video * 2 - 1 if self.config.i3d_range == "signed" else video)
        )
        return features.float()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def drawn_frames(video: Tensor, number: int | None) -> Tensor | slice:
    """Return the indices of `number` random frames of each clip, among the frames of `b c t h w` in a row.

    They are drawn on the CPU from torch's own random state, which a checkpoint holds.
    """
    clips, frames = video.shape[0], video.shape[2]
    if number is None or number >= frames:
        return slice(None)
    chosen = torch.rand(clips, frames).topk(number, dim=1).indices
    return (chosen + torch.arange(clips).unsqueeze(1) * frames).flatten().to(video.device)


def frames_of(video: Tensor) -> Tensor:
    """Return the frames `b c h w` of `b c t h w`, one clip after the other."""
    return rearrange(video, "b c t h w -> (b t) c h w")
