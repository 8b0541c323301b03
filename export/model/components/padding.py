"""Mask's inner channels, padded with zeros at export to a number that GPUs are made for.

Mask works with a third of the channels: 21, 42 and 85 at full size. Kernels for tensor cores take
channels by eights, and an engine reformats what comes in other numbers, back and forth.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.model.network import DMDNet, Mask

_STEP = 8


def pad_masks(network: DMDNet) -> DMDNet:
    """`network` with zeros after Mask's inner channels, up to a multiple of 8.

    It computes the same: a channel of zeros adds nothing where it is read. All other tensors are
    shared with `network`, which stays as it is.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    padded = copy.deepcopy(network, shared)
    for module in padded.modules():
        if isinstance(module, Mask):
            _pad(module)
    return padded


def _pad(mask: Mask) -> None:
    for view in (mask.conv1, mask.conv2, mask.conv3):
        first, second = cast(nn.Conv2d, view[0]), cast(nn.Conv2d, view[2])
        more = -first.out_channels % _STEP
        _set(first, _wider(first.weight, 0, more), _wider(first.bias, 0, more))
        square = _wider(_wider(second.weight, 0, more), 1, more)
        _set(second, square, _wider(second.bias, 0, more))
    last = cast(nn.Conv2d, mask.convCat[0])
    views = torch.unflatten(last.weight, 1, (3, -1))
    _set(last, _wider(views, 2, more).flatten(1, 2), last.bias)


def _set(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
    assert bias is not None
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
    conv.out_channels, conv.in_channels = weight.shape[:2]


def _wider(tensor: Tensor | None, axis: int, more: int) -> Tensor:
    """`tensor` with `more` zeros at the end of `axis`."""
    assert tensor is not None
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1 - axis) + [0, more])
