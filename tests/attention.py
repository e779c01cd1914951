"""Transformers as people write them, whose attention can be without some heads or cannot."""

import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, EACH = 8, 4, 3


class Attention(nn.Module):
    """With one linear layer for queries, keys and values, and numbers of heads and of channels among its attributes."""

    def __init__(self, fused=True, function=True):
        super().__init__()
        self.heads, self.of_each, self.inner, self.fused, self.function = HEADS, EACH, HEADS * EACH, fused, function
        if fused:
            self.qkv = nn.Linear(WIDTH, 3 * self.inner)
        else:
            self.q, self.k, self.v = (nn.Linear(WIDTH, self.inner) for _ in range(3))
        self.project = nn.Linear(self.inner, WIDTH)

    def forward(self, x):
        q, k, v = self.split(x)
        return self.project(self.attend(q, k, v).transpose(1, 2).reshape(*x.shape[:2], self.inner))

    def split(self, x):
        """Three of (batch, heads, tokens, channels of a head)."""
        if self.fused:
            return self.qkv(x).reshape(*x.shape[:2], 3, self.heads, self.of_each).permute(2, 0, 3, 1, 4).unbind(0)
        return (layer(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))

    def attend(self, q, k, v):
        if self.function:
            return functional.scaled_dot_product_attention(q, k, v)
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v


class Separate(Attention):
    def __init__(self, function=True):
        super().__init__(fused=False, function=function)


class Chunked(Attention):
    """Parts of one layer, by einsum; no attribute but the number of channels of a head is needed."""

    def split(self, x):
        return (part.unflatten(2, (-1, self.of_each)) for part in self.qkv(x).chunk(3, 2))

    def attend(self, q, k, v):
        weights = torch.einsum("bihc,bjhc->bhij", q, k).softmax(-1)
        return torch.einsum("bhij,bjhc->bhic", weights, v)

    def forward(self, x):
        return self.project(self.attend(*self.split(x)).transpose(1, 2).flatten(2))


class Normed(Separate):
    """Queries and keys are normalised within each head, turned by their position, and masked."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(EACH)
        self.register_buffer("angles", torch.linspace(0, 1, 4 * EACH).view(4, EACH))
        self.register_buffer("mask", torch.ones(4, 4).tril().log())

    def attend(self, q, k, v):
        q, k = (self.norm(x) * self.angles.cos() + x.roll(1, -1) * self.angles.sin() for x in (q, k))
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)


class Grouped(Attention):
    """Two heads of queries for each of keys and values."""

    def __init__(self):
        super().__init__(fused=False)
        self.of_keys, self.inner_of_keys = HEADS // 2, HEADS // 2 * EACH
        self.k, self.v = nn.Linear(WIDTH, self.inner_of_keys), nn.Linear(WIDTH, self.inner_of_keys)

    def split(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        q = q.view(*x.shape[:2], self.heads, self.of_each).transpose(1, 2)
        k, v = (y.view(*x.shape[:2], self.of_keys, self.of_each).transpose(1, 2) for y in (k, v))
        return q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)


class Biased(Attention):
    """Each head has biases of its own for pairs of positions, as in Swin, and a temperature; there are as many windows
    as rows of the image, and each is by itself."""

    def __init__(self):
        super().__init__()
        self.biases, self.temperatures = nn.Parameter(torch.randn(3, HEADS)), nn.Parameter(torch.ones(HEADS, 1, 1))
        self.register_buffer("offsets", torch.arange(2)[:, None] - torch.arange(2) + 1)
        self.register_buffer("slopes", torch.rand(1, HEADS, 1, 1))

    def attend(self, q, k, v):
        biases = self.biases[self.offsets.flatten()].view(2, 2, -1).permute(2, 0, 1) * self.slopes
        return ((q @ k.mT) * self.temperatures + biases).softmax(-1) @ v

    def forward(self, x):
        return super().forward(x.unflatten(1, (2, 2)).flatten(0, 1)).unflatten(0, (-1, 2)).flatten(1, 2)


class OverChannels(Attention):
    """Channels of a head attend to each other, as in XCiT, by a temperature for each head."""

    def __init__(self):
        super().__init__()
        self.temperatures = nn.Parameter(torch.ones(HEADS, 1, 1))

    def attend(self, q, k, v):
        q, k, v = (x.mT for x in (q, k, v))
        weights = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).mT * self.temperatures
        return (weights.softmax(-1) @ v).mT


class GroupedByFunction(Grouped):
    """The function itself gives each head of keys two of queries."""

    def __init__(self):
        super().__init__()
        self.k, self.v = nn.Linear(WIDTH, self.inner_of_keys), nn.Linear(WIDTH, self.inner_of_keys)

    def split(self, x):
        heads = ((self.q, self.heads), (self.k, self.of_keys), (self.v, self.of_keys))
        return (layer(x).view(*x.shape[:2], count, self.of_each).transpose(1, 2) for layer, count in heads)

    def attend(self, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)


class GroupedByAxis(Grouped):
    """An axis of keys and one of the queries for each."""

    def forward(self, x):
        q = self.q(x).view(*x.shape[:2], self.of_keys, -1, self.of_each)
        k, v = (layer(x).view(*x.shape[:2], self.of_keys, self.of_each) for layer in (self.k, self.v))
        weights = torch.einsum("bigrc,bjgc->bgrij", q, k).softmax(-1)
        return self.project(torch.einsum("bgrij,bjgc->bigrc", weights, v).flatten(2))


class Asking(Attention):
    """One query of its own, for each head by itself, or of all heads in one row."""

    def __init__(self, by_head=True):
        super().__init__()
        self.kv = nn.Linear(WIDTH, 2 * self.inner)
        self.query = nn.Parameter(torch.randn((1, HEADS, 1, EACH) if by_head else (1, 1, self.inner)))
        del self.qkv

    def split(self, x):
        k, v = self.kv(x).reshape(*x.shape[:2], 2, self.heads, self.of_each).permute(2, 0, 3, 1, 4)
        own = self.query if self.query.ndim > 3 else self.query.view(1, 1, self.heads, self.of_each).transpose(1, 2)
        return own.expand(len(x), -1, -1, -1), k, v

    def forward(self, x):
        q, k, v = self.split(x)
        return x + self.project(self.attend(q, k, v).transpose(1, 2).reshape(len(x), 1, self.inner))


class InWindows(Attention):
    """Windows have an axis of their own, behind that of heads, as in Twins and NesT."""

    def attend(self, q, k, v):
        q, k, v = (x.unflatten(2, (2, 2)) for x in (q, k, v))
        return functional.scaled_dot_product_attention(q, k, v).flatten(2, 3)


class Pooled(Separate):
    """A convolution and a linear layer work on what each head has, and keys and values are of pairs of tokens."""

    def __init__(self):
        super().__init__()
        self.pool, self.turn = nn.Conv1d(EACH, EACH, 2, stride=2, groups=EACH), nn.Linear(EACH, EACH)
        self.norm = nn.BatchNorm1d(EACH)

    def attend(self, q, k, v):
        k, v = (self.norm(self.pool(x.flatten(0, 1).mT)).mT.unflatten(0, (len(x), -1)) for x in (k, v))
        return super().attend(self.turn(q), k, v)


class Square(Attention):
    """As many heads as channels in each, so that numbers do not tell which is which."""

    def __init__(self):
        super().__init__()
        self.of_each = self.heads = 4
        self.inner = 16
        self.qkv, self.project = nn.Linear(WIDTH, 48), nn.Linear(16, WIDTH)


class Unsized(Square):
    """Whatever number of heads its code has, there are as many channels for each as that leaves."""

    def split(self, x):
        return self.qkv(x).reshape(*x.shape[:2], 3, self.count(), -1).permute(2, 0, 3, 1, 4).unbind(0)

    def count(self):
        return self.heads

    def forward(self, x):
        return self.project(self.attend(*self.split(x)).transpose(1, 2).flatten(2))


class Literal(Unsized):
    def count(self):
        return 4


class ByInput(Attention):
    """Takes what it takes in to be as wide as all heads are, as many do: without some it cannot be."""

    def __init__(self):
        super().__init__()
        self.of_each = WIDTH // HEADS
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.split(x)
        return self.project(self.attend(q, k, v).transpose(1, 2).reshape(x.shape))


class OneHead(Attention):
    """Without an axis of heads."""

    def split(self, x):
        return self.qkv(x).chunk(3, 2)

    def forward(self, x):
        return self.project(self.attend(*self.split(x)))


class Torch(nn.MultiheadAttention):
    """PyTorch's own."""

    def __init__(self):
        super().__init__(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)[0]


class Transformer(nn.Module):
    """Two blocks on four patches."""

    def __init__(self, attention=Attention):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 2, 2)
        self.attentions = nn.ModuleList(attention() for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        self.widen = nn.ModuleList(nn.Linear(WIDTH, 12) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(12, WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        for block, attention in enumerate(self.attentions):
            x = x + attention(self.norms[2 * block](x))
            x = x + self.narrow[block](functional.gelu(self.widen[block](self.norms[2 * block + 1](x))))
        return self.head(x.mean(1))


def transformer(attention=Attention):
    """One in float64 and eval mode, with weights by which every mistake shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Transformer(attention).double().eval()
        for parameter in model.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    return model
