"""MONAI's VQ-VAE with dropout in the decoder's head alone and a codebook that starts, and stays, alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from monai.networks.layers.vector_quantizer import EMAQuantizer, VectorQuantizer
from monai.networks.nets import vqvae as monai_vqvae
from torch import Tensor, nn


class Codebook(EMAQuantizer):
    """EMA codebook that starts on encoder outputs and replaces codes that died.

    The first training batch puts every code on a random encoder output with a count of 1 (with counts of 0 and a decay
    of 0.95 the codebook was seen to collapse to a single code). Later a code whose running count falls below
    ``revive_below`` times the mean count is put on a random encoder output of the batch at hand.
    """

    started: Tensor

    def __init__(self, *args: Any, revive_below: float = 0.01, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.revive_below = revive_below
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def quantize(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flat inputs f32 [N, D], nothing (no N x K one-hots are made), code indices i64 [B, *g]; writes nothing."""
        with torch.autocast(inputs.device.type, enabled=False):
            flat = self._flat(inputs)
            codes = self.embedding.weight.float()
            # Seen from the codes' midst (a dead code may lie far off): distances far smaller than the codes themselves
            # would drown in the rounding of |c|^2 - 2 x c.
            # |x|^2 is left out: the same for all codes of one input.
            centre = codes.topk((len(codes) + 1) // 2, 0, largest=False).values[-1]  # ONNX knows no median
            codes = codes - centre
            nearest = (codes.square().sum(1) - 2 * (flat - centre) @ codes.t()).argmin(1)
        return flat, torch.empty(0), nearest.view(inputs.shape[0], *inputs.shape[2:])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Code vectors for inputs [B, D, *g] (the gradient passes straight through), commitment loss, code indices."""
        inputs = inputs.float()
        if self.training and not bool(self.started):
            self._start(self._flat(inputs.detach()))
        flat, _, indices = self.quantize(inputs.detach())
        quantised = self.embed(indices)
        if self.training:
            self._update(flat, indices.flatten())
        loss = self.commitment_cost * nn.functional.mse_loss(quantised, inputs)
        return quantised + (inputs - inputs.detach()), loss, indices  # the codes to the last bit

    @property
    def spread(self) -> float:
        """The codes' spread about their mean over their distance from 0, root mean squares over the running counts.

        0 where all codes that are used are one, however high the perplexity: the encoder has collapsed.
        """
        share, codes = self.ema_cluster_size / self.ema_cluster_size.sum(), self.embedding.weight
        away = codes - share @ codes
        return float(((share @ away.square()).sum() / (share @ codes.square()).sum().clamp(min=1e-30)).sqrt())

    def _flat(self, inputs: Tensor) -> Tensor:
        """[B, D, *g] to f32 [N, D]."""
        return inputs.float().permute(self.flatten_permutation).reshape(-1, self.embedding_dim)

    @torch.no_grad()
    def _start(self, flat: Tensor) -> None:
        self._place(torch.ones_like(self.ema_cluster_size, dtype=torch.bool), flat)
        self.started.fill_(True)

    @torch.no_grad()
    def _update(self, flat: Tensor, indices: Tensor) -> None:
        count = torch.zeros_like(self.ema_cluster_size).index_add_(0, indices, torch.ones_like(flat[:, 0]))
        total = torch.zeros_like(self.ema_w).index_add_(0, indices, flat)
        self.distributed_synchronization(count, total)
        self.ema_cluster_size.mul_(self.decay).add_(count, alpha=1 - self.decay)
        self.ema_w.mul_(self.decay).add_(total, alpha=1 - self.decay)
        n = self.ema_cluster_size.sum()
        smoothed = (self.ema_cluster_size + self.epsilon) / (n + self.num_embeddings * self.epsilon) * n
        self.embedding.weight.copy_(self.ema_w / smoothed[:, None])
        dead = self.ema_cluster_size < self.revive_below * n / self.num_embeddings
        if bool(dead.any()):
            self._place(dead, flat)

    def _place(self, which: Tensor, flat: Tensor) -> None:
        """Put the codes in ``which`` bool [K] on random rows of ``flat`` [N, C], the same ones on all ranks."""
        rows = torch.randint(len(flat), (int(which.sum()),), device=flat.device)
        # A hair of noise keeps two codes that were put on equal inputs (empty background) apart.
        fresh = flat[rows] + 1e-3 * flat.std() * torch.randn_like(flat[rows])
        if self.ddp_sync and dist.is_initialized():
            dist.broadcast(fresh, 0)
        self.embedding.weight[which] = fresh
        self.ema_w[which] = fresh
        self.ema_cluster_size[which] = 1.0


class VQVAE(monai_vqvae.VQVAE):
    """VQ-VAE whose decoder is a trunk, run once per healed draw, and a head with dropout, run several times.

    In training mode ``forward`` returns (reconstruction, commitment loss), in eval mode the reconstruction alone, so
    that MONAI's checks and MONAI Label can use it. Queries (``index_quantize``, ``decode_*``) never write.

    Args:
        spatial_dims, in_channels: 2 or 3; channels of the image. The output has as many.
        channels: widths of the levels; every level halves the grid, so the factor is 2 ** len(channels).
        num_res_layers: residual units a level, as wide as the level.
        num_embeddings, embedding_dim: K codes of D features.
        decay: EMA decay of the codebook at the start; ``handlers.CodebookDecay`` moves it.
        head_dropout: p of the channel-wise dropout before the last transposed convolution.

    Source: van den Oord et al. 2017; constants of Patel et al.'s published code.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int] = (128, 128, 256),
        num_res_layers: int = 3,
        num_embeddings: int = 256,
        embedding_dim: int = 128,
        commitment_cost: float = 0.25,
        decay: float = 0.5,
        head_dropout: float = 0.05,
    ) -> None:
        super().__init__(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=in_channels,
            channels=channels,
            num_res_layers=num_res_layers,
            num_res_channels=channels,
            downsample_parameters=[(2, 4, 1, 1)] * len(channels),
            upsample_parameters=[(2, 4, 1, 1, 0)] * len(channels),
            num_embeddings=num_embeddings,
            embedding_dim=embedding_dim,
            commitment_cost=commitment_cost,
            decay=decay,
        )
        codebook = Codebook(spatial_dims, num_embeddings, embedding_dim, commitment_cost, decay)
        self.quantizer = VectorQuantizer(codebook)
        self.head_dropout = head_dropout
        self.factor = 2 ** len(channels)
        # faster on CPUs and, in bfloat16, on GPUs; the results are the same up to rounding
        self.to(memory_format={2: torch.channels_last, 3: torch.channels_last_3d}[spatial_dims])  # type: ignore[call-overload]

    @torch.no_grad()
    def start_over(self, seed: int) -> None:
        """New weights, the same ones on every rank, with an encoder whose signal does not fade.

        torch's own start shrinks the signal in every layer until the biases outweigh it. Where images are mostly dark
        the encoder's ReLUs can then die, all of them in the end. Here it gets He's weights, biases of 0 and residual
        units that start as the identity; the decoder starts as torch has it, the codebook on the next batch.
        """
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                    module.reset_parameters()
            for module in self.encoder.modules():
                if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    nn.init.zeros_(cast("Tensor", module.bias))
            for block in self.encoder.blocks:
                if isinstance(block, monai_vqvae.VQVAEResidualUnit):
                    nn.init.zeros_(cast("Any", block.conv2).conv.weight)
            # what the codebook sees starts small, or the commitment loss would outweigh the reconstruction's
            cast("Any", self.encoder.blocks[-1]).conv.weight.mul_(0.1)
        self.codebook.started.fill_(False)

    @property
    def codebook(self) -> Codebook:
        return cast("Codebook", self.quantizer.quantizer)

    def forward(self, images: Tensor) -> Any:
        """Images f32 [B, C, *S], S a multiple of the factor: the same shape back, and in training the loss too."""
        quantised, loss = self.quantize(self.encode(images))
        reconstruction = self.decode_head(self.decode_trunk(quantised), drop=self.training)
        return (reconstruction, loss) if self.training else reconstruction

    @torch.no_grad()
    def index_quantize(self, images: Tensor) -> Tensor:
        """Codes i64 [B, *g] of images [B, C, *S]; leaves the codebook as it was, in training mode too."""
        return self.codebook.quantize(self.encode(images))[2]

    def embed(self, codes: Tensor) -> Tensor:
        """Codes i64 [B, *g] to code vectors f32 [B, D, *g]."""
        return self.codebook.embed(codes)

    def decode_trunk(self, quantised: Tensor) -> Tensor:
        """Code vectors [B, D, *g] to the features [B, W, *S/2] before the last transposed convolution."""
        for block in self.decoder.blocks[:-1]:
            quantised = block(quantised)
        return quantised

    def decode_head(self, features: Tensor, drop: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Features to images [B, C, *S]; with ``drop`` whole channels are dropped, drawn from ``generator``."""
        if drop and self.head_dropout > 0:
            shape = (*features.shape[:2], *[1] * (features.ndim - 2))
            source = features.device if generator is None else generator.device
            kept = torch.rand(shape, generator=generator, device=source) >= self.head_dropout
            features = features * (kept.to(features) / (1 - self.head_dropout))
        return self.decoder.blocks[-1](features)

    @property
    def head(self) -> nn.ConvTranspose2d:
        """The decoder's last transposed convolution (of as many dimensions as the images)."""
        return cast("nn.ConvTranspose2d", cast("Any", self.decoder.blocks[-1]).conv)

    def head_masks(self, passes: int, generator: torch.Generator | None = None) -> Tensor:
        """Channels that the head dropout of each pass keeps, for ``decode_heads``: bool [passes, W] on the CPU."""
        return torch.rand(passes, self.head.in_channels, generator=generator) >= self.head_dropout

    def decode_heads(self, features: Tensor, kept: Tensor) -> Tensor:
        """Features [B, W, *s] to images [passes, B, C, *S]; a pass has the channels ``kept`` bool [passes, W] alone.

        The head is linear after its dropout: it runs once on all channels, and what a pass drops is taken off. Equal,
        up to rounding, to as many calls of ``decode_head`` with these channels dropped.
        """
        head: Any = self.head
        convolve = F.conv_transpose2d if features.ndim == 4 else F.conv_transpose3d

        def of(channels: Any) -> Tensor:
            return convolve(features[:, channels], head.weight[channels], None, head.stride, head.padding)

        whole, images = of(slice(None)), []
        for row in kept.to(features.device):
            lost = (~row).nonzero()[:, 0]
            images.append((whole - of(lost) if len(lost) else whole) / (1 - self.head_dropout))
        bias = cast("Tensor", head.bias).view(-1, *[1] * (features.ndim - 2))
        return torch.stack(images) + bias

    def decode(self, quantizations: Tensor) -> Tensor:
        return self.decode_head(self.decode_trunk(quantizations))

    # MONAI's latent diffusion calls these two; its own versions would move the codebook in training mode.

    def encode_stage_2_inputs(self, x: Tensor) -> Tensor:
        return self.embed(self.index_quantize(x))

    def decode_stage_2_outputs(self, z: Tensor) -> Tensor:
        return self.decode(self.embed(self.codebook.quantize(z)[2]))
