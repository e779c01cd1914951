"""lib.models: wrapped and odd models, and what is refused of them."""

import pytest
import torch
from odd_models import IMAGES, LABELS, Net, everything
from torch import nn
from torch.nn import functional

from lib import importance, oracle, pruning
from lib.images import training
from lib.network import models
from lib.study import larger


def parts_compiled(model):
    model.second = torch.compile(model.second, backend="eager")
    return model


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


WRAPPERS = {
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "torch.compile of a part": parts_compiled,
    "torch.compile in place": compiled_in_place,
    "DataParallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_model_is_what_is_inside(wrap):
    model = WRAPPERS[wrap](Net().eval())
    with torch.no_grad():
        model(IMAGES), model(IMAGES)  # as for measuring its accuracy first
    for found, right in zip(everything(model), everything(Net().eval()), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)


class Counts(Net):
    """Answers otherwise each time."""

    count = 0

    def forward(self, x):
        self.count += 1
        return super().forward(x) * self.count


class Averages(Net):
    """Keeps an average of what it has seen."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        self.seen += x.mean((0, 2, 3))
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Counts(), "Counts is random although in eval mode"),
        (Averages(), "seen changes in every pass although in eval mode"),
        (Net(lambda layer, x: layer(functional.instance_norm(x) + x.amax(0))), "examples influence each other"),
        (Net(lambda layer, x: layer(x - x.mean(0))), "examples influence each other"),
    ],
)  # fmt: skip
def test_logits_that_depend_on_more_than_the_example_are_refused(model, message):
    before = {name: value.clone() for name, value in model.eval().state_dict().items()}
    for call in (
        lambda: importance.score(model, [(IMAGES, None)], "sq:rand"),
        lambda: pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2),
        lambda: oracle.score(model, [(IMAGES, None)]),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_of_what_leaves_torch_is_neither_a_gradient_nor_a_share_left():
    model = Net(lambda layer, x: torch.from_numpy(layer(x).detach().numpy())).eval()
    with pytest.raises(ValueError, match="Net cuts gradients off on the way to its logits"):
        importance.score(model, [(IMAGES, None)], "sq:rand")
    with pytest.warns(UserWarning, match="^shares left are not known: what the network does depends on its values"):
        assert pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2)["macs"].isna().all()
    oracle.score(model, [(IMAGES, None)])


class Unfriendly(torch.autograd.Function):
    """Without a derivative."""

    @staticmethod
    def forward(ctx, x):
        return x * 2


@pytest.mark.parametrize("names", ["sq:rand", "molchanov-group:rand"])
def test_what_cannot_be_differentiated_is_refused_in_one_line(names):
    model = Net(lambda layer, x: layer(Unfriendly.apply(x))).eval()
    with pytest.raises(ValueError, match=r"^Net cannot be differentiated, as scores need it \(") as caught:
        importance.score(model, [(IMAGES, None)], names)
    assert "\n" not in str(caught.value)


def test_what_a_model_raises_of_its_own_is_left_as_it_is():
    class Own(Exception):
        pass

    def fail(layer, x):
        raise Own

    with pytest.raises(Own):
        importance.score(Net(fail).eval(), [(IMAGES, None)], "sq:rand")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda z: (z, z), "the model gives a tuple, not one tensor of logits"),
        (lambda z: {"logits": z}, "the model gives a dict, not one tensor of logits"),
        (lambda z: z[:, :, None], r"the model gives an output of shape \(2, 4, 1\) for 2 images, not logits"),
        (lambda z: z.argmax(1), r"the model gives an output of shape \(2,\) for 2 images, not logits"),
        (lambda z: z.round().long(), r"the model gives int64 numbers, not logits"),
    ],
)
def test_outputs_that_are_no_logits_are_refused_alike(out, message):
    model = Net(out=out).eval()
    calls = [
        lambda: importance.units(model, IMAGES[:1]), lambda: importance.score(model, [(IMAGES, None)], ["sq:rand"]),
        lambda: importance.score(model, [(IMAGES, None)], ["synflow", "l2"]),
        lambda: oracle.score(model, [(IMAGES, None)]),
        lambda: pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2),
        lambda: pruning.slim(model, torch.rand(8), IMAGES[:1]),
        lambda: pruning.masked(model, torch.arange(8), 2, example=IMAGES[:1]).__enter__(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_model_that_squeezes_is_told_of_a_last_batch_of_one():
    model = Net(lambda layer, x: layer(x).mean((2, 3)).squeeze()[..., None, None]).eval()
    model.forward = lambda x: model.classifier(model.second(model.first(x).relu()).mean((2, 3)).squeeze())[..., :4]
    importance.score(model, [(IMAGES, None)], ["sq:rand", "apoz"])
    batches = [(IMAGES[:5], None), (IMAGES[5:], None)]
    for call in (lambda: importance.score(model, batches, ["sq:rand"]), lambda: oracle.score(model, batches)):
        with pytest.raises(ValueError, match=r"output of shape \(4,\) for 1 image, .*drops the axis of a batch of one"):
            call()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.mul(255).to(torch.uint8), r"images are uint8, not normalised as for training: datasets.normalise\("),
        (IMAGES.numpy(), r"all tensors, not a ndarray: torch.from_numpy\(...\) makes one of it"),
    ],
)
def test_images_that_are_not_normalised_tensors_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        importance.score(Net().eval(), [(images, None)], ["sq:rand"])
    with pytest.raises(ValueError, match=r"images (are|must be)"):
        pruning.curve(Net().eval(), torch.arange(8), images, LABELS, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_images_are_given_the_type_of_the_model(dtype):
    found, right = Net().eval().to(dtype), Net().eval()
    scores = [importance.score(model, [(IMAGES, LABELS)], ["sq"])["sq"] for model in (found, right)]
    torch.testing.assert_close(scores[0], scores[1], rtol=0.2, atol=0.05 * float(scores[1].max()))
    oracle.score(found, [(IMAGES, LABELS)])
    assert len(pruning.curve(found, pruning.order(scores[0]), IMAGES, LABELS, 3)) == 3
    small = pruning.slim(found, scores[0], IMAGES[:1], budget=0.3)
    assert next(small.parameters()).dtype == dtype


@pytest.mark.parametrize("name", ["sq", "sq:rand:norm"])
def test_one_name_is_a_list_of_one(name):
    model = Net().eval()
    one, listed = importance.score(model, [(IMAGES, LABELS)], name), importance.score(model, [(IMAGES, LABELS)], [name])
    assert one.keys() == {name} and torch.equal(one[name], listed[name])


def test_labels_in_a_column_are_refused_by_all():
    column = LABELS[:, None]
    for call in (
        lambda: importance.score(Net().eval(), [(IMAGES, column)], ["sq"]),
        lambda: oracle.score(Net().eval(), [(IMAGES, column)]),
        lambda: pruning.curve(Net().eval(), torch.arange(8), IMAGES, column, 2),
        lambda: larger.curve(Net().eval(), torch.arange(8), [(IMAGES, column)], 2),
        lambda: training.evaluate(Net().eval(), IMAGES, column),
    ):
        with pytest.raises(ValueError, match=r"labels must be a tensor \(6,\), one per image, not of shape \(6, 1\)"):
            call()


@pytest.mark.parametrize("wrong", [LABELS + 3, LABELS - 1, LABELS.double()])
def test_labels_that_are_no_classes_are_refused_by_all(wrong):
    for call in (
        lambda: importance.score(Net().eval(), [(IMAGES, wrong)], ["sq"]),
        lambda: oracle.score(Net().eval(), [(IMAGES, wrong)]),
        lambda: pruning.curve(Net().eval(), torch.arange(8), IMAGES, wrong, 2),
        lambda: larger.curve(Net().eval(), torch.arange(8), [(IMAGES, wrong)], 2),
        lambda: training.evaluate(Net().eval(), IMAGES, wrong),
    ):
        with pytest.raises(ValueError, match=r"labels must be 6 whole numbers from 0 to 3, one per image"):
            call()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_no_classes(value):
    net = Net().eval()
    classes = models.predict(net, IMAGES, batch=4)
    assert classes.tolist() == net(IMAGES).argmax(1).tolist()
    net.classifier.bias.data[2] = value
    calls = [
        lambda: models.predict(net, IMAGES, batch=4),
        lambda: training.evaluate(net, IMAGES, classes),
        lambda: pruning.curve(net, torch.arange(8), IMAGES, classes, 2),
        lambda: larger.curve(net, torch.arange(8), [(IMAGES, classes)], 2),
        lambda: importance.score(net, [(IMAGES, None)], ["sq:rand"]),
        lambda: oracle.score(net, [(IMAGES, None)]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"logits (or scores )?are not finite; check the model's weights and"):
            call()
    with pytest.raises(ValueError, match=r"^logits are not finite with 3 units off; check the model's weights and its"):
        models.predict(net, IMAGES, when="with 3 units off")


def test_one_image_of_many_without_finite_logits_is_enough():
    images = IMAGES.clone()
    images[5] = float("nan")
    with pytest.raises(ValueError, match="logits are not finite"):
        models.predict(Net().eval(), images, batch=2)


class ByStrides(nn.Module):
    """Cuts images of 4 x 4 into rows, wherever these lie in memory."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rows, self.classifier = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.classifier(self.rows(x.as_strided((len(x), 12, 4), (48, 4, 1))).relu().mean(1))


@pytest.mark.parametrize("compact", [True, False])
def test_images_are_answered_in_the_layout_that_they_have(compact, monkeypatch):
    if not compact:
        monkeypatch.setattr(pruning, "Compact", None)
    net, images = ByStrides().eval(), torch.randn(200, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = net(images).argmax(1)
        assert not torch.equal(net(models.channels_last(images)).argmax(1), labels)
    assert torch.equal(models.predict(net, images, batch=50), labels)
    found = []
    for k in pruning.steps(8, 3):
        with torch.no_grad(), pruning.masked(net, torch.arange(8), k, example=images[:1]):
            found.append((net(images).argmax(1) == labels).double().mean().item())
    assert pruning.curve(net, torch.arange(8), images, labels, 3)["accuracy"].tolist() == found


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Conv1d(2, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)), (2, 9)),
        (nn.Sequential(nn.Conv3d(2, 8, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)), (2, 4, 4, 4)),
        (nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)), (20,)),
    ],
)  # fmt: skip
def test_curves_of_networks_that_take_no_pictures(net, shape):
    images = torch.randn(7, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = net.eval()(images).argmax(1)
    table = pruning.curve(net, torch.arange(8), images, labels, 3)
    for k, accuracy in zip(table["pruned"], table["accuracy"], strict=True):
        with torch.no_grad(), pruning.masked(net, torch.arange(8), k, example=images[:1]):
            assert accuracy == (net(images).argmax(1) == labels).double().mean().item()


def test_a_single_number_has_no_largest_and_no_number_is_no_logits():
    one, none = Net().eval(), Net().eval()
    one.register_forward_hook(lambda module, inputs, logits: logits[:, :1])
    none.register_forward_hook(lambda module, inputs, logits: logits[:, :0])
    scores = importance.score(one, [(IMAGES, None)], ["sq:rand"])["sq:rand"]
    with pytest.raises(ValueError, match=r"^the model gives one number z for an image, and answers are the largest of"):
        pruning.curve(one, pruning.order(scores), IMAGES, torch.zeros_like(LABELS), 3)
    with pytest.raises(ValueError, match=r"^the model gives an output of shape \(\d+, 0\), which holds no logits$"):
        importance.score(none, [(IMAGES, None)], ["sq:rand"])


def test_the_remedy_for_a_missing_axis_is_given_where_it_is_one():
    tokens = nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Unflatten(1, (8, 12)), nn.Conv1d(8, 4, 3)).eval()
    with pytest.raises(ValueError) as caught:
        models.run(tokens, torch.full((2, 12), 9))
    assert "images of shape (12,) each" in str(caught.value) and "axes are needed" not in str(caught.value)
    with pytest.raises(ValueError, match=r"3 axes are needed, of images first; a single one is images\[None\]$"):
        models.run(nn.Sequential(nn.Conv1d(8, 4, 3), nn.Linear(10, 2), nn.Softmax(1)).eval(), torch.randn(3, 12))
