"""Keeps pandas out of the launcher's process.

Great Expectations brings pandas into the environment, and Beam and pyarrow import it wherever they find it: half a second
to three at each start, for something that nothing here uses. Only the audit's own process needs it.
"""

import importlib.abc
import sys
from collections.abc import Sequence
from types import ModuleType


class _NoPandas(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of this process: see pipelines/without_pandas.py", name=name)


def hide_pandas() -> None:
    """From now on pandas is, for this process, not installed. Nothing happens where it was imported before."""
    if "pandas" not in sys.modules and not any(isinstance(finder, _NoPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoPandas())
