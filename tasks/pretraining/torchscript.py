"""A trunk as the TorchScript file that registration and the loss ``impact_synth`` read."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.data.errors import UsageError
from synthct.data.files import write_whole
from synthct.tasks.pretraining.network import Trunk

SLICES_AT_ONCE = 16
"""Slices of a volume that a 2.5-D network computes together."""

TOLERANCE = 1e-6
"""Largest difference from the network itself, relative to the largest feature."""


MANGLED = re.compile(rb"[./]___torch_mangle_\d+")
"""Part of a class's name that counts the modules that the process created before it."""


class VolumeFeatures(nn.Module):
    """Feature maps of a volume of mean 0 and standard deviation 1 in the body, for TorchScript.

    Edges are repeated as far as the network needs: neighbouring slices, and multiples of its
    divisor. Coarse maps are interpolated linearly to the grid of the image.
    """

    def __init__(
        self, core: nn.Module, *, slices: int, flat: bool, divisor: int, mean: float, sd: float
    ) -> None:
        super().__init__()
        self.core, self.slices, self.flat = core, slices, flat
        self.divisor, self.mean, self.sd, self.chunk = divisor, mean, sd, SLICES_AT_ONCE

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image (N, 1, Z, Y, X) to maps (N, C, Z, Y, X)."""
        x = self.mean + self.sd * x
        count, depth, height, width = x.shape[0], x.shape[2], x.shape[3], x.shape[4]
        pad_y, pad_x = self.missing(height), self.missing(width)
        if not self.flat:
            pad_z = self.missing(depth)
            whole = functional.pad(x, [0, pad_x, 0, pad_y, 0, pad_z], mode="replicate")
            maps = self.core(whole)
            size = [whole.shape[2], whole.shape[3], whole.shape[4]]
            grown = [
                functional.interpolate(one, size=size, mode="trilinear", align_corners=False)
                for one in maps
            ]
            return [one[:, :, :depth, :height, :width] for one in grown]
        side = self.slices // 2
        padded = functional.pad(x, [0, pad_x, 0, pad_y, side, side], mode="replicate")
        stacks = padded[:, 0].unfold(1, self.slices, 1).permute(0, 1, 4, 2, 3).flatten(0, 1)
        found: list[list[Tensor]] = []
        for start in range(0, stacks.shape[0], self.chunk):
            found.append(self.core(stacks[start : start + self.chunk]))
        size = [stacks.shape[2], stacks.shape[3]]
        out: list[Tensor] = []
        for layer in range(len(found[0])):
            flat = torch.cat([maps[layer] for maps in found])
            flat = functional.interpolate(flat, size=size, mode="bilinear", align_corners=False)
            flat = flat[:, :, :height, :width]
            out.append(flat.unflatten(0, [count, depth]).transpose(1, 2).contiguous())
        return out

    def missing(self, length: int) -> int:
        """Number of voxels missing to the next multiple of the divisor, at least two divisors."""
        return max(-length % self.divisor, 2 * self.divisor - length)


def scripted(
    trunk: Trunk, *, slices: int, flat: bool, divisor: int, mean: float = 0.0, sd: float = 1.0
) -> torch.jit.ScriptModule:
    """TorchScript of a trunk, checked on a volume of another size.

    Raises
    ------
    UsageError
        ``network-not-traceable``: the network computes other steps for other sizes.
    """
    options = {"slices": slices, "flat": flat, "divisor": divisor, "mean": mean, "sd": sd}
    rng = torch.Generator().manual_seed(0)
    training = trunk.training
    trunk.eval()
    rest = (2 * divisor,) * (2 if flat else 3)
    example = torch.randn((1, slices if flat else 1, *rest), generator=rng)
    larger = torch.randn((1, 1, 3, 3 * divisor - 1, 4 * divisor), generator=rng)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants: the check below finds them
        core = torch.jit.trace(trunk, example, check_trace=False)  # type: ignore[no-untyped-call]
        made = torch.jit.script(VolumeFeatures(core, **options))  # type: ignore[arg-type]
        wanted = VolumeFeatures(trunk, **options)(larger)  # type: ignore[arg-type]
        try:
            found = made(larger)
        except RuntimeError:
            found = []
    trunk.train(training)
    same = len(found) == len(wanted) and all(
        (a - b).abs().max() <= TOLERANCE * b.abs().max().clamp_min(1e-6)
        for a, b in zip(found, wanted, strict=True)
    )
    if not same:
        raise UsageError(
            "the network computes other steps for images of other sizes",
            rule="a network for features is a TorchScript file of one sequence of steps",
            where="pretraining.network",
            remedy="choose a convolutional network, such as unet_plus_plus or unet_3d",
            code="network-not-traceable",
        )
    return torch.jit.freeze(made.eval())  # type: ignore[no-any-return]


def save_script(path: Path, module: torch.jit.ScriptModule) -> str:
    """Write a frozen module without machine-dependent records; returns its SHA-256.

    Torch adds records with the paths of the source files, for tracebacks, and counts the modules
    that the process made before this one in its name.
    """
    buffer, kept = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, buffer)  # type: ignore[no-untyped-call]
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(kept, "w") as out:
        for record in sorted(archive.namelist()):
            if record.endswith((".debug_pkl", "serialization_id")):
                continue
            data, name = archive.read(record), record
            if "/data/" not in record:  # weights; one class is left, whose name needs no number
                data = MANGLED.sub(b"", data)
                name = MANGLED.sub(b"", record.encode()).decode()
            out.writestr(zipfile.ZipInfo(name), data)
    write_whole(path, kept.getvalue())
    return hashlib.sha256(kept.getvalue()).hexdigest()
