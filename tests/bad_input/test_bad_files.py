"""Config, experiment and record files that cannot be: each is refused in one line."""

import json
from pathlib import Path

import pytest

from xception_jax.config.schema import SETTINGS

EXPERIMENT = """\
from xception_jax.sweep import Claim, Effect, Experiment, Interaction, Trend


def get_experiment():
    relu = {{"model.intermediate_activation": "relu"}}
    arms = {{"none": {{}}, "relu": relu}}
    given = dict(name="q", hypothesis="h", base="base.py", arms=arms, seeds=2)
    return Experiment(**(given | dict({changes})))
"""
BASE = "def get_config():\n    return {}\n"
CONFIGS = [
    ("", "get_config()"),
    ("def get_config(:", "SyntaxError"),
    ("\x00", "file="),
    ("\ufeff\ufeff", "file="),
    ("x = 1 / 0", "ZeroDivisionError"),
    ("import nothing_like_this", "ModuleNotFoundError"),
    ("raise SystemExit(0)", "SystemExit"),
    ("get_config = 3", "TypeError"),
    ("def get_config(required): return {}", "TypeError"),
    ("def get_config(): return get_config()", "RecursionError"),
    ("def get_config(): raise ValueError('one\\ntwo')", "one two"),
    ("def get_config(): return None", "returns NoneType"),
    ("def get_config(): return [1]", "returns list"),
    ("def get_config(): return 'seed'", "returns str"),
    ("def get_config(): return {'sed': 1}", "'seed'"),
    ("def get_config(): return {'model': {'ordr': 1}}", "'model.order'"),
    ("def get_config(): return {'model': 3}", "model"),
    ("def get_config(): return {3: 4}", "3: unknown field"),
    ("def get_config(): return {None: 4}", "None: unknown field"),
    ("def get_config(): return {('a', 'b'): 4}", "unknown field"),
    ("def get_config(): return {'': 4}", "unknown field"),
    ("def get_config(): return {'<script>': 4}", "unknown field"),
    ("def get_config(): return {'x' * 300: 4}", "unknown field"),
    ("def get_config(): return {'seed': 'one'}", "seed='one'"),
    ("def get_config(): return {'seed': float('nan')}", "seed=nan"),
    ("def get_config(): return {'seed': 1j}", "seed=1j"),
    ("def get_config(): return {'seed': [1]}", "seed=[1]"),
    ("def get_config(): return {'seed': {}}", "seed={}"),
    ("def get_config(): return {'seed': object}", "seed="),
    ("def get_config(): return {'model.order': ['depthwise_first']}", "model.order"),
    ("def get_config(): return {'model.order': {'a': 1}}", "model.order"),
    ("def get_config(): return {'model.segments': None}", "model.segments"),
    ("def get_config(): return {'wandb.tags': 'a'}", "wandb.tags='a'"),
    ("def get_config(): return {'wandb.tags': ['a', 3]}", "wandb.tags=3"),
    ("def get_config(): return {'wandb.project': 'a\\nb'}", "wandb.project"),
    ("def get_config(): return {'wandb.project': 'x' * 301}", "wandb.project"),
    ("def get_config(): return {'wandb.project': '\\ud800'}", "wandb.project"),
    ("def get_config(): return {'data.directory': 'a\\0b'}", "data.directory"),
    ("def get_config(): return {'data.directory': ''}", "data.directory=''"),
    ("a = {}\na['a'] = a\ndef get_config(): return a", "its settings hold themselves"),
]
DECLARED = [
    ("name=''", "experiment.name=''"),
    ("name=3", "experiment.name=3"),
    ("name=None", "experiment.name"),
    ("name='a b'", "'a-b'"),
    ("name='../up'", "'up'"),
    ("name='a/b'", "'a-b'"),
    ("name='.hidden'", "'hidden'"),
    ("name='été'", "experiment.name='été'"),
    ("name='x' * 300", "experiment.name"),
    ("name='a\\nb'", "experiment.name"),
    ("hypothesis=3", "experiment.hypothesis=3"),
    ("reference=3", "experiment.reference=3"),
    ("arms={}", "experiment.arms"),
    ("arms=None", "experiment.arms"),
    ("arms=['none']", "experiment.arms"),
    ("arms='none'", "experiment.arms"),
    ("arms={'a': None}", "'a'"),
    ("arms={'a': ['seed']}", "'a'"),
    ("arms={'a': {3: 4}}", "{3: 4}"),
    ("arms={3: {}}", "arm=3"),
    ("arms={'': {}}", "arm=''"),
    ("arms={'..': {}}", "arm='..'"),
    ("arms={'../up': {}}", "'up'"),
    ("arms={'a/b': {}}", "'a-b'"),
    ("arms={'a b': {}}", "'a-b'"),
    ("arms={'🙂': {}}", "arm='🙂'"),
    ("arms={'x' * 300: {}}", "arm="),
    ("arms={'a': {}, 'b': {}}", "same run as arm 'a'"),
    ("arms={'a': {}, 'b': {'wandb.mode': 'disabled'}}", "same run as arm 'a'"),
    ("arms={'a': {'model.ordr': 1}}", "'model.order'"),
    ("arms={'a': {'model.order': 'first'}}", "model.order='first'"),
    ("arms={'a': {'train.epochs': float('nan')}}", "train.epochs=nan"),
    ("arms={'a': {'seed': 3}}", "seed"),
    ("seeds=0", "experiment.seeds=0"),
    ("seeds=-1", "experiment.seeds=-1"),
    ("seeds=10**9", "nearest valid value: 10000"),
    ("seeds=True", "experiment.seeds=True"),
    ("seeds=2.0", "experiment.seeds=2.0"),
    ("seeds='2'", "experiment.seeds='2'"),
    ("seeds=[0, 1]", "experiment.seeds"),
    ("seeds=None", "experiment.seeds"),
    ("base='nothing.py'", "base.py'"),
    ("base=3", "experiment.base=3"),
    ("base=''", "file="),
    ("base='/'", "file="),
    ("base='experiment.py'", "get_config"),
    ("base='a\\0b'", "file="),
    ("equal='flops'", "experiment.equal='flops'"),
    ("equal=None", "experiment.equal"),
    ("claims=None", "experiment.claims"),
    ("claims='none'", "experiment.claims"),
    ("claims=Claim('relu', 'none')", "experiment.claims"),
    ("claims=({'arm': 'relu'},)", "experiment.claims"),
    ("claims=(Claim('rleu', 'none'),)", "'relu'"),
    ("claims=(Claim('relu', 'nnone'),)", "'none'"),
    ("claims=(Claim('relu', 'none'),) * 2", "twice"),
    ("claims=(Claim('relu', 'relu'),)", "claim.baseline='relu'"),
    ("claims=(Claim('relu', 'none', versus=('relu', 'elu')),)", "'elu'"),
    ("claims=(Claim('relu', 'none', versus=3),)", "claim.versus=3"),
    ("claims=(Claim('relu', 'none', 'beter'),)", "'better'"),
    ("claims=(Claim('relu', 'none', None),)", "claim.direction"),
    ("claims=(Claim('relu', 'none', ['better']),)", "claim.direction"),
    ("claims=(Claim(['relu'], 'none'),)", "relu"),
    ("claims=(Claim('relu', 'none', endpoints=()),)", "claim.endpoints"),
    ("claims=(Claim('relu', 'none', endpoints=3),)", "claim.endpoints=3"),
    ("claims=(Claim('relu', 'none', endpoints=('top',)),)", "claim.endpoints='top'"),
    ("claims=(Claim('relu', 'none', endpoints='final_top1'),)", "claim.endpoints"),
    ("claims=(Claim('relu', 'none', 'equivalent'),)", "claim.margin"),
    ("claims=(Claim('relu', 'none', 'equivalent', margin=float('nan')),)", "claim.margin=nan"),
    ("claims=(Claim('relu', 'none', 'equivalent', margin=-0.1),)", "claim.margin=-0.1"),
    ("claims=(Claim('relu', 'none', 'equivalent', margin='1'),)", "claim.margin='1'"),
    ("claims=(Claim('relu', 'none', margin=-0.1),)", "claim.margin=-0.1"),
    ("claims=(Claim('relu', 'none', 'not_worse'),)", "claim.margin"),
    ("claims=(Effect('model.order'),)", "claim.factor='model.order'"),
    ("claims=(Interaction('model.order'),)", "claim.factors='model.order'"),
    ("claims=(Trend(('none', 'relu')),)", "three arms"),
    ("claims=(Trend(('none', 'relu', 'elu')),)", "claim='elu'"),
    ("factors={'model.order': ('depthwise_first', 'pointwise_first')}", "experiment.arms"),
    ("factors=3", "experiment.factors=3"),
    ("factors={3: (1, 2)}", "experiment.factors=3"),
    ("factors={'model.order': 'depthwise_first'}", "experiment.factors='depthwise_first'"),
    ("arms={}, factors={'model.order': ('depthwise_first',)}", "two levels"),
    ("arms={}, factors={'model.order': ('depthwise', 'pointwise_first')}", "'depthwise_first'"),
    ("arms={}, factors={'model.ordr': ('depthwise_first', 'pointwise_first')}", "'model.order'"),
    ("arms={}, factors={'model.fully_connected': ((), (8,))}", "name it yourself"),
    ("arms={}, factors={('model.order', 'model.width'): (('a', 1), 'b')}", "one value for each"),
    ("claims=(Claim('relu', 'none', target=0.5),)", "claim.target=0.5"),
    (
        "claims=(Claim('relu', 'none', endpoints=('steps_to_target',), target=float('inf')),)",
        "claim.target=inf",
    ),
    ("claims=(Claim('relu', 'none', pilot_seeds=-1),)", "pilot_seeds=-1"),
    ("nothing=3", "TypeError"),
]
DAMAGED = [
    "",
    "{",
    "null",
    "[]",
    '"text"',
    "{}",
    "\x00\x01",
    "[" * 100_000,
    '{"experiment": 3, "runs": [], "schema": 1}',
]
ROW = '{"arm": "a", "seed": 0, "id": "1", "directory": "runs/a"}'
ODD = [
    "{}",
    '{"runs": 3}',
    '{"runs": [3]}',
    '{"runs": [{"arm": "a"}]}',
    f'{{"runs": [{ROW.replace("0", "{}")}]}}',
    f'{{"schema": 99, "runs": [{ROW}]}}',
    f'{{"runs": [{ROW.replace("runs/a", "x")}, 3]}}',
]
OUTSIDE = [f'{{"runs": [{ROW.replace("runs/a", name)}]}}' for name in ("../../etc", "/etc", "")]


@pytest.mark.parametrize(("text", "named"), CONFIGS, ids=range(len(CONFIGS)))
@pytest.mark.parametrize("command", ["train", "plan"])
def test_config_files(text, named, command, refused, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(text, encoding="utf-8")
    rest = ("--workdir", "W") if command == "train" else ()
    refused((command, str(path), *rest), named)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("changes", "named"), DECLARED, ids=[text for text, _ in DECLARED])
def test_experiment_files(changes, named, refused, tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    path = tmp_path / "experiment.py"
    path.write_text(EXPERIMENT.format(changes=changes))
    refused(("sweep", str(path), "--workdir", "W"), named)


@pytest.fixture
def record(request, tmp_path):
    """A sweep's directory with the given text as its record."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "sweep.json").write_text(request.param)
    return home


@pytest.mark.parametrize("record", DAMAGED, ids=range(len(DAMAGED)), indirect=True)
@pytest.mark.parametrize("command", ["status", "report", "audit", "sync", "again", "sweep"])
def test_a_damaged_record_of_a_sweep(record, command, refused):
    words: tuple[str, ...] = (command, str(record))
    if command == "again":
        words = ("sweep", f"{record}/sweep.json", "--workdir", "W")
    elif command == "sweep":
        words = ("sweep", "EXPERIMENT", "--workdir", str(record))
    refused(words, "sweep.json")


@pytest.mark.parametrize(
    ("record", "command"),
    [*((text, "status") for text in ODD), *((text, "again") for text in [*ODD, *OUTSIDE])],
    indirect=["record"],
)
def test_a_record_that_lists_no_runs_or_runs_elsewhere(record, command, refused):
    path = record / "sweep.json"
    described = {"experiment": {"name": "q"}, "schema": 1, "base": {}}
    path.write_text(json.dumps(described | json.loads(path.read_text())))
    words = ("sweep", str(path), "--workdir", "W") if command == "again" else (command, str(record))
    refused(words, "sweep.json")


@pytest.mark.parametrize("outside", ["/tmp/x/r1", "runs/../../../r1", "\u001b[2J"])
@pytest.mark.parametrize("name", ["sweep.json", "tuning.json"])
def test_a_run_elsewhere_hides_no_other_from_status(tmp_path, call, name, outside):
    row = {**json.loads(ROW), "settings": {}, "values": []}
    record = {"experiment": {"name": "q"}, "schema": 1, "base": {}, "runs": []}
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    rows = [row, {**row, "directory": outside}]
    (tmp_path / name).write_text(json.dumps(record | {"runs": rows}))
    code, out, err = call("status", tmp_path)
    assert (code, err.count("\n")) == (0, 1)
    assert "seed 0" in out
    assert out.count("planned") == 1
    assert err.startswith("note: left out: ")
    assert err.endswith(" is not inside of the sweep\n")
    assert "\x1b" not in err


def test_a_check_of_every_field_takes_any_value():
    """Anything that JSON or a Python literal can hold is taken, or refused in one line."""
    from xception_jax.errors import InputError

    values: list[object] = [
        None,
        True,
        0,
        -1,
        10**400,
        1e400,
        0.5,
        "",
        "a",
        [],
        [None],
        {},
        {"a": 1},
        (),
        b"a",
    ]
    for name, field in SETTINGS.items():
        for value in (*values, float("nan"), 1j, object(), "x" * 301, "\ud800", "\0"):
            try:
                field.check(name, value)
            except InputError as error:
                assert name in str(error)
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("predict", "LOCKED/a.jpg", "--weights", "EMPTY"), "image='"),
        (("predict", "FILE", "--weights", "LOCKED/x"), "weights='"),
        (("convert", "LOCKED/x.h5", "W"), "source='"),
        (("convert", "FILE", "LOCKED/x"), "destination='"),
        (("export", "EMPTY", "--output", "LOCKED/d/x"), "--output='"),
        (("evaluate", "LOCKED/x"), "directory='"),
    ],
)
def test_what_may_not_be_looked_at_is_named(words, named, refused, places, monkeypatch):
    """A path in a directory that the user may not enter is refused in one line that says why.

    The refusal is simulated, because the user that runs the tests may be root.
    """
    locked, stat = places["TMP"] / "locked", Path.stat

    def of_another_user(path, **settings):
        if locked in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **settings)

    monkeypatch.setattr(Path, "stat", of_another_user)
    places["LOCKED"] = locked
    assert "Permission denied" in refused(words, named)
