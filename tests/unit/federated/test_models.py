import torch

from federated.models import NetworkConfig, build_network


def test_maps_channels_to_region_logits_on_the_same_grid():
    config = NetworkConfig()
    network = build_network(config).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(1, config.in_channels, config.stride * 2, config.stride * 3, config.stride))
    assert logits.shape == (1, config.regions, 16, 24, 8)


def test_half_precision_weights_fit_into_four_megabytes():
    count = sum(parameter.numel() for parameter in build_network(NetworkConfig()).parameters())
    assert 2 * count < 4 * 2**20


def test_logits_unfold_to_where_their_voxels_were():
    # Through a network that only copies: each voxel's own channel comes back at its own place.
    config = NetworkConfig(in_channels=3, regions=3, init_filters=8, blocks_down=(1,), blocks_up=(), norm_groups=2)
    network = build_network(config)
    network._network = torch.nn.Identity()
    channels = torch.randn(1, 3, 8, 12, 4)
    torch.testing.assert_close(network(channels), channels)
