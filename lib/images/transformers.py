"""A vision transformer for small images: no BatchNorm, no ReLU, no convolution but that of the patches.

Enters: a patch's side, a width, a depth, a number of heads, numbers of classes and of input channels. Leaves: an
`nn.Module` from images (M, C, H, W), whose sides are multiples of the patch's, to logits (M, num_classes). Blocks:
Dosovitskiy et al. 2021 (arXiv 2010.11929); positions that are not learnt and the mean over tokens in place of one more
token: Beyer et al. 2022 (arXiv 2205.01580).
"""

import torch
from torch import Tensor, nn

LONGEST = 10_000  # of the waves of positions
WIDENING = 4  # within a block


class VisionTransformer(nn.Module):
    """Patches, blocks of attention and of two linear layers, LayerNorm and a linear classifier."""

    def __init__(self, patch: int, width: int, depth: int, heads: int, num_classes: int, in_channels: int = 3):
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images)
        x = x + positions(*x.shape[1:]).to(x)
        x = self.blocks(x.flatten(2).transpose(1, 2))  # (M, tokens, width)
        return self.classifier(self.norm(x).mean(1))


class Block(nn.Module):
    """What tokens take from each other is added to them, then what each makes of itself; both of tokens normalised."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.widen, self.narrow = nn.Linear(width, WIDENING * width), nn.Linear(WIDENING * width, width)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.narrow(self.activation(self.widen(self.norm2(x))))


def positions(width: int, rows: int, columns: int) -> Tensor:
    """A code of each place (width, rows, columns): sines and cosines of the row, then of the column, a quarter of the
    channels each, of ever longer waves."""
    quarter = width // 4
    speeds = LONGEST ** -(torch.arange(quarter) / max(quarter - 1, 1))
    turns = [(torch.arange(count)[:, None] * speeds).T for count in (rows, columns)]  # (quarter, count)
    down, along = turns[0][:, :, None].expand(-1, -1, columns), turns[1][:, None].expand(-1, rows, -1)
    return torch.cat([down.sin(), down.cos(), along.sin(), along.cos()])
