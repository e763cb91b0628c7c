"""What one forward pass is given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lastkd.data.views import Streams, Views
from lastkd.training.device import to_device


class Batch(NamedTuple):
    """Clips with their views, numbers of bodies `(B,)` and labels `(B,)` on the training device."""

    clips: NDArray[np.int64]
    streams: Streams
    bodies: Tensor
    labels: Tensor

    @classmethod
    def of(
        cls, clips: NDArray[np.int64], views: Views, draws: Tensor, device: torch.device
    ) -> Batch:
        """The training views of some clips, made where the store is and brought to `device`.

        Args:
            draws: the epoch's, as `Views.draw` gives them.
        """
        streams = {name: to_device(x, device) for name, x in views.training(clips, draws).items()}
        labels = views.labels[torch.from_numpy(clips).to(views.device)]
        bodies = to_device(views.bodies(clips), device)
        return cls(clips, streams, bodies, to_device(labels, device))

    def used_on(self, stream: torch.cuda.Stream) -> None:
        """Says that `stream` reads the tensors, so that their memory isn't reused before."""
        for tensor in (*self.streams.values(), self.bodies, self.labels):
            tensor.record_stream(stream)
