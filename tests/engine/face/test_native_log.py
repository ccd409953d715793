import os
import sys

import pytest

from engine.face.native_log import quiet_native_log


def test_what_native_code_writes_is_dropped_and_only_inside(capfd):
    os.write(2, b"before\n")
    with quiet_native_log():
        os.write(2, b"inside\n")
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "before\nafter\n"


def test_exception_passes_and_the_terminal_is_back(capfd):
    with pytest.raises(KeyError), quiet_native_log(), quiet_native_log():
        raise KeyError
    os.write(2, b"back\n")
    assert capfd.readouterr().err == "back\n"
