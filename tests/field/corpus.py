"""Objects that people store: of the standard library and of the libraries of the group `field`.

The modules named below build the objects of each library, by name. Building them twice gives equal objects. A
library that ships data sets gives some of them.
"""

from __future__ import annotations

from field import arrays, everyday, science
from field.registry import LIBRARIES

__all__ = ["LIBRARIES", "arrays", "everyday", "science"]
