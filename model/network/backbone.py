"""The feature extractor: a torchvision ResNet without its head, with modality alleviation."""

import torch
from torch import Tensor, nn
from torchvision.models import resnet

from model.config import MPANetConfig
from model.network.layers import ModalityAlleviation

CONSTRUCTORS = {
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
}


class Backbone(nn.Module):
    """Images (N, 3, H, W) -> features (N, C, H/16, W/16), sides rounded up.

    The last stage keeps its resolution (stride 1). `MAM3` and `MAM4` follow stages 3 and 4; their
    names, and those of the layers, are the names of the published checkpoint. Without modality
    alleviation both let everything through.
    """

    def __init__(self, config: MPANetConfig) -> None:
        super().__init__()
        trunk = CONSTRUCTORS[config.backbone](weights=None)
        self.conv1, self.bn1, self.relu = trunk.conv1, trunk.bn1, trunk.relu
        self.maxpool = trunk.maxpool
        self.layer1, self.layer2 = trunk.layer1, trunk.layer2
        self.layer3, self.layer4 = trunk.layer3, _without_stride(trunk.layer4)
        alleviates = config.modality_alleviation
        self.MAM3 = ModalityAlleviation(config.channels // 2) if alleviates else nn.Identity()
        self.MAM4 = ModalityAlleviation(config.channels) if alleviates else nn.Identity()
        for module in [*self.MAM3.modules(), *self.MAM4.modules()]:
            if isinstance(module, nn.Conv2d):  # as torchvision initialises the trunk
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # (N, 64, H/4, W/4)
        x = self.layer2(self.layer1(x))  # (N, C/4, H/8, W/8)
        x = self.MAM3(self.layer3(x))  # (N, C/2, H/16, W/16)
        features: Tensor = self.MAM4(self.layer4(x))  # (N, C, H/16, W/16)
        return features


def _without_stride(stage: nn.Sequential) -> nn.Sequential:
    """The same stage with every stride of 2 made 1; no weight changes its shape."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    return stage


def imagenet_shapes(backbone: Backbone) -> dict[str, torch.Size]:
    """Names and shapes of the weights that torchvision's ImageNet checkpoints hold for it."""
    return {
        name: tensor.shape
        for name, tensor in backbone.state_dict().items()
        if not name.startswith(("MAM3.", "MAM4."))
    }
