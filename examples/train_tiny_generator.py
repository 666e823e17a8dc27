"""Train a tiny transformer on the tokens of windows: `python examples/train_tiny_generator.py tokens`.

`tokens` is a folder that `cvivit tokenize` wrote, in any of its forms. This shows how the parts fit together,
and is no generator to use: it predicts each token of a window from those before it, flattened with W fastest,
then H, then T.
"""

from __future__ import annotations

import argparse
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvivit.tokens import ShuffledTokens, TokenDataset

WIDTH, HEADS, LAYERS, BATCH = 64, 4, 2, 4


class TinyGenerator(nn.Module):
    """A decoder-only transformer over `codes` tokens and one more, which begins every sequence."""

    def __init__(self, codes: int, length: int) -> None:
        super().__init__()
        self.begin = codes
        self.embed = nn.Embedding(codes + 1, WIDTH)
        self.place = nn.Parameter(torch.zeros(length, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, codes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits `b n codes` for each of the tokens `b n`, from those before it."""
        before = F.pad(tokens[:, :-1], (1, 0), value=self.begin)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.head(self.layers(self.embed(before) + self.place, mask=mask, is_causal=True))


def train(folder: str, steps: int = 100) -> list[float]:
    """Train on windows in a shuffled order, and return the loss of each step in nats per token."""
    torch.manual_seed(0)
    dataset = TokenDataset(folder)
    latent_frames, height, width = dataset.grid
    model = TinyGenerator(dataset.codebook_size, latent_frames * height * width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    samples = ShuffledTokens(dataset, shuffle=100, endless=True)
    windows = (window.flatten() for sample in samples for window in sample["tokens"])
    losses = []
    for step in range(steps):
        batch = torch.stack(list(islice(windows, BATCH)))
        loss = F.cross_entropy(model(batch).flatten(0, 1), batch.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 10 == 0:
            print(f"step {step}: {losses[-1]:.3f} nats per token")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokens", help="a folder that `cvivit tokenize` wrote")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    train(options.tokens, options.steps)
