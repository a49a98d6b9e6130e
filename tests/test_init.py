"""The names that the package offers at its top."""

import subprocess
import sys

import pytest

import erragree_utils


@pytest.mark.parametrize("name", erragree_utils.__all__)
def test_every_offered_name_is_there(name):
    assert callable(getattr(erragree_utils, name))
    assert name in dir(erragree_utils)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="load_nothing"):
        erragree_utils.load_nothing  # noqa: B018


def test_importing_the_package_imports_no_heavy_library():
    code = "import sys, erragree_utils; print({'torch', 'numba', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
