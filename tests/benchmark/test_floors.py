"""benchmark.floors: the products of a scoring pass, each once forward and once back, and nothing else."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lib.benchmark import floors
from lib.images import networks


class Counting(TorchDispatchMode):
    def __init__(self):
        self.seen = Counter()
        super().__init__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "convolutions", "others"), [("resnet8", 9, 1), ("vit-small-images", 1, 6 * 5 + 1)])
def test_every_product_is_done_forward_and_all_but_the_first_back(name, convolutions, others):
    model, images = networks.build(name, 10).eval(), torch.randn(2, 3, 32, 32)
    call = floors.products(model, images, "sq:rand:norm")
    with Counting() as counting:
        assert call() is None
    made = counting.seen
    assert made.pop("convolution") == convolutions and made.pop("convolution_backward", 0) == convolutions - 1
    made.pop("detach", None)
    assert sum(made.values()) == 2 * others and not {"relu", "mul", "add", "sum", "native_layer_norm"} & set(made)
    assert not any(module._forward_hooks for module in model.modules())
