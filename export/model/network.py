"""DMDNet's generator: one class for each block of the paper.

Li et al., "Learning Dual Memory Dictionaries for Blind Face Restoration", arXiv 2210.08160.
Attributes are named as in the published checkpoint, so that its tensors load by their names.
Spectral normalisation is folded into the weights on loading (`export.model.checkpoint`).

Everything that depends on the component boxes is written as products with small interpolation
matrices (`export.model.components.crops`), so that shapes are static and the module exports as it
stands. Precision follows the parameters: after `.half()` convolutions, values and interpolation run
in float16, while logits, softmax and AdaIN statistics are cast to float32, which they need: a dot
product over 48,400 numbers overflows float16.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.model.components.crops import Crops, all_crops
from export.model.components.specific_read import likeness, read_specific
from runtime.bundle.layout import (
    CROP_SIZE,
    PARTS,
    SCALES,
    channels_at,
    dictionary_layout,
)

SLOPE = 0.2  # of every LeakyReLU
ADAIN_EPS = 1e-5


class DMDNet(nn.Module):
    """The generator, `width` channels at 256 x 256 and `entries` rows in the generic dictionary."""

    def __init__(self, width: int = 64, entries: int = 128) -> None:
        super().__init__()
        self.width, self.entries = width, entries
        self.layout = dictionary_layout(width)
        self.E_lq = Encoder(width)
        self.E_hq = Encoder(width)
        for part, scale in ((p, s) for s in SCALES for p in PARTS):
            channels, size = channels_at(scale, width), CROP_SIZE[part, scale]
            key, value = (entries, channels // 4, size, size), (entries, channels, size, size)
            self.register_buffer(f"{part}_{scale}_mem_key", torch.zeros(key))
            self.register_buffer(f"{part}_{scale}_mem_value", torch.zeros(value))
            name = f"{part.upper()}_{scale}"
            self.add_module(f"{name}_KV", KeyValue(channels))
            self.add_module(f"{name}_Mask", Mask(channels))
            self.add_module(f"{name}_Attention", pair(channels, channels))
        self.MSDilate = MSDilate(4 * width)
        self.up1 = UpBlock(4 * width, 2 * width)
        self.up2 = UpBlock(2 * width, width)
        self.up3 = UpBlock(width, width)
        self.up4 = nn.Sequential(
            conv(width, width),
            nn.LeakyReLU(SLOPE),
            Residual(width),
            Residual(width),
            conv(width, 3),
            nn.Tanh(),
        )

    def memorize(self, image: Tensor, boxes: Tensor) -> Tensor:
        """References -> rows of a specific dictionary.

        `image` (K, 3, 512, 512) RGB in [-1, 1], `boxes` int32 (K, 4, 4) -> (K, D), columns as in
        `runtime.bundle.layout`.
        """
        features = dict(zip(SCALES, self.E_hq(image), strict=True))
        crops = all_crops(boxes, image.dtype)
        columns: list[Tensor] = []
        for scale in SCALES:
            for part, crop in zip(PARTS, crops[scale].cut(features[scale]), strict=True):
                block = cast(KeyValue, getattr(self, f"{part.upper()}_{scale}_KV"))
                columns += [block.Key(crop).flatten(1), block.Value(crop).flatten(1)]
        return torch.cat(columns, dim=1)

    def forward(
        self, image: Tensor, boxes: Tensor, dictionary: Tensor, membership: Tensor
    ) -> Tensor:
        """Restore faces, each with the dictionary rows that belong to it, or with none.

        `image` (B, 3, 512, 512) RGB in [-1, 1], `boxes` int32 (B, 4, 4), `dictionary` (K, D),
        `membership` float32 (B, K), 1 where row k belongs to face b -> (B, 3, 512, 512).
        """
        return self.decode(self.E_lq(image), boxes, dictionary, membership)

    def decode(
        self,
        encoded: tuple[Tensor, ...],
        boxes: Tensor,
        dictionary: Tensor,
        membership: Tensor,
    ) -> Tensor:
        """`forward` from the features that `E_lq` gave."""
        features = dict(zip(SCALES, encoded, strict=True))
        columns = torch.split(dictionary, [s.stop - s.start for s in self.layout], dim=1)
        specific = {(s.scale, s.part, s.kind): c for s, c in zip(self.layout, columns, strict=True)}
        belongs = membership > 0.5
        crops = all_crops(boxes, dictionary.dtype)
        style = {
            scale: self._inject(scale, features[scale], crops[scale], specific, belongs)
            for scale in SCALES
        }
        h = self.MSDilate(features[64])
        h = self.up1(h, style[64])
        h = self.up2(h, style[128])
        h = self.up3(h, style[256])
        return cast(Tensor, self.up4(h))

    def _inject(
        self,
        scale: int,
        feature: Tensor,
        crops: Crops,
        specific: dict[tuple[int, str, str], Tensor],
        belongs: Tensor,
    ) -> Tensor:
        """The style map of one scale: what the dictionaries say, pasted over the components."""
        patches: list[Tensor] = []
        for part, crop in zip(PARTS, crops.cut(feature), strict=True):
            name = f"{part.upper()}_{scale}"
            query = getattr(self.E_lq, f"{name}_Q").Query(crop)
            parts, query = query.shape[1], query.flatten(1)  # a product for each of its channels

            key = getattr(self, f"{part}_{scale}_mem_key").flatten(1)
            value = getattr(self, f"{part}_{scale}_mem_value").flatten(1)
            logits = likeness(query, key, parts) / self.entries**0.5
            generic = (logits.softmax(dim=1).to(value.dtype) @ value).view_as(crop)

            key, value = specific[scale, part, "key"], specific[scale, part, "value"]
            own, has_rows = read_specific(query, key, value, belongs, parts)
            own = torch.where(has_rows.view(-1, 1, 1, 1), own.view_as(crop), generic)

            mask = getattr(self, f"{name}_Mask")(crop, own, generic)
            memory = adain(generic + mask * (own - generic), crop)
            attention = getattr(self, f"{name}_Attention")(memory - crop)
            patches.append(attention * memory + crop)
        return crops.paste(patches, feature)


class Encoder(nn.Module):
    """Face -> features at 256, 128 and 64; also holds the query convolutions of each component."""

    def __init__(self, width: int) -> None:
        super().__init__()
        n = width
        self.conv1, self.res1 = pair(3, n, stride=2), ResBlock(n, (5, 3))
        self.conv2, self.res2 = pair(n, n), ResBlock(n, (5, 3))
        self.conv3, self.res3 = pair(n, 2 * n, stride=2), ResBlock(2 * n, (3, 1))
        self.conv4, self.res4 = pair(2 * n, 2 * n), ResBlock(2 * n, (3, 1))
        self.conv5, self.res5 = pair(2 * n, 4 * n, stride=2), ResBlock(4 * n, (1, 1))
        self.conv6, self.res6 = pair(4 * n, 4 * n), ResBlock(4 * n, (1, 1))
        for part, scale in ((p, s) for s in SCALES for p in PARTS):
            self.add_module(f"{part.upper()}_{scale}_Q", Query(channels_at(scale, n)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f256 = self.res2(self.conv2(self.res1(self.conv1(image))))
        f128 = self.res4(self.conv4(self.res3(self.conv3(f256))))
        f64 = self.res6(self.conv6(self.res5(self.conv5(f128))))
        return f256, f128, f64


class ResBlock(nn.Module):
    """x + Res(x), in the encoders."""

    def __init__(self, channels: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        self.Res = pair(channels, channels, dilations)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.Res(x))


class Residual(nn.Module):
    """x + Model(x), at the end of the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Model = pair(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.Model(x))


class Query(nn.Module):
    """The query by which a degraded component reads from the dictionaries."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Query = pair(channels, channels // 4)


class KeyValue(nn.Module):
    """Key and value under which a reference's component is kept in a specific dictionary."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Key = pair(channels, channels // 4)
        self.Value = pair(channels, channels)


class Mask(nn.Module):
    """How much of the specific read goes into the mixture, per channel and position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        third = channels // 3
        self.conv1 = pair(channels, third)
        self.conv2 = pair(channels, third)
        self.conv3 = pair(channels, third)
        self.convCat = pair(3 * third, channels)

    def forward(self, crop: Tensor, specific: Tensor, generic: Tensor) -> Tensor:
        parts = [self.conv1(crop), self.conv2(specific), self.conv3(generic)]
        return cast(Tensor, self.convCat(torch.cat(parts, dim=1)))


class MSDilate(nn.Module):
    """Four dilated views of the coarsest features, fused and added to them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = pair(channels, channels, (4, 4))
        self.conv2 = pair(channels, channels, (3, 3))
        self.conv3 = pair(channels, channels, (2, 2))
        self.conv4 = pair(channels, channels, (1, 1))
        self.convi = conv(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        views = [self.conv1(x), self.conv2(x), self.conv3(x), self.conv4(x)]
        return cast(Tensor, self.convi(torch.cat(views, dim=1)) + x)


class UpBlock(nn.Module):
    """One step of the decoder: modulate by the style map, then double the resolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = pair(channels, out)
        self.ScaleModel1 = pair(channels, out)
        self.ShiftModel1 = pair(channels, out)
        self.convup = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            conv(out, out),
            nn.LeakyReLU(SLOPE),
            conv(out, out),
        )

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        t = F.leaky_relu(self.conv1(x), SLOPE)
        t = t * self.ScaleModel1(style) + self.ShiftModel1(style)
        return cast(Tensor, self.convup(t))


def conv(i: int, o: int, dilation: int = 1, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, stride, padding=dilation, dilation=dilation)


def pair(i: int, o: int, dilations: tuple[int, int] = (1, 1), stride: int = 1) -> nn.Sequential:
    first, second = dilations
    return nn.Sequential(conv(i, o, first, stride), nn.LeakyReLU(SLOPE), conv(o, o, second))


def adain(memory: Tensor, crop: Tensor) -> Tensor:
    """Give `memory` the per-channel mean and (unbiased) deviation of `crop`, in float32."""
    memory_centred, _, memory_std = _statistics(memory.float())
    _, crop_mean, crop_std = _statistics(crop.float())
    return (memory_centred / memory_std * crop_std + crop_mean).to(crop.dtype)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = x.shape[2] * x.shape[3]
    mean = x.mean(dim=(2, 3), keepdim=True)
    centred = x - mean
    variance = (centred * centred).sum(dim=(2, 3), keepdim=True) / (n - 1)
    return centred, mean, (variance + ADAIN_EPS).sqrt()


def checkpoint_shapes(network: DMDNet) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published format: each convolution with its spectral vectors."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith(".weight"):
            shapes[f"{name}_orig"] = shape
            shapes[f"{name}_u"] = shape[:1]
            shapes[f"{name}_v"] = (shape[1] * shape[2] * shape[3],)
        else:
            shapes[name] = shape
    return shapes
