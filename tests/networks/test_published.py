"""Paper 000's networks have the parameter counts of its code, plus what the mask channel of our condition adds."""

import pytest
import torch

from sfumato.networks.published import Critic, EpsilonUNet, Generator


@pytest.mark.parametrize(
    ("network", "code", "extra"),
    [
        (Generator(128, 3, 4, 32, 64), 4_204_163, 64 * 9),  # one more channel into a 3 x 3 convolution to 64
        (EpsilonUNet(3, 4, 32, 64), 7_343_875, 3 * 64 * 9),  # x_t beside the whole condition: 7 channels for its 4
    ],
)
def test_the_counts_of_the_papers_code(network, code, extra):
    assert sum(parameter.numel() for parameter in network.parameters()) == code + extra


def test_the_critics_count_is_within_a_fifth_of_a_per_cent():
    # The text has a norm in every block and its code none in the first; the mask is one channel more.
    assert sum(p.numel() for p in Critic(7, 32, 64).parameters()) == pytest.approx(666_433 + 64 * 16, rel=2e-3)


def test_the_u_net_can_copy_its_input_pixel_by_pixel():
    """It must be able to: the noise to be named differs from pixel to pixel, and a U-Net without the first skip cannot."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        network = EpsilonUNet(1, 0, 16, 8)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(150):
            x = torch.randn(32, 1, 16, 16)
            loss = (network(x, torch.zeros(32), None) - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert float(loss.detach()) < 0.15
