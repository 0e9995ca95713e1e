"""A recipe from a paper, eight devices with 32 examples each, on one device with 32: what has to change, and what is lost.

python examples/scale_hyperparameters.py
"""

import torch

import critbatch as cb

model = torch.nn.Linear(10, 2)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.98), weight_decay=0.1)  # as the paper says

recipe = cb.scale_hyperparameters(
    optimizer, from_batch=8 * 32, to_batch=32, warmup_steps=2_000, steps=100_000, ema_decay=0.999, ghost_size=32
)
print(recipe)

recipe.apply(optimizer)
group = optimizer.param_groups[0]
print(f"\napplied: rate {group['lr']:.3g}, betas {group['betas']}, weight decay {group['weight_decay']:.3g}")
