"""Batches: labels follow their images, the order is seeded, processes share one batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.config import Augment, Balance, Loss, Recipe
from mien.data.dataset import FaceDataset, one_hot
from mien.errors import DataError
from mien.preprocess import Preprocess
from mien.training.batches import Batches, enlarged, epoch_seed, shrunk

PLAIN = Preprocess(size_px=8, scale=1.0, mean=(0.0,), std=(1.0,))
STILL = Augment(flip_probability=0.0)


def numbered(n: int = 23) -> FaceDataset:
    """Every picture shows its own label times ten plus its row."""
    truth = np.arange(n) % 5
    images = np.broadcast_to((truth * 40 + np.arange(n)).astype(np.uint8)[:, None, None, None], (n, 8, 8, 1))
    return FaceDataset(
        images.copy(), one_hot(truth, 5), tuple(map(str, range(n))), np.full(n, "train"), tuple("abcde")
    )


def batches(augmentation: Augment = STILL, *, data=None, rank=0, world_size=1, **options) -> Batches:
    options = {"network": "mien_nano", "batch_size": 6, "input": PLAIN, "augment": augmentation, **options}
    recipe = Recipe(**options)
    return Batches(data or numbered(), recipe, torch.device("cpu"), rank=rank, world_size=world_size)


def rows_of(x: torch.Tensor) -> list[int]:
    """Return which picture of `numbered` each one is."""
    shown = {(r % 5) * 40 + r: r for r in range(23)}
    return [shown[value] for value in x.mean((1, 2, 3)).round().int().tolist()]


def uneven() -> FaceDataset:
    """Ten pictures of a, two of b, one of c, then test pictures that no batch may hold."""
    truth = np.array([0] * 10 + [1] * 2 + [2] + [0, 1, 2])
    images = np.broadcast_to((truth * 80 + 7).astype(np.uint8)[:, None, None, None], (16, 8, 8, 1)).copy()
    images[13:] = 255
    split = np.array(["train"] * 13 + ["test"] * 3)
    return FaceDataset(images, one_hot(truth, 3), tuple(map(str, range(16))), split, tuple("abc"))


def test_labels_follow_their_images():
    seen = []
    for x, y in batches().epoch(0):
        assert (x.shape, y.shape) == ((6, 1, 8, 8), (6, 5))
        assert [row % 5 for row in rows_of(x)] == y.argmax(1).tolist()
        seen += rows_of(x)
    assert len(seen) == len(set(seen)) == 18  # three whole batches, no row twice


def test_every_epoch_has_its_own_order_and_every_seed_too():
    def order(batches: Batches, epoch: int) -> list[float]:
        return [value for x, _ in batches.epoch(epoch) for value in x.mean((1, 2, 3)).tolist()]

    assert order(batches(), 0) == order(batches(), 0)
    assert order(batches(), 0) != order(batches(), 1)
    assert order(batches(), 0) != order(batches(seed=1), 0)
    assert epoch_seed(0, 1) != epoch_seed(1, 0)


def test_early_pictures_are_smaller_means_of_the_whole_ones():
    """Half of three epochs of three steps: four and a half steps, so five with small pictures."""
    small = batches(epochs=3, resizing={"early_size_px": 4, "until_fraction": 0.5})
    steps = [(x, y) for epoch in range(3) for x, y in small.epoch(epoch)]
    assert [x.shape[-1] for x, _ in steps] == [4] * 5 + [8] * 4
    for x, y in steps:
        assert [row % 5 for row in rows_of(x)] == y.argmax(1).tolist()
    assert small.example().shape == (6, 1, 8, 8)


def test_a_shrunk_picture_keeps_its_mean_and_its_sides():
    x = torch.zeros(1, 1, 48, 48)
    x[..., :24] = 240.0
    small = shrunk(x, 32)
    assert small.shape == (1, 1, 32, 32)
    torch.testing.assert_close(small[..., :15], torch.full((1, 1, 32, 15), 240.0))
    assert small.mean().item() == pytest.approx(120, abs=1e-4)
    assert shrunk(x, 48) is x


OTHER_WORLDS = {"gamma_fraction": 0.5,
                "light_slope_fraction": 0.3, "downscale_fraction": 0.5, "jpeg_probability": 0.5,
                "noise_fraction": 0.1, "degrade_probability": 0.5}  # fmt: skip


@pytest.mark.parametrize("mixing", [{}, {"mixup_probability": 0.5, "cutmix_probability": 0.5}, OTHER_WORLDS])
@pytest.mark.parametrize("sampler", ["shuffled", "weighted"])
def test_two_processes_together_see_the_batch_of_one(sampler, mixing):
    strong = Augment(
        rotation_deg=10.0, shift_fraction=0.1, erase_probability=0.5, contrast_fraction=0.2, blur_sigma_px=1.0,
        sharpness_fraction=0.5, vertical_flip_probability=0.5, copies_per_image=2, **mixing,
    )  # fmt: skip
    options = {"balance": Balance(sampler=sampler, enlarge_to_ratio=1.0), "loss": Loss(drawn_targets=True)}
    whole = list(batches(strong, data=uneven(), **options).epoch(3))
    shares = [
        list(batches(strong, data=uneven(), rank=rank, world_size=2, **options).epoch(3)) for rank in range(2)
    ]
    assert len(whole) > 2
    for (x, y), *parts in zip(whole, *shares, strict=True):
        for rank, (part_x, part_y) in enumerate(parts):
            assert torch.equal(part_x, x[rank::2])
            assert torch.equal(part_y, y[rank::2])


def test_input_is_the_preprocessing_of_the_classifier():
    spec = Preprocess(size_px=8)
    data = numbered()
    ((x, _),) = batches(data=data, input=spec, batch_size=23).epoch(0)
    want = np.sort(spec.normalise(data.images).ravel())
    np.testing.assert_allclose(np.sort(x.numpy().ravel()), want, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 24}, "23 training images do not fill a batch of 24: lower batch_size"),
        ({"world_size": 4}, "a batch of 6 does not divide among 4 processes"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        batches(**options)


def test_only_training_pictures_are_served():
    assert all(float(x.max()) < 200 for x, _ in batches(data=uneven()).epoch(0))


def test_several_copies_of_an_image_in_a_step_each_changed_in_its_own_way():
    changed = Augment(flip_probability=0.0, brightness_fraction=0.05, copies_per_image=3)
    made = batches(changed)
    assert len(made) == 23 // 2  # two images of a batch of six
    for x, y in made.epoch(0):
        assert y.argmax(1).tolist() == [label for label in y.argmax(1).tolist()[::3] for _ in range(3)]
        values = x.mean((1, 2, 3))
        assert len(set(values.tolist())) > 2
        assert (values.view(2, 3) - values.view(2, 3)[:, :1]).abs().max() < 2 * 0.05 * 255


def test_the_weighted_sampler_shows_every_class_as_often():
    made = batches(data=uneven(), balance=Balance(sampler="weighted"), batch_size=13)
    seen = sum(y.sum(0) for epoch in range(300) for _, y in made.epoch(epoch))
    assert ((seen / seen.sum() - 1 / 3).abs() < 0.03).all()


def test_enlargement_adds_changed_copies_of_the_rare_classes_only():
    recipe = Recipe(network="mien_nano", input=PLAIN, balance=Balance(enlarge_to_ratio=0.5))
    data = enlarged(uneven(), recipe)
    assert [name.split("/")[0] for name in data.ids[16:]] == ["copy"] * 7
    assert np.bincount(data.truth[data.rows("train")]).tolist() == [10, 5, 5]
    assert (data.images[:16] == uneven().images).all()
    assert len(data.rows("test")) == 3
    assert not (data.images[16:] == uneven().images[10]).all(axis=(1, 2, 3)).any()
    again, other = enlarged(uneven(), recipe), enlarged(uneven(), recipe.model_copy(update={"seed": 1}))
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("change", [{"noise_fraction": 0.1}, {"brightness_fraction": 0.2}])
def test_copies_are_cut_off_at_black_and_white(change):
    """Bytes would begin again at the other end."""
    data = uneven()
    halves = np.repeat([5, 250], 4)[:, None].astype(np.uint8)
    data = replace(data, images=np.broadcast_to(halves, data.images.shape).copy())
    quiet = Augment(flip_probability=0, clip_light=False, outside="border", **change)
    copies = enlarged(
        data, Recipe(network="mien_nano", input=PLAIN, balance=Balance(enlarge_to_ratio=1.0, copies=quiet))
    )
    made = copies.images[len(data) :]
    assert made[:, :, :4].max() < 128 < made[:, :, 4:].min()


def test_class_counts_are_those_before_any_enlargement():
    assert batches(data=uneven(), balance=Balance(enlarge_to_ratio=1.0)).counts.tolist() == [10, 2, 1]


def test_what_is_drawn_is_after_enlargement_and_even_with_the_weighted_sampler():
    made = {
        (sampler, ratio): batches(
            data=uneven(), balance=Balance(sampler=sampler, enlarge_to_ratio=ratio)
        ).drawn
        for sampler, ratio in [("shuffled", 0.0), ("shuffled", 0.5), ("weighted", 0.0)]
    }
    assert [drawn.tolist() for drawn in made.values()] == [[10, 2, 1], [10, 5, 5], [1, 1, 1]]


def test_drawn_targets_follow_the_votes():
    data = replace(uneven(), targets=np.tile(np.float32([0.7, 0.3, 0.0]), (16, 1)))
    made = batches(data=data, loss=Loss(drawn_targets=True), batch_size=13)
    drawn = torch.cat([y for epoch in range(200) for _, y in made.epoch(epoch)])
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert abs(float(drawn[:, 0].mean()) - 0.7) < 0.03
    assert float(drawn[:, 2].max()) == 0


def test_strength_rises_over_the_run():
    ramped = Augment(brightness_fraction=0.4, ramp_start_fraction=0.0, ramp_end_fraction=0.5)
    assert ramped.at(0.0).brightness_fraction == 0
    assert ramped.at(0.25).brightness_fraction == pytest.approx(0.2)
    assert ramped.at(0.75) is ramped
    made = batches(ramped, data=numbered(), epochs=4)
    first, last = next(iter(made.epoch(0))), list(made.epoch(3))
    assert rows_of(first[0]) == [int(row) for row in rows_of(first[0])]  # unchanged, so every value is known
    assert any(float((x - x.round()).abs().max()) > 0.01 for x, _ in last)


def test_a_picture_without_a_label_is_refused():
    targets = uneven().targets.copy()
    targets[3] = 0
    with pytest.raises(
        DataError, match="images without a label in .*: 1, the first is 3; training and evaluation need"
    ):
        batches(data=replace(uneven(), targets=targets))


def test_a_mapped_set_is_not_copied(tmp_path):
    images = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(23, 8, 8, 1))
    images[:] = numbered().images
    made = batches(data=replace(numbered(), images=images))
    assert made.images.data_ptr() == images.ctypes.data
