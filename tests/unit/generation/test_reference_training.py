"""The training loop and the two networks: they learn, they resume, and what is folded in changes nothing."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from clearmark.generation.reference.autoencoder import (
    autoencoder_step,
    decoder_step,
    encode_all,
    new_autoencoder,
    normalise,
    to_bytes,
    to_tensor,
)
from clearmark.generation.reference.denoiser import (
    Latents,
    denoiser_step,
    new_denoiser,
    new_scheduler,
    validation_loss,
)
from clearmark.generation.reference.loop import Budget, Trainer, load_average, shuffled

WIDTHS = (8, 8, 8, 8, 8)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return np.repeat(np.repeat(rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), 8, 1), 8, 2)


def latents(count=6):
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn((count, 8, 16, 16), generator=generator).half()
    return Latents(
        plain=plain,
        mirrored=plain.flip(-1),
        may_mirror=torch.arange(count) % 2 == 0,
        text=torch.randn((3, 24, 384), generator=generator).half(),
        captions=[[1, 2]] * count,
        weights=[1.0] * count,
    )


class TestLoop:
    def test_the_rate_rises_then_falls_with_the_budget(self):
        budget = Budget(steps=100, seconds=10, learning_rate=1.0, warmup_steps=10)
        assert budget.rate(0, 0.0) == pytest.approx(0.1)
        assert budget.rate(50, 0.0) == pytest.approx(1.0)
        assert budget.rate(99, 1.0) == pytest.approx(0.01)
        assert budget.progress(10, 9.0) == 0.9
        assert budget.progress(1000, 0.0) == 1.0

    def test_each_pass_visits_everything_once_and_resuming_draws_the_same(self):
        draw = shuffled(10, 4, seed=3)
        seen = torch.cat([draw(step) for step in range(5)])
        assert sorted(seen[:10].tolist()) == list(range(10))
        assert sorted(seen[10:].tolist()) == list(range(10))
        assert shuffled(10, 4, seed=3)(2).tolist() == seen[8:12].tolist()
        weighted = shuffled(3, 50, seed=1, weights=[0.0, 1.0, 0.0])
        assert set(weighted(7).tolist()) == {1}

    def test_a_run_that_was_cut_off_ends_like_one_that_was_not(self, tmp_path):
        def stretch(until, path):
            torch.manual_seed(0)
            module = torch.nn.Linear(4, 1)
            trainer = Trainer(module, Budget(steps=40, learning_rate=0.1, warmup_steps=2), path, every=5)

            def step(number, _progress):
                if number == until:
                    raise KeyboardInterrupt
                x = torch.randn((8, 4), generator=torch.Generator().manual_seed(number))
                return {"loss": (module(x) - x.sum(1, keepdim=True)).square().mean()}

            if until < 40:
                with pytest.raises(KeyboardInterrupt):
                    trainer.run(step)
            else:
                trainer.run(step)

        def run(stops, name):
            for until in stops:
                stretch(until, tmp_path / name)
            fresh = torch.nn.Linear(4, 1)
            return load_average(fresh, tmp_path / name), fresh.weight.detach()

        whole, at_once = run([40], "a.pt")
        parts, in_parts = run([15, 40], "b.pt")
        assert whole.step == parts.step == 40
        assert torch.allclose(at_once, in_parts, atol=1e-6)
        assert whole.losses[-1]["loss"] < whole.losses[0]["loss"]


class TestAutoencoder:
    def test_bytes_survive_the_way_through_floats(self, pictures):
        assert (to_bytes(to_tensor(pictures)) == pictures).all()

    def test_a_few_steps_lower_the_loss(self, pictures, tmp_path):
        torch.manual_seed(0)
        vae = new_autoencoder(WIDTHS, 64)
        budget = Budget(steps=60, learning_rate=2e-3, warmup_steps=2)
        step = autoencoder_step(vae, pictures[:1] // 2, [1.0], batch=4, crop=32)
        history = Trainer(vae, budget, tmp_path / "vae.pt", every=10).run(step)
        assert history.losses[-1]["loss"] < 0.8 * history.losses[0]["loss"]

    def test_normalising_changes_the_latents_and_not_the_pictures(self, pictures):
        torch.manual_seed(0)
        vae = new_autoencoder(WIDTHS, 64).eval()
        with torch.inference_mode():
            before = vae.decode(vae.encode(to_tensor(pictures)).latent_dist.mean).sample
        raw = encode_all(vae, pictures).float()
        mean, std = raw.mean(dim=(0, 2, 3)), raw.std(dim=(0, 2, 3))
        normalise(vae, mean, std)
        made = encode_all(vae, pictures).float()
        assert made.mean(dim=(0, 2, 3)).abs().max() < 0.02
        assert (made.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02
        with torch.inference_mode():
            after = vae.decode(vae.encode(to_tensor(pictures)).latent_dist.mean).sample
        assert torch.allclose(before, after, atol=1e-3)

    def test_the_decoder_alone_can_go_on(self, pictures):
        vae = new_autoencoder(WIDTHS, 64)
        step = decoder_step(vae, pictures, encode_all(vae, pictures), [1.0] * 6, batch=2, cells=2)
        losses = step(0, 0.0)
        losses["loss"].backward()
        assert vae.encoder.conv_in.weight.grad is None
        assert vae.decoder.conv_out.weight.grad is not None


class TestDenoiser:
    def test_the_last_step_of_the_schedule_is_pure_noise(self):
        scheduler = new_scheduler()
        assert isinstance(scheduler, DPMSolverMultistepScheduler)
        assert scheduler.alphas_cumprod[-1] < 1e-6
        scheduler.set_timesteps(20)
        assert int(scheduler.timesteps[0]) == 999

    def test_it_learns_a_little_and_equal_steps_are_equal(self, tmp_path):
        torch.manual_seed(0)
        unet, data = new_denoiser((16, 16, 16)), latents()
        step = denoiser_step(unet, data, batch=4, seed=1)
        assert step(3, 0.0)["loss"].item() == step(3, 0.0)["loss"].item()
        before = validation_loss(unet, data)
        budget = Budget(steps=25, learning_rate=2e-3, warmup_steps=2, ema=0.8)
        Trainer(unet, budget, tmp_path / "unet.pt", every=5).run(step)
        assert validation_loss(unet, data) < before


def test_without_a_stage_all_of_them_run_and_an_unknown_one_is_refused(capsys):
    from clearmark.generation.reference.train import _parser

    assert _parser().parse_args([]).stages == []
    assert _parser().parse_args(["data", "sheet"]).stages == ["data", "sheet"]
    with pytest.raises(SystemExit):
        _parser().parse_args(["dream"])
    assert "no such stage: 'dream'" in capsys.readouterr().err
