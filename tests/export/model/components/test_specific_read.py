import math

import onnx
import pytest
import torch
from torch import Tensor

from export.model.components.specific_read import likeness, read_specific
from export.model.onnx_files import TRACED

BELONGS = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
PARTS = 4  # products of which a logit is the sum
HOSTILE = (65504.0, -65504.0, 3e38, -3e38, math.inf, -math.inf, math.nan)


def tensors(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Three faces' queries, and three rows: two of the first face, one of the second."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 8), torch.randn(3, 8), torch.randn(3, 9)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def test_a_likeness_is_the_product_of_two_rows_in_float32() -> None:
    query, key = torch.randn(2, 48_400), torch.randn(5, 48_400)
    for dtype in (torch.float32, torch.float16):
        one, other = query.to(dtype), key.to(dtype)
        found = likeness(one, other, 16)
        assert found.dtype == torch.float32
        expected = (one.double() @ other.double().T).float()
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)


def test_it_is_the_attention_over_ones_own_rows() -> None:
    query, key, value = tensors(torch.float32)
    read, has_rows = read_specific(query, key, value, BELONGS, PARTS)
    weights = (query[0] @ key[:2].T / math.sqrt(2)).softmax(0)
    torch.testing.assert_close(read[0], weights @ value[:2])
    torch.testing.assert_close(read[1], value[2])
    assert has_rows.tolist() == [[True], [True], [False]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("number", HOSTILE)
def test_no_number_of_somebody_elses_reaches_a_face(dtype: torch.dtype, number: float) -> None:
    """The third row is hostile, in its key, its value, both, or one number: the bits are equal."""
    query, key, value = tensors(dtype)
    honest, _ = read_specific(query, key, value, BELONGS, PARTS)
    for keys, values in ((slice(None), slice(0)), (slice(0), slice(None)), (slice(1), slice(1))):
        bad_key, bad_value = key.clone(), value.clone()
        bad_key[2, keys], bad_value[2, values] = number, number
        read, has_rows = read_specific(query, bad_key, bad_value, BELONGS, PARTS)
        assert torch.equal(read[0], honest[0])
        assert has_rows[[0, 2]].tolist() == [[True], [False]]


@pytest.mark.parametrize("largest", [65504.0, 1e30, 3.4e38, math.inf])
def test_whoever_makes_ones_own_logits_small_reads_nobody_elses_rows(largest: float) -> None:
    """Neither what the others hold nor how many they are."""
    query, key, value = tensors(torch.float32)
    key[2] = -query[1].sign() * largest
    alone, _ = read_specific(query[1:2], key[2:], value[2:], BELONGS[1:2, 2:], PARTS)
    beside, _ = read_specific(query, key, value, BELONGS, PARTS)
    assert torch.equal(beside[1], alone[0])
    torch.testing.assert_close(alone[0], value[2])


def test_a_row_that_is_not_finite_belongs_to_nobody() -> None:
    query, key, value = tensors(torch.float32)
    value[0, 3] = math.nan
    read, has_rows = read_specific(query, key, value, BELONGS, PARTS)
    torch.testing.assert_close(read[0], value[1])
    value[1:, 3] = math.inf
    read, has_rows = read_specific(query, key, value, BELONGS, PARTS)
    assert not has_rows.any()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_no_product_of_the_graph_sums_over_more_than_a_channel(precision: str) -> None:
    """A mouth at the largest scale; all its channels together have four times as many numbers."""
    graph = onnx.load(TRACED / f"restorer-{precision}.onnx", load_external_data=False).graph
    columns = {
        value.name: value.type.tensor_type.shape.dim[-1].dim_value
        for value in graph.value_info
        if value.type.tensor_type.shape.dim
    }
    summed = [columns[node.input[0]] for node in graph.node if node.op_type == "MatMul"]
    assert max(summed) == 55 * 55
