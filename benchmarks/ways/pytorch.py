"""PyTorch with its fused Adam, eager or compiled, on one thread or on all cores."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from benchmarks.work import EPSILON, LEARNING_RATE, Work


def prepare(
    work: Work, rows: np.ndarray, *, threads: int, compiled: bool
) -> Callable[[], np.ndarray]:
    """Build the network; ``compiled`` sends loss and gradient through ``torch.compile``."""
    torch.set_num_threads(threads)
    data = [torch.from_numpy(array) for array in work.data()]
    if work.labelled:
        data[1] = data[1].long()
    layers, weights = [], work.weights()
    for layer in range(len(weights) // 2):
        kernel, bias = (torch.from_numpy(array) for array in weights[2 * layer : 2 * layer + 2])
        linear = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            linear.weight.copy_(kernel.T)
            linear.bias.copy_(bias)
        layers += [linear] if layer in work.linear else [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers)
    adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=EPSILON, fused=True)

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if work.labelled:
            return functional.cross_entropy(model(images), labels, reduction="sum")
        return functional.binary_cross_entropy_with_logits(model(images), images)

    value = torch.compile(loss) if compiled else loss
    indices = torch.from_numpy(rows.astype(np.int64))

    def run() -> np.ndarray:
        losses = []
        for r in indices:
            batch = [array[r] for array in data]
            adam.zero_grad(set_to_none=True)
            total = value(batch[0], batch[-1])
            total.backward()
            adam.step()
            losses.append(total.detach())
        return torch.stack(losses).numpy()

    return run
