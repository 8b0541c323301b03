from typing import Any

import pytest

from calibration.options import Options
from runtime.errors import UsageError


@pytest.mark.parametrize("wrong", [{"method": "best"}, {"target": "phone"}, {"size": 0}])
def test_wrong_options(wrong: dict[str, Any]) -> None:
    (value,) = wrong.values()
    with pytest.raises(UsageError, match=str(value)):
        Options(**wrong)
