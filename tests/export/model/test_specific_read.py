import math

import pytest
import torch
from torch import Tensor

from export.model.specific_read import read_specific

BELONGS = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
HOSTILE = (65504.0, -65504.0, 3e38, -3e38, math.inf, -math.inf, math.nan)


def tensors(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Three faces' queries, and three rows: two of the first face, one of the second."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 7), torch.randn(3, 7), torch.randn(3, 9)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def test_it_is_the_attention_over_ones_own_rows() -> None:
    query, key, value = tensors(torch.float32)
    read, has_rows = read_specific(query, key, value, BELONGS)
    weights = (query[0] @ key[:2].T / math.sqrt(2)).softmax(0)
    torch.testing.assert_close(read[0], weights @ value[:2])
    torch.testing.assert_close(read[1], value[2])
    assert has_rows.tolist() == [[True], [True], [False]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("number", HOSTILE)
def test_no_number_of_somebody_elses_reaches_a_face(dtype: torch.dtype, number: float) -> None:
    """The third row is hostile, in its key, its value, both, or one number: the bits are equal."""
    query, key, value = tensors(dtype)
    honest, _ = read_specific(query, key, value, BELONGS)
    for keys, values in ((slice(None), slice(0)), (slice(0), slice(None)), (slice(1), slice(1))):
        bad_key, bad_value = key.clone(), value.clone()
        bad_key[2, keys], bad_value[2, values] = number, number
        read, has_rows = read_specific(query, bad_key, bad_value, BELONGS)
        assert torch.equal(read[0], honest[0])
        assert has_rows[[0, 2]].tolist() == [[True], [False]]


@pytest.mark.parametrize("largest", [65504.0, 1e30, 3.4e38, math.inf])
def test_whoever_makes_ones_own_logits_small_reads_nobody_elses_rows(largest: float) -> None:
    """Neither what the others hold nor how many they are."""
    query, key, value = tensors(torch.float32)
    key[2] = -query[1].sign() * largest
    alone, _ = read_specific(query[1:2], key[2:], value[2:], BELONGS[1:2, 2:])
    beside, _ = read_specific(query, key, value, BELONGS)
    assert torch.equal(beside[1], alone[0])
    torch.testing.assert_close(alone[0], value[2])


def test_a_row_that_is_not_finite_belongs_to_nobody() -> None:
    query, key, value = tensors(torch.float32)
    value[0, 3] = math.nan
    read, has_rows = read_specific(query, key, value, BELONGS)
    torch.testing.assert_close(read[0], value[1])
    value[1:, 3] = math.inf
    read, has_rows = read_specific(query, key, value, BELONGS)
    assert not has_rows.any()
