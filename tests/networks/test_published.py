"""Paper 000's networks have the parameter counts of its code, plus what the mask channel of our condition adds."""

import pytest
import torch

from sfumato.errors import ConfigError
from sfumato.networks.condition import NOTHING, Condition
from sfumato.networks.published import Critic, EpsilonUNet, Generator


@pytest.mark.parametrize(
    ("network", "code", "extra"),
    [
        (Generator(128, 3, 4, (32, 32), 64), 4_204_163, 64 * 9),  # one more channel into a 3 x 3 convolution to 64
        (
            EpsilonUNet(3, 4, (32, 32), 64),
            7_343_875,
            3 * 64 * 9,
        ),  # x_t beside the whole condition: 7 channels for its 4
    ],
)
def test_the_counts_of_the_papers_code(network, code, extra):
    assert sum(parameter.numel() for parameter in network.parameters()) == code + extra


def test_the_critics_count_is_within_a_fifth_of_a_per_cent():
    # The text has a norm in every block and its code none in the first; the mask is one channel more.
    assert sum(p.numel() for p in Critic(7, (32, 32), 64).parameters()) == pytest.approx(666_433 + 64 * 16, rel=2e-3)


def test_the_u_net_can_copy_its_input_pixel_by_pixel():
    """It must be able to: the noise to be named differs from pixel to pixel, and a U-Net without the first skip cannot."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        network = EpsilonUNet(1, 0, (16, 16), 8)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(150):
            x = torch.randn(32, 1, 16, 16)
            loss = (network(x, torch.zeros(32), NOTHING) - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert float(loss.detach()) < 0.15


@pytest.mark.parametrize("size", [(32, 32), (24, 40)], ids=str)
def test_each_network_takes_a_condition_of_any_size(size):
    x, image = torch.randn(2, 3, *size), torch.randn(2, 4, *size)
    told = Condition(image=image)
    critic, unet = Critic(7, size, 8), EpsilonUNet(3, 4, size, 8)
    generator = Generator(16, 3, 4, size, 8)
    assert critic(x, told).shape == (2,)
    assert unet(x, torch.rand(2), told).shape == x.shape
    made = generator(torch.randn(2, 16), told)
    assert made.shape == x.shape and float(made.detach().abs().max()) <= 1
    assert Generator(16, 3, 0, size, 8)(torch.randn(2, 16), NOTHING).shape == x.shape
    for network, arguments in ((critic, (x,)), (unet, (x, torch.full((2,), 0.5)))):  # the condition is looked at
        network.eval()
        assert not torch.equal(network(*arguments, told), network(*arguments, Condition(image=-image)))


@pytest.mark.parametrize("size", [(24, 42), (42, 24)], ids=str)
def test_both_sides_must_be_multiples_of_eight(size):
    for make in (lambda: Critic(7, size, 8), lambda: Generator(16, 3, 4, size, 8), lambda: EpsilonUNet(3, 4, size, 8)):
        with pytest.raises(ConfigError, match=f"multiples of 8; they are {size[0]} x {size[1]}"):
            make()
