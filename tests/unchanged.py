"""Whether a call leaves everything as it was, with criteria of every kind to call it for."""

import random

import numpy
import torch

EVERYTHING = ["taylorfo", "sq:rand:norm", "abs:rand@2:score", "molchanov-bn:norm", "molchanov-group:rand"]
EVERYTHING += ["sq:sampled:batch", "abs-pixel:sign", "sq-pixel:ggn:layer", "abs:exact", "sq:orth@2", "molchanov2017"]
EVERYTHING += ["l2", "random:layer"]


def state_of(model):
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return (
        {name: (value.clone(), value.data_ptr(), value.requires_grad, None if value.grad is None else
        value.grad.clone())
         for name, value in tensors.items()},
        [(m.training, dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(m._backward_hooks)) for m in
        model.modules()], torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate(),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
    )  # fmt: skip


def same(a, b):
    if torch.is_tensor(a):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return numpy.array_equal(a, b) if isinstance(a, numpy.ndarray) else a == b
