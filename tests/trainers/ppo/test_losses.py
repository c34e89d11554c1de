"""PPO's losses by hand, and log-probabilities in chunks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from align.trainers.ppo import losses


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "held"),
    [
        (1.0, 2.0, -2.0, False),
        (1.5, 1.0, -1.2, True),  # better than allowed: no more to win
        (1.5, -1.0, 1.5, False),  # worse: all of it counts
        (0.5, -1.0, 0.8, True),
        (0.5, 1.0, -0.5, False),
    ],
)
def test_the_clipped_surrogate(ratio: float, advantage: float, loss: float, held: bool) -> None:
    new, old = torch.tensor([math.log(ratio)]), torch.zeros(1)
    found, clipped = losses.policy_loss(new, old, torch.tensor([advantage]), 0.2)
    assert found.item() == pytest.approx(loss)
    assert clipped.item() is held


def test_what_the_clip_holds_gets_no_gradient() -> None:
    new = torch.tensor([math.log(1.5), math.log(1.1)], requires_grad=True)
    losses.policy_loss(new, torch.zeros(2), torch.ones(2), 0.2)[0].sum().backward()
    assert new.grad is not None
    assert new.grad.tolist() == pytest.approx([0.0, -1.1])


def test_dual_clip_bounds_the_loss_of_a_bad_token() -> None:
    new = torch.tensor([math.log(10.0)])
    assert losses.policy_loss(new, torch.zeros(1), torch.tensor([-1.0]), 0.2, 3.0)[0].item() == pytest.approx(3.0)
    assert losses.policy_loss(new, torch.zeros(1), torch.tensor([1.0]), 0.2, 3.0)[0].item() == pytest.approx(-1.2)


@pytest.mark.parametrize(
    ("value", "old", "wanted", "clip", "loss"),
    [
        (1.5, 1.0, 1.1, 0.2, 0.08),  # the value's own error 0.4 is larger than the clipped one's 0.1
        (2.0, 1.0, 2.0, 0.2, 0.32),  # right, but further than it may go: 1.2 is 0.8 away
        (1.1, 1.0, 2.0, 0.2, 0.405),
        (2.0, 1.0, 2.0, None, 0.0),
    ],
)
def test_the_clipped_value_loss(value: float, old: float, wanted: float, clip: float | None, loss: float) -> None:
    found = losses.value_loss(torch.tensor(value), torch.tensor(old), torch.tensor(wanted), clip)
    assert found.item() == pytest.approx(loss)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_give_what_whole_logits_give(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, labels = nn.Linear(8, 50), torch.randint(50, (37,))
    states = torch.randn(37, 8, requires_grad=True)
    dist = torch.log_softmax(head(states) / temperature, dim=-1)
    wanted = dist.gather(1, labels[:, None])[:, 0]
    wanted_entropy = -(dist.exp() * dist).sum(-1)
    (gradient,) = torch.autograd.grad(wanted.square().sum(), states, retain_graph=True)
    for numbers in (1 << 24, 50 * 5):
        monkeypatch.setattr(losses, "CHUNK_NUMBERS", numbers)
        found, entropy = losses.token_logprobs(states, labels, head, 50, temperature)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(entropy, wanted_entropy)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), states)[0], gradient)


def test_a_chunk_is_never_less_than_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_NUMBERS", 10)
    found, _ = losses.token_logprobs(torch.randn(3, 4), torch.tensor([0, 1, 2]), nn.Linear(4, 50), 50, 1.0)
    assert found.shape == (3,)
