"""The read from the specific dictionary, in which each face of a call uses its own rows alone.

People who do not trust each other may share a call: whatever numbers one of them sends, huge,
infinite or NaN, the faces of the others are restored as if they were not there.
"""

import torch
from torch import Tensor

_LOWEST = torch.finfo(torch.float32).min  # in place of the logit of a row of somebody else's
_LEAST_LOGIT = _LOWEST / 4  # of a face's own rows: beside it, the exponential of the lowest is 0
_MOST = 3e38  # magnitude of a row's sum: it is not below this where a number is not finite


def read_specific(
    query: Tensor, key: Tensor, value: Tensor, belongs: Tensor, parts: int
) -> tuple[Tensor, Tensor]:
    """The attention of one component at one scale over the rows that belong to each face.

    `query` (B, N), `key` (K, N), `value` (K, M), `belongs` bool (B, K) -> what is read (B, M), and
    bool (B, 1): whether the face has a row at all, without which its (B, M) means nothing. A row
    whose `value` is not finite belongs to nobody. Logits and softmax are float32. `parts` as in
    `likeness`.
    """
    sound = value.sum(dim=1, dtype=torch.float32).abs() < _MOST
    # a weight of 0 does not keep NaN and infinity out of a product: a sound row takes their place
    rows = torch.arange(value.shape[0], device=value.device)
    a_sound_one = sound[None].float().argmax(dim=1)  # TensorRT looks along the second of 2 axes
    value = value.index_select(0, torch.where(sound, rows, a_sound_one))
    belongs = belongs & sound
    count = belongs.float().sum(dim=1, keepdim=True)
    logits = likeness(query, key, parts) / count.clamp(min=1).sqrt()
    logits = torch.where(belongs, logits.clamp(_LEAST_LOGIT, -_LEAST_LOGIT), _LOWEST)
    # once more: without a row of its own, or with a logit of NaN, a face's softmax is 0 nowhere
    weights = torch.where(belongs, logits.softmax(dim=1), 0.0)
    return weights.to(value.dtype) @ value, count > 0


def likeness(query: Tensor, key: Tensor, parts: int) -> Tensor:
    """How well each key answers each query: (B, N), (K, N) -> their products (B, K) in float32.

    As a sum of `parts` products over N / parts numbers each: one over all of them has a single row
    for a single face, and a GPU would compute it with a few of its cores. Each face has products of
    its own, so that no number of it depends on how many faces there are.
    """
    queries = torch.unflatten(query.float(), 1, (parts, 1, -1))  # (B, parts, 1, N / parts)
    keys = torch.unflatten(key.float().T, 0, (parts, -1))  # (parts, N / parts, K)
    products: Tensor = (queries @ keys).sum(dim=(1, 2))
    return products
