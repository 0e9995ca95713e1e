"""transformers: the same moments as a plain loop, with clipping and accumulation; the same weights without the monitor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from . import raw

pytestmark = pytest.mark.filterwarnings("ignore")
Batch = dict[str, Tensor]
LENGTH, WORDS = 10, 30


def model(kind: str) -> Any:
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": LENGTH}
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        if kind == "gpt2":
            still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
            return GPT2LMHeadModel(
                GPT2Config(vocab_size=WORDS, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2, **still)
            )
        which = BertForMaskedLM if kind == "masked" else BertForSequenceClassification
        return which(BertConfig(vocab_size=WORDS, **tiny, **quiet))


def examples(kind: str) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(raw.COUNT):
        words = torch.randint(WORDS, (LENGTH,), generator=generator)
        labels = words.clone()
        labels[int(torch.randint(0, LENGTH, (1,), generator=generator)) :] = -100  # some examples have no label at all
        found.append({"input_ids": words, "labels": words[0] % 2 if kind == "classes" else labels})
    return found


def fit(
    folder: Path, kind: str, accumulated: int, *, watched: bool = True, loss: Callable[..., Tensor] | None = None, **options: Any
) -> tuple[Any, Tensor]:  # fmt: skip
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainingArguments

    from critbatch.integrations.transformers import NoiseScaleCallback

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    network, noise = model(kind), NoiseScaleCallback(every=1, **options)
    optimizer = torch.optim.SGD(network.parameters(), raw.RATE)
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=raw.SIZE, gradient_accumulation_steps=accumulated,
        max_grad_norm=raw.CLIP, num_train_epochs=raw.EPOCHS, save_strategy="no", logging_strategy="no", report_to=[],
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = InOrder(
        network, arguments, train_dataset=examples(kind), callbacks=[noise] if watched else [], compute_loss_func=loss,
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
    )  # fmt: skip
    trainer.train()
    return noise, raw.flat(network)


def sizes(kind: str, batch: Batch) -> Tensor:
    labels = batch["labels"][:, 1:] if kind == "gpt2" else batch["labels"]
    return labels.ne(-100).reshape(len(labels), -1).sum(1).double()


def naive(kind: str, rows: Tensor, counts: Tensor, places: Tensor) -> tuple[float, float, float]:
    """Return size, tr(Sigma) and |G|^2 from two norms: of the parts, and of the gradient as it is accumulated.

    A causal model's gradient is a mean over the tokens of the step, the others' a mean of the micro-batches' means.
    """
    total = counts.sum()
    of_pass = torch.zeros(int(places.max()) + 1, dtype=torch.float64).index_add(0, places, counts)[places]
    weights = counts / total if kind == "gpt2" else counts / of_pass / len(places.unique())
    within, whole = (counts * rows.square().sum(1)).sum() / total, (weights[:, None] * rows).sum(0).square().sum()
    spread = (weights.square() / counts).sum()
    trace = (within - whole) / (len(rows) / total - spread)
    return float(total), float(trace), float(whole - trace * spread)


def expected(kind: str, accumulated: int, each: bool) -> list[tuple[float, float, float]]:
    """Train in a plain loop; return size, tr(Sigma) and |G|^2 of each step."""
    network, found = model(kind), []
    optimizer = torch.optim.SGD(network.parameters(), raw.RATE)
    all_of = {name: torch.stack([one[name] for one in examples(kind)]) for name in ("input_ids", "labels")}
    pieces = [{n: one[i : i + raw.SIZE] for n, one in all_of.items()} for i in range(0, raw.COUNT, raw.SIZE)]
    for start in [*range(0, len(pieces), accumulated)] * raw.EPOCHS:
        window = pieces[start : start + accumulated]
        step = raw.SIZE if not each else 1
        parts = [
            (place, {n: o[i : i + step] for n, o in one.items()})
            for place, one in enumerate(window)
            for i in range(0, raw.SIZE, step)
        ]
        parts = [(place, one) for place, one in parts if sizes(kind, one).sum() > 0]
        rows = []
        for _, one in parts:
            gradients = torch.autograd.grad(network(**one).loss, list(network.parameters()), allow_unused=True)
            rows.append(torch.cat([g.flatten() for g in gradients if g is not None]).double())
        counts = torch.stack([sizes(kind, one).sum() for _, one in parts])
        found.append(naive(kind, torch.stack(rows), counts, torch.tensor([place for place, _ in parts])))
        trained = [one for one in window if sizes(kind, one).sum() > 0]
        for one in trained:
            # the Trainer counts first labels too, which nothing predicts
            share = (
                float(sizes(kind, one).sum() / sum(o["labels"].ne(-100).sum() for o in window))
                if kind == "gpt2"
                else 1.0
            )
            (network(**one).loss * share).backward()
        nn.utils.clip_grad_norm_(network.parameters(), raw.CLIP)
        optimizer.step()
        optimizer.zero_grad()
    return found


@pytest.mark.parametrize("kind", ["gpt2", "masked", "classes"])
@pytest.mark.parametrize(("accumulated", "unit", "each"), [(4, "auto", False), (4, "example", True), (1, "auto", True)])
def test_moments_are_those_of_the_plain_loop(
    kind: str, accumulated: int, unit: str, each: bool, tmp_path: Path
) -> None:
    raw.needs("transformers")
    noise, _ = fit(tmp_path, kind, accumulated, unit=unit)
    monitor, truth = noise.monitor, expected(kind, accumulated, each)
    assert monitor.messages == []
    assert monitor.counted_in == ("examples" if kind == "classes" else "tokens")
    assert len(monitor.history.measured) == len(truth) - 1
    for one in monitor.history.measured:
        size, trace, norm = truth[one.step]
        assert one.moments.examples == size
        assert one.moments.traces.sum() == pytest.approx(trace, rel=1e-4)  # float32, and clipping amplifies
        assert one.moments.squared_norms.sum() == pytest.approx(norm, abs=1e-4 * trace)


@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("kind", ["gpt2", "classes"])
def test_weights_are_the_same_bit_for_bit(kind: str, accumulated: int, tmp_path: Path) -> None:
    raw.needs("transformers")
    assert torch.equal(fit(tmp_path, kind, accumulated)[1], fit(tmp_path, kind, accumulated, watched=False)[1])


def own_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    return nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


def test_a_loss_that_does_not_show_what_it_is_must_be_declared(tmp_path: Path) -> None:
    raw.needs("transformers")
    noise, after = fit(tmp_path, "classes", 4, loss=own_loss)
    assert "reduction=" in noise.monitor.why_off
    assert torch.equal(after, fit(tmp_path, "classes", 4, loss=own_loss, watched=False)[1])
    noise, _ = fit(tmp_path, "classes", 4, loss=own_loss, reduction="share")
    assert noise.monitor.messages == []
    assert noise.reading().measured == 5


def test_a_reading_before_training_is_refused() -> None:
    raw.needs("transformers")
    from critbatch.integrations.transformers import NoiseScaleCallback

    with pytest.raises(RuntimeError, match=r"Trainer\.train"):
        NoiseScaleCallback().reading()
