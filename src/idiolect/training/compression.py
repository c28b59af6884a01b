"""A person as the mean over their documents, kept as a sum: adding and removing one costs the same for any history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Compressed:
    """So many documents, each compressed by itself, and their ``total`` ``[values]`` (arXiv:2501.03276, section 3).

    The total is in double precision, so that adding and removing do not wear it out.
    """

    count: int
    total: Doubles

    def add(self, document: Doubles) -> Compressed:
        """Return it with one more document ``[values]``."""
        return Compressed(self.count + 1, self.total + document)

    def remove(self, document: Doubles) -> Compressed:
        """Return it without one of its documents; ``ValueError`` where there is none."""
        if self.count == 0:
            raise ValueError("there is no document to remove")
        return Compressed(self.count - 1, self.total - document if self.count > 1 else np.zeros_like(self.total))

    @property
    def mean(self) -> Doubles:
        """The mean over the documents ``[values]``, zeros without any."""
        return self.total / max(1, self.count)
