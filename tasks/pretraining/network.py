"""The network in training: its layers' outputs as features, a projector, a teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from synthct.data.errors import UsageError, did_you_mean
from synthct.tasks.models.contracts import Network
from synthct.tasks.pretraining.base import Views

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


class Trunk(nn.Module):
    """A network of the registry that returns the outputs of some of its layers.

    Parameters
    ----------
    model
        The network, for inputs (B, slices, Y, X) or (B, 1, Z, Y, X).
    layers
        Names of the layers; empty: the input of the last convolution that it computes.
    probe
        An input of the right shape, to find that convolution and the numbers of channels.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], probe: Tensor) -> None:
        super().__init__()
        self.model = model
        self._seen: dict[int, Tensor] = {}
        parts = dict(model.named_modules())
        if layers:
            for number, name in enumerate(layers):
                _part(parts, name).register_forward_hook(
                    lambda module, given, out, number=number: self._seen.__setitem__(number, out)
                )
        else:
            _last_convolution(model, probe).register_forward_pre_hook(
                lambda module, given: self._seen.__setitem__(0, given[0])
            )
        self.count = max(1, len(layers))
        mode = model.training
        model.eval()
        with torch.no_grad():
            maps = self(probe)
        model.train(mode)
        self.channels = [each.shape[1] for each in maps]
        if wrong := [n for n, each in zip(layers, maps, strict=False) if each.ndim != probe.ndim]:
            raise UsageError(
                f"the outputs of {', '.join(wrong)} are not feature maps",
                rule="a feature is a map over the voxels of the input",
                where="pretraining.layers",
                remedy="name convolutional layers",
                code="pretraining-layer",
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (B, C, [Z,] Y, X), fine or coarse, in the order of the layers."""
        self._seen.clear()
        self.model(x)
        return [self._seen[number] for number in range(self.count)]


def _part(parts: dict[str, nn.Module], name: str) -> nn.Module:
    if name not in parts or not name:
        raise UsageError(
            f"the network has no layer {name!r}",
            where="pretraining.layers",
            remedy=did_you_mean(name, [known for known in parts if known]),
            code="pretraining-layer",
        )
    return parts[name]


def _last_convolution(model: nn.Module, probe: Tensor) -> nn.Module:
    called: list[nn.Module] = []
    hooks = [
        layer.register_forward_pre_hook(lambda module, given: called.append(module))
        for layer in model.modules()
        if isinstance(layer, CONVOLUTIONS)
    ]
    mode = model.training
    model.eval()
    with torch.no_grad():
        model(probe)
    model.train(mode)
    for hook in hooks:
        hook.remove()
    if not called:
        raise UsageError(
            "the network has no convolution",
            rule="features are the input of the last convolution, or outputs of named layers",
            where="pretraining.layers",
            remedy="name the layers",
            code="pretraining-layer",
        )
    return called[-1]


class Embedder(nn.Module):
    """Trunk and projector: voxels of an image to embeddings."""

    def __init__(self, trunk: Trunk, dimensions: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.projector = _perceptron(sum(trunk.channels), dimensions)

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """(B, C, [Z,] Y, X) and places (B, P, axes) [voxels] to (B P, D)."""
        return self.at(self.trunk(images), images.shape[2:], places)

    def at(self, maps: Sequence[Tensor], size: Sequence[int], places: Tensor) -> Tensor:
        """Embeddings (B P, D) from the maps of images of that size."""
        parts = [gathered(each, size, places) for each in maps]
        out: Tensor = self.projector(torch.cat(parts, dim=1))
        return out


def gathered(maps: Tensor, size: Sequence[int], places: Tensor) -> Tensor:
    """Values (B P, C) of maps (B, C, ...) at voxels (B, P, axes) of images of that size."""
    index = torch.zeros_like(places[..., 0])
    for axis, (full, own) in enumerate(zip(size, maps.shape[2:], strict=True)):
        index = index * own + torch.div(places[..., axis] * own, full, rounding_mode="floor")
    flat = maps.flatten(2)
    taken = flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))
    return taken.transpose(1, 2).flatten(0, 1)


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    middle = 2 * outputs
    return nn.Sequential(
        nn.Linear(inputs, middle), nn.BatchNorm1d(middle), nn.ReLU(), nn.Linear(middle, outputs)
    )


class Learner(nn.Module):
    """The trained network (student), and the teacher, its moving average.

    Parameters
    ----------
    student, teacher
        Two embedders of the same shape; the teacher starts as a copy.
    dimensions
        Dimensions of the embeddings.
    """

    def __init__(self, student: Embedder, teacher: Embedder, dimensions: int) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.predictor = _perceptron(dimensions, dimensions)
        teacher.load_state_dict(student.state_dict())
        teacher.requires_grad_(False)

    def follow(self, decay: float) -> None:
        """Move the teacher's weights towards the student's; running statistics are copied."""
        with torch.no_grad():
            pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
            for mean, weight in pairs:
                mean.lerp_(weight, 1 - decay)
            running = zip(self.teacher.buffers(), self.student.buffers(), strict=True)
            for followed, value in running:
                followed.copy_(value)


class StepFeatures:
    """Embeddings of one step, each computed once for all objectives."""

    def __init__(self, learner: Learner, views: Views) -> None:
        self.learner, self.views = learner, views
        self._known: dict[str, Tensor] = {}

    @property
    def first(self) -> Tensor:
        """Embeddings (N, D) of the first views at ``places``."""
        return self._once("first", self.views.first, self.views.places)

    @property
    def second(self) -> Tensor:
        """Embeddings (N, D) of the second views at ``partners``."""
        return self._once("second", self.views.second, self.views.partners)

    def embedded(self, images: Tensor, places: Tensor) -> Tensor:
        """Embeddings (N, D) of other images."""
        out: Tensor = self.learner.student(images, places)
        return out

    def predicted(self, images: Tensor, places: Tensor) -> Tensor:
        """Embeddings after the predictor."""
        out: Tensor = self.learner.predictor(self.learner.student(images, places))
        return out

    def taught(self, images: Tensor, places: Tensor) -> Tensor:
        """Embeddings of the teacher."""
        with torch.no_grad():
            out: Tensor = self.learner.teacher(images, places)
        return out

    def _once(self, name: str, images: Tensor, places: Tensor) -> Tensor:
        if name not in self._known:
            self._known[name] = self.learner.student(images, places)
        return self._known[name]


def make_learner(
    network: Network, layers: Sequence[str], size: Sequence[int], dimensions: int
) -> Learner:
    """Student, teacher and heads with weights from torch's global generator."""
    probe = torch.zeros(1, network.slices, *size)
    student, teacher = (
        Embedder(Trunk(network.build(), layers, probe), dimensions) for _ in range(2)
    )
    return Learner(student, teacher, dimensions)
