import subprocess
import sys
from typing import Any

import pytest

from calibration.options import Options
from runtime.errors import UsageError


@pytest.mark.parametrize("wrong", [{"method": "best"}, {"target": "phone"}, {"size": 0}])
def test_wrong_options(wrong: dict[str, Any]) -> None:
    (value,) = wrong.values()
    with pytest.raises(UsageError, match=str(value)):
        Options(**wrong)


def test_options_are_light() -> None:
    heavy = "{'torch', 'numpy', 'cv2', 'onnx', 'onnxruntime'}"
    code = f"import sys, export.cli.export; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
