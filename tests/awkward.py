"""Networks in which much may go wrong, small ones of torchvision's, and images for them."""

import torch
from torch import nn
from torch.nn import functional


class Awkward(nn.Module):
    """What replaying may stumble over: sizes taken early, shared layers, values overwritten, unused branches."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")
        self.grouped, self.full = nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular")
        self.depthwise, self.shared = nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.Conv2d(3, 5, 2)
        self.unused, self.late = nn.Conv2d(5, 3, 1), nn.Conv2d(2, 5, 3)
        self.activation, self.norm = nn.ReLU(inplace=True), nn.BatchNorm2d(5)
        self.gate, self.attention, self.classifier = nn.Conv2d(5, 1, 1), nn.Linear(5, 5), nn.Linear(5, 3)
        self.register_buffer("scale", torch.rand(5, 1, 1) + 0.5)

    def forward(self, images):
        count = images.size(0)
        x = self.stem(images)
        self.activation(x)
        left, right = functional.relu6(self.depthwise(self.grouped(x)) + self.full(x)[..., :4, :4]).chunk(2, 1)
        left, right = self.shared(left), self.shared(right).view(count, -1).view(count, 5, 3, 3)
        x = self.norm(left) + left / 4 + right.flip(3) * self.scale
        self.unused(x)
        x = x.add_(self.late(images)[..., :3, :3])
        x = x + self.gate(x)
        x = x * self.attention(x.mean((2, 3))).sigmoid().view(count, 5, 1, 1)
        return self.classifier(x.permute(0, 2, 3, 1).reshape(count, -1, 5).tanh()).amax(1)


class Columns(nn.Module):
    """Units along the columns of a picture, not its channels; pooling and convolution then mix them."""

    def __init__(self):
        super().__init__()
        self.columns, self.pool = nn.Linear(5, 5), nn.AvgPool2d(3, 1, 1)
        self.mix, self.classifier = nn.Conv2d(5, 2, 2), nn.Linear(2, 2)

    def forward(self, x):
        x = self.columns(x)
        x = self.mix(x) + self.mix(self.pool(functional.relu(x)))
        return self.classifier(x.mean((2, 3)))


class DependsOnData(nn.Module):
    """Of which torch.fx cannot know the way: it depends on the whole batch."""

    def __init__(self):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.hidden(x)
        return self.classifier(x.relu() if x.mean() > 0 else x.sigmoid())


class DependsOnTracing(DependsOnData):
    """Which torch.fx traces without complaint, and wrongly."""

    def forward(self, x):
        x = self.hidden(x)
        return self.classifier(x.relu() if isinstance(x, torch.Tensor) else x.sigmoid())


def small(name):
    from torchvision import models

    return {
        "resnet18": lambda: models.resnet18(num_classes=5),
        "mobilenet_v2": lambda: models.mobilenet_v2(num_classes=5, width_mult=0.25),
        "shufflenet_v2": lambda: models.ShuffleNetV2([1, 1, 1], [8, 16, 32, 64, 128], 5),
        "densenet": lambda: models.DenseNet(4, (2, 2), 6, bn_size=2, num_classes=5),
    }[name]()


def randomised(model, seed=0):
    """The same model, with weights and buffers that make every unit's effect visible; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for scale in (module.weight, module.running_var):
                scale.data.uniform_(0.5, 1.5, generator=generator)
            for shift in (module.bias, module.running_mean):
                shift.data.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def pictures(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
