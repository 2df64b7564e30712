"""Words of the command line that cannot be: each is refused in one line, and makes nothing."""

import pytest

from xception_jax.config import SETTINGS as ALL_SETTINGS

TRAIN = ("train", "CONFIG", "--workdir", "W")
SWEEP = ("sweep", "EXPERIMENT", "--workdir", "W")
PLAN = ("plan", "CONFIG")
PREDICT = ("predict", "FILE", "--weights")

COMMANDS = [
    (("trian",), "train"),
    (("",), "command"),
    (("--verison",), "--verison"),
    (("LONG",), "command"),
    (("🙂",), "🙂"),
    (("train",), "config"),
    (("train", "CONFIG"), "--workdir"),
    (("train", "CONFIG", "--workdr", "W"), "--workdir"),
    (("train", "CONFIG", "--workdir"), "--workdir"),
    (("train", "nothing.py", "--workdir", "W"), "nothing.py"),
    (("train", "", "--workdir", "W"), "file="),
    (("train", "LONG", "--workdir", "W"), "too long"),
    (("train", "ROOT/configs/fashion_mnist_min.py", "--workdir", "W"), "fashion_mnist_mini.py"),
    (("train", "EMPTY", "--workdir", "W"), "no such file"),
    (("train", "FILE", "--workdir", "W"), "SyntaxError"),
    (("train", "EXPERIMENT", "--workdir", "W"), "get_config"),
    (("train", "CONFIG", "--workdir", ""), "--workdir"),
    (("train", "CONFIG", "--workdir", "TMP/w\udcff"), "--workdir"),
    (("train", "CONFIG", "--workdir", "TMP/w\n5"), "control characters"),
    (("train", "CONFIG", "--workdir", "FILE"), "is a file"),
    (("train", "CONFIG", "--workdir", "FILE/below"), "below a file"),
    (("train", "CONFIG", "--workdir", "RUN"), "seed is 3 there and 0 here"),
    (("train", "CONFIG", "--workdir", "SWEEP"), "holds a sweep"),
    (("train", "CONFIG", "--workdir", "BROKEN"), "config.json"),
    (("train", "CONFIG", "--workdir", "/proc/nothing"), "--workdir"),
    (("train", "CONFIG", "--workdir", "W", "--seeds", "3"), "--seeds"),
    (("sweep",), "experiment"),
    (("sweep", "EXPERIMENT"), "--workdir"),
    (("sweep", "CONFIG", "--workdir", "W"), "get_experiment"),
    (("sweep", "nothing.py", "--workdir", "W"), "nothing.py"),
    (("sweep", "EXPERIMENT", "--workdir", "FILE"), "is a file"),
    (("sweep", "EXPERIMENT", "--workdir", "RUN"), "holds a single run"),
    (("sweep", "EXPERIMENT", "--workdir", "SWEEP"), "'another'"),
    (("sweep", "EXPERIMENT", "--workdir", "/proc/nothing"), "--workdir"),
    ((*SWEEP, "--seeds", "0"), "--seeds=0"),
    ((*SWEEP, "--seeds", "-2"), "--seeds=-2"),
    ((*SWEEP, "--seeds", "1000000"), "10000"),
    ((*SWEEP, "--seeds", "9" * 300), "--seeds"),
    ((*SWEEP, "--seeds", "few"), "--seeds='few'"),
    ((*SWEEP, "--seeds", "2.5"), "--seeds='2.5'"),
    ((*SWEEP, "--seeds", "nan"), "--seeds='nan'"),
    ((*SWEEP, "--packing", "0"), "--packing=0"),
    ((*SWEEP, "--packing", "-1"), "--packing=-1"),
    ((*SWEEP, "--packing", "2000"), "1024"),
    ((*SWEEP, "--packing", "of"), "'off'"),
    ((*SWEEP, "--packing", ""), "--packing"),
    (("status",), "directory"),
    (("status", ""), "names no directory"),
    (("status", "TMP/w\udcff"), "not UTF-8"),
    (("report", "TMP/w\x1b[2J"), "directory='"),
    (("confirm", "TMP/w\udcff", "--workdir", "W"), "not UTF-8"),
    (("evaluate", "TMP/w\udcff"), "not UTF-8"),
    (("status", "nowhere"), "nowhere"),
    (("status", "EMPTY"), "neither"),
    (("status", "FILE"), "is a file"),
    (("status", "BROKEN"), "BROKEN"),
    (("status", "LONG"), "too long"),
    (("report",), "directory"),
    (("report", "nowhere"), "nowhere"),
    (("report", "EMPTY"), "EMPTY"),
    (("report", "FILE"), "is a file"),
    (("report", "SWEEP", "ten", "--watch"), "'ten'"),
    (("report", "SWEEP", "5"), "--watch"),
    (("report", "SWEEP", "0", "--watch"), "SECONDS"),
    (("report", "SWEEP", "nan", "--watch"), "SECONDS"),
    (("audit", "nowhere"), "nowhere"),
    (("audit", "EMPTY"), "EMPTY"),
    (("sync", "nowhere"), "nowhere"),
    (("sync", "EMPTY"), "EMPTY"),
    (("sync", "SWEEP"), "none of its runs has begun"),
    (("plan",), "file"),
    (("plan", "nothing.py"), "nothing.py"),
    (("plan", "FILE"), "SyntaxError"),
    ((*PLAN, "--pilot", "SWEEP"), "--pilot"),
    (("plan", "EXPERIMENT", "--pilot", "EMPTY"), "EMPTY"),
    (("plan", "EXPERIMENT", "--pilot", "SWEEP"), "--pilot"),
    ((*PLAN, "--json"), "--json: goes with --topology"),
    ((*PLAN, "--largest-batch"), "--largest-batch: goes with --topology"),
    ((*PLAN, "--topology", "v5e:2x2", "--modules"), "--modules: goes without --topology"),
    ((*PLAN, "--topology", "v5e:2x2", "--pilot", "SWEEP"), "--pilot: goes without --topology"),
    (("data",), "command"),
    (("data", "lits"), "list"),
    (("data", "prepare"), "name"),
    (("data", "prepare", "fashion_mnits"), "fashion_mnits"),
    (("data", "prepare", ""), "data.name"),
    (("data", "prepare", "../up"), "data.name='../up'"),
    (("data", "prepare", "a b"), "data.name='a b'"),
    (("data", "prepare", "LONG"), "data.name"),
    (("data", "prepare", "fashion_mnist", "--from", "EMPTY", "--directory", "W"), "EMPTY"),
    (("data", "prepare", "fashion_mnist", "--from", "nowhere", "--directory", "W"), "nowhere"),
    (("data", "prepare", "fashion_mnist_mini", "--directory", "FILE"), "FILE"),
    (("data", "list", "--directory"), "--directory"),
]
OF_WEIGHTS = [
    (("evaluate",), "directory"),
    (("evaluate", "nowhere"), "directory='nowhere': no such directory"),
    (("evaluate", "EMPTY"), "EMPTY"),
    (("evaluate", "FILE"), "is a file"),
    (("evaluate", "RUN", "--step", "0"), "--step"),
    (("evaluate", "RUN", "--split", "tset"), "--split"),
    (("evaluate", "RUN"), "RUN"),
    (("evaluate", "SWEEP"), "SWEEP"),
    (("evaluate", "BROKEN"), "BROKEN"),
    (("evaluate", "RUN", "--config", "CONFIG"), "--config"),
    (("evaluate", "RUN", "seed=1"), "override"),
    (("convert",), "source"),
    (("convert", "FILE"), "destination"),
    (("convert", "nothing.h5", "W"), "nothing.h5"),
    (("convert", "FILE", "W"), "FILE"),
    (("convert", "EMPTY", "W"), "EMPTY"),
    (("convert", "nothing.h5", "EMPTY"), "exists"),
    (("convert", "nothing.h5", "TMP/made.h5"), "destination"),
    (("convert", "nothing.h5", "W", "--size", "0"), "--size"),
    (("convert", "nothing.h5", "W", "--model", "xceptoin"), "nothing.h5"),
    (("convert", "nothing.h5", "W", "--class-names", "nowhere.txt"), "nowhere.txt"),
    (("convert", "model.pth", "W"), ".safetensors"),
    (("predict",), "images"),
    (("predict", "FILE"), "--weights"),
    (("predict", "nowhere.jpg", "--weights", "EMPTY"), "nowhere.jpg"),
    (("predict", "EMPTY", "--weights", "EMPTY"), "EMPTY"),
    ((*PREDICT, "EMPTY"), "weights.json"),
    ((*PREDICT, "FILE"), "weights.json"),
    ((*PREDICT, "EMPTY", "--top", "0"), "--top"),
    ((*PREDICT, "EMPTY", "--batch-size", "0"), "--batch-size"),
    (("export", "EMPTY"), "--output"),
    (("export", "EMPTY", "--output", "W"), "weights.json"),
    (("export", "EMPTY", "--output", "TMP"), "--output"),
    (("export", "EMPTY", "--output", "TMP/no/where"), "--output"),
    (("export", "EMPTY", "--output", "W", "--platforms", "abacus"), "weights.json"),
]
SETTINGS = [
    ((*TRAIN, "seed"), "key=value"),
    ((*TRAIN, ""), "key=value"),
    ((*TRAIN, "=3"), "key=value"),
    ((*TRAIN, "LONG"), "key=value"),
    ((*TRAIN, "LONG=3"), "unknown field"),
    ((*TRAIN, "é=3"), "unknown field"),
    ((*TRAIN, "model.intermediate_activaton=relu"), "'model.intermediate_activation'"),
    ((*TRAIN, "model.intermediate_activation=rellu"), "'relu'"),
    ((*TRAIN, "model.intermediate_activation=softmax"), "model.intermediate_activation"),
    ((*TRAIN, "model.intermediate_activation=__doc__"), "model.intermediate_activation"),
    ((*TRAIN, "model.name=xceptoin"), "'xception'"),
    ((*TRAIN, "model.name="), "model.name"),
    ((*TRAIN, "model.name=../up"), "model.name"),
    ((*TRAIN, "model.name=LONG"), "model.name"),
    ((*TRAIN, "model.depthwise_implementation=lacks"), "model.depthwise_implementation"),
    ((*TRAIN, "model.kernel_size=4"), "kernel_size"),
    ((*TRAIN, "model.segments=7"), "segments"),
    ((*TRAIN, "model.segments=1.5"), "model.segments=1.5"),
    ((*TRAIN, "model.segments=[1]"), "model.segments"),
    ((*TRAIN, "model.width=0"), "0.01"),
    ((*TRAIN, "model.width=1e9"), "16"),
    ((*TRAIN, "model.middle_modules=-1"), "model.middle_modules=-1"),
    ((*TRAIN, "model.middle_modules=1000"), "256"),
    ((*TRAIN, "model.fully_connected=[1e9]"), "1048576"),
    ((*TRAIN, "model.fully_connected=[[8]]"), "model.fully_connected"),
    ((*TRAIN, "model.fully_connected={}"), "model.fully_connected"),
    ((*TRAIN, "seed=-1"), "seed=-1"),
    ((*TRAIN, "seed=99999999999"), "2147483647"),
    ((*TRAIN, "seed=True"), "seed=True"),
    ((*TRAIN, "train.epochs=-3"), "train.epochs=-3"),
    ((*TRAIN, "train.epochs=inf"), "train.epochs"),
    ((*TRAIN, "train.batch_size=two"), "train.batch_size='two'"),
    ((*TRAIN, "train.batch_size=2e9"), "1048576"),
    ((*TRAIN, "train.accumulation_steps=3"), "train.batch_size=64"),
    ((*TRAIN, "train.initial_weights=nowhere"), "train.initial_weights='nowhere'"),
    ((*TRAIN, "train.initial_weights=LONG"), "train.initial_weights"),
    ((*TRAIN, "train.initial_weights=EMPTY"), "EMPTY"),
    ((*TRAIN, "train.initial_weights=FILE"), "FILE"),
    ((*TRAIN, "optimizer.learning_rate=nan"), "optimizer.learning_rate"),
    ((*TRAIN, "optimizer.learning_rate=1e300"), "1000"),
    ((*TRAIN, "data.name=cifar"), "cifar10"),
    ((*TRAIN, "data.name=../up"), "data.name='../up'"),
    ((*TRAIN, "data.name=a b"), "data.name='a b'"),
    ((*TRAIN, "data.name=LONG"), "data.name"),
    ((*TRAIN, "data.name=LONG", "data.directory=EMPTY"), "data.name"),
    ((*TRAIN, "data.name=été"), "data.name"),
    ((*TRAIN, "data.name="), "data.name"),
    ((*TRAIN, "data.name=cifar10", "data.directory=EMPTY"), "cifar10"),
    ((*TRAIN, "data.name=folder"), "data.directory"),
    ((*TRAIN, "data.name=folder", "data.directory=EMPTY"), "EMPTY"),
    ((*TRAIN, "data.name=folder", "data.directory=FILE"), "FILE"),
    ((*TRAIN, "data.name=folder", "data.directory=LONG"), "data.directory"),
    ((*TRAIN, "data.name=folder", "data.directory=FOLDER"), "holds no images"),
    ((*TRAIN, "data.train_examples=100000"), "10800"),
    ((*TRAIN, "data.train_examples=0"), "data.train_examples=0"),
    ((*TRAIN, "data.pipeline=memory"), "'in_memory'"),
    ((*TRAIN, "data.padding=28"), "data.padding=28"),
    ((*TRAIN, "data.image_size=0"), "data.image_size=0"),
    ((*TRAIN, "data.image_size=3", "model.name=alexnet"), "data.image_size=3"),
    ((*TRAIN, "data.image_size=28", "model.name=inception_v3"), "data.image_size=28"),
    ((*TRAIN, "data.augmentation=random_resized_crop", "data.pipeline=in_memory"), "data.augm"),
    ((*SWEEP, "seed=3"), "--seeds"),
    ((*SWEEP, "model.intermediate_activation=relu"), "arm"),
    ((*SWEEP, "train.epoch=3"), "'train.epochs'"),
    ((*SWEEP, "model.segments=7"), "(arm 'none')"),
    ((*SWEEP, "data.name=cifar"), "cifar10"),
    ((*SWEEP, "data.image_size=4000", "data.pipeline=in_memory", "data.padding=4000"), "512"),
    ((*PLAN, "model.ordr=x"), "'model.order'"),
    ((*PLAN, "seed"), "key=value"),
    ((*PLAN, "model.name=xceptoin"), "'xception'"),
    ((*PLAN, "model.segments=7"), "segments"),
    ((*PLAN, "data.name=cifar"), "cifar10"),
    (("plan", "EXPERIMENT", "model.segments=7"), "segments"),
]
# For every field a value of another type than its own, whatever that is.
WRONG_TYPES = [((*TRAIN, f"{name}={{'a':1}}"), name) for name in ALL_SETTINGS]


def test_the_tables_are_long():
    """The tables hold the 200 cases or more that are promised."""
    tables = (COMMANDS, OF_WEIGHTS, SETTINGS, WRONG_TYPES)
    assert len({words for table in tables for words, _ in table}) >= 200


def ids(table):
    return [" ".join(words)[-60:] for words, _ in table]


@pytest.mark.parametrize(("words", "named"), COMMANDS, ids=ids(COMMANDS))
def test_commands(words, named, refused):
    refused(words, named)


@pytest.mark.parametrize(("words", "named"), OF_WEIGHTS, ids=ids(OF_WEIGHTS))
def test_commands_on_weights(words, named, refused):
    refused(words, named)


@pytest.mark.parametrize(("words", "named"), SETTINGS, ids=ids(SETTINGS))
def test_settings(words, named, refused):
    refused(words, named)


@pytest.mark.parametrize(("words", "named"), WRONG_TYPES, ids=ids(WRONG_TYPES))
def test_settings_of_another_type(words, named, refused):
    refused(words, named)
