"""The selective state-space scan of Mamba in plain torch, without compiled extension."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

LONGEST = 20
"""Doublings in an exported graph: sequences of up to 2^20 tokens, 1024 x 1024 voxels."""

CONVOLUTION = 4
"""Length of the causal convolution before the scan [tokens]."""

STEPS = (0.001, 0.1)
"""Range of the initial step sizes, log-uniform."""


def linear_recurrence(decay: Tensor, inputs: Tensor) -> Tensor:
    r"""Solve :math:`h_l = a_l\,h_{l-1} + b_l`, :math:`h_{-1} = 0`, along the last axis.

    By doubling: after round *k* each element is the recurrence over its last :math:`2^k` tokens,
    so that :math:`\lceil\log_2 L\rceil` tensor operations replace a loop of length *L*.
    ``decay`` *a*, ``inputs`` *b* and the result have the same shape (..., L).
    """
    length = inputs.shape[-1]
    # The length of an exported graph is dynamic: superfluous rounds add zeros.
    rounds = LONGEST if torch.compiler.is_exporting() else max(1, int(length) - 1).bit_length()
    for number in range(rounds):
        shift = 1 << number
        inputs = inputs + decay * _later(inputs, shift)
        if number + 1 < rounds:
            decay = decay * _later(decay, shift)
    return inputs


def _later(values: Tensor, shift: int) -> Tensor:
    """``values`` moved ``shift`` tokens to the right, zeros before them."""
    return functional.pad(values, (shift, 0))[..., : values.shape[-1]]


def _exact(x: Tensor) -> Tensor:
    """At least float32, whatever the precision of the forward pass."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class MambaBlock(nn.Module):
    r"""A residual selective state-space layer over tokens.

    .. math:: h_l = e^{\Delta_l A} h_{l-1} + \Delta_l B_l x_l, \qquad y_l = C_l h_l + D x_l

    per channel, with *N* states; step :math:`\Delta_l`, input :math:`B_l` and output
    :math:`C_l` are linear in the token, so that the layer selects what it remembers. A causal
    depthwise convolution and SiLU precede it, a gate follows.

    Parameters
    ----------
    channels
        Channels of the tokens.
    states
        *N*, states of each channel.
    expansion
        Inner channels as a multiple of ``channels``.

    References
    ----------
    Gu & Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, arXiv:2312.00752.
    """

    def __init__(self, channels: int, states: int, expansion: int) -> None:
        super().__init__()
        self.inner, self.states = channels * expansion, states
        self.rank = max(1, channels // 16)
        self.norm = nn.LayerNorm(channels)
        self.enter = nn.Linear(channels, 2 * self.inner, bias=False)
        self.mix = nn.Conv1d(self.inner, self.inner, CONVOLUTION, groups=self.inner)
        self.choose = nn.Linear(self.inner, self.rank + 2 * states, bias=False)
        self.step = nn.Linear(self.rank, self.inner)
        decays = torch.arange(1, states + 1, dtype=torch.float32).repeat(self.inner, 1)
        self.log_decay = nn.Parameter(decays.log())
        self.skip = nn.Parameter(torch.ones(self.inner))
        self.leave = nn.Linear(self.inner, channels, bias=False)
        low, high = (math.log(size) for size in STEPS)
        first = torch.exp(low + torch.rand(self.inner) * (high - low))
        with torch.no_grad():
            self.step.bias.copy_(first + torch.log(-torch.expm1(-first)))  # inverse of softplus

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, channels) to the same shape."""
        x, gate = self.enter(self.norm(tokens)).chunk(2, dim=-1)
        x = functional.pad(x.transpose(1, 2), (CONVOLUTION - 1, 0))
        x = _exact(functional.silu(self.mix(x)))
        if self.training and torch.is_grad_enabled():
            # Otherwise 2 log2(L) tensors would be stored for the backward pass.
            scanned = checkpoint(self._scan, x, use_reentrant=False, preserve_rng_state=False)
        else:
            scanned = self._scan(x)
        y = scanned.to(gate.dtype).transpose(1, 2) * functional.silu(gate)
        out: Tensor = tokens + self.leave(y)
        return out

    def _scan(self, x: Tensor) -> Tensor:
        """(B, inner, L), at least float32: products of many decays need the precision."""
        with torch.autocast(x.device.type, enabled=False):
            chosen = self.choose(x.transpose(1, 2))
            step, enter, leave = chosen.split([self.rank, self.states, self.states], dim=-1)
            step = functional.softplus(self.step(step)).transpose(1, 2)[:, :, None]
            enter, leave = (part.transpose(1, 2)[:, None] for part in (enter, leave))
            decay = torch.exp(step * -self.log_decay.exp()[None, :, :, None])
            states = linear_recurrence(decay, step * enter * x[:, :, None])
            out: Tensor = (states * leave).sum(dim=2) + self.skip[:, None] * x
        return out
