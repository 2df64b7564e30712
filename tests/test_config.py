"""Settings: what is valid, what is refused and with which hint, and what makes a run's id."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from xception_jax.config import (
    canonical_json,
    flatten,
    load_config,
    load_function,
    parse_override,
    resolve,
    run_id,
)
from xception_jax.config.reference import reference_page
from xception_jax.config.schema import SETTINGS
from xception_jax.errors import InputError


def test_every_default_is_valid_and_documented():
    for name, field in SETTINGS.items():
        if field.default is not None:
            assert field.check(name, field.default) == field.default, name
        assert field.help, name
    assert flatten(resolve()) == {name: field.default for name, field in SETTINGS.items()}


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("train.batch_size", "an integer from 1 to 1048576"),
        ("train.epochs", "a number from 1e-06 to 1000000"),
        ("train.average_decay", "a number from 0 to 0.9999999"),
        ("train.log_every_steps", "an integer from 1"),
        ("optimizer.clip_norm", "a number from 1e-06 to 1000000000 or null"),
    ],
)
def test_the_range_of_a_setting_is_said_exactly(name: str, valid: str):
    assert SETTINGS[name].valid == valid


def test_later_layers_win():
    base = ConfigDict({"train": {"epochs": 3.0}, "seed": 1})
    config = resolve(base, {"train.epochs": 4}, overrides=["train.epochs=5", "train.epochs=6"])
    assert config.train.epochs == 6.0
    assert config.seed == 1


def test_a_resolved_config_does_not_change():
    with pytest.raises((AttributeError, KeyError)):
        resolve().train.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=3", 3),
        ("a=3.5", 3.5),
        ("a=1e-3", 1e-3),
        ("a=true", True),
        ("a=False", False),
        ("a=null", None),
        ("a=None", None),
        ("a=inf", math.inf),
        ("a=[1,2]", [1, 2]),
        ("a=relu", "relu"),
        ("a='3'", "3"),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ("a=import os", "import os"),
    ],
)
def test_words_of_the_command_line(word, value):
    assert parse_override(word) == ("a", value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed", "must have the form key=value"),
        ("=3", "must have the form key=value"),
        ("sede=3", "nearest valid value: 'seed'"),
        ("model.intermediate_activaton=relu", "'model.intermediate_activation'"),
        ("model=3", "unknown field"),
        ("seed=-1", "nearest valid value: 0"),
        ("seed=1.5", "must be an integer"),
        ("seed=true", "must be an integer"),
        ("seed=one", "must be an integer"),
        (f"seed={10**400}", "nearest valid value: 2147483647"),
        ("seed=1e400", "nearest valid value: 2147483647"),
        ("train.epochs=nan", "must be a number"),
        ("train.epochs=inf", "nearest valid value: 1000000.0"),
        ("train.epochs=0", "nearest valid value: 1e-06"),
        (f"train.epochs={10**400}", "nearest valid value: 1000000.0"),
        ("train.epochs=null", "must be a number"),
        ("train.batch_size=0", "nearest valid value: 1"),
        ("model.dropout=1", "nearest valid value: 0.99"),
        ("model.residual=yes", "true or false"),
        ("model.residual=tru", "nearest valid value: 'true'"),
        ("model.order=depthwise", "nearest valid value: 'depthwise_first'"),
        ("model.dtype=float16", "nearest valid value: 'bfloat16'"),
        ("model.segments=per_chanel", "nearest valid value: 'per_channel'"),
        ("model.segments=PER_CHANNEL", "nearest valid value: 'per_channel'"),
        ("model.segments=some", 'must be an integer from 1 or "per_channel"'),
        ("model.segments=0", "nearest valid value: 1"),
        ("model.fully_connected=4096", "must be a list"),
        ("model.fully_connected=[0]", "nearest valid value: 1"),
        ("data.name=3", "must be text"),
        ("data.name='a\\nb'", "printable"),
        ("optimizer.options=3", "arguments by name"),
        ("optimizer.options.b2=[1]", "must be a number"),
        ("optimizer.option.b2=0.9", "nearest valid value: 'optimizer.options'"),
        ("train.profile_steps=[3]", "the first and the last step"),
        ("wandb.mode=onlin", "nearest valid value: 'online'"),
        ("wandb.project=team/x", "the team goes into wandb.entity; nearest valid value: 'x'"),
        ("wandb.project=team/x#1", "nearest valid value: 'x-1'"),
        (f"wandb.project={'a' * 200}", f"nearest valid value: '{'a' * 128}'"),
        ("wandb.project=", "1 to 128 characters"),
        ("wandb.entity=a:b", "none of them"),
        ("wandb.tags=a", "or a list such as ['a']"),
        ("wandb.tags=a,", "1 to 64 characters"),
        (f"wandb.tags=a,{'b' * 65}", "1 to 64 characters"),
    ],
)
def test_bad_values_are_refused_in_one_line_with_the_nearest(word, message):
    with pytest.raises(InputError) as error:
        resolve(overrides=[word])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert word.partition("=")[0] in str(error.value)


def test_tags_may_be_separated_by_commas():
    for words in ("wandb.tags=a,b", "wandb.tags=a, b", "wandb.tags=['a','b']"):
        assert resolve(overrides=[words]).wandb.tags == ("a", "b")


def test_whole_numbers_may_be_written_as_floats():
    assert resolve(overrides=["train.batch_size=64.0"]).train.batch_size == 64
    assert run_id(resolve({"train.epochs": 3})) == run_id(resolve({"train.epochs": 3.0}))


@pytest.mark.parametrize("name", ["optimizer.weight_decay", "optimizer.options.eps"])
def test_zero_has_no_sign(name):
    assert run_id(resolve({name: -0.0})) == run_id(resolve({name: 0.0}))


def test_numbers_of_numpy_are_numbers():
    given = {"train.batch_size": np.int64(64), "train.epochs": np.float32(3), "model.segments": 2}
    of_numpy = resolve(given | {"model.segments": np.int32(2), "model.kernel_size": np.int64(5)})
    assert run_id(of_numpy) == run_id(resolve(given | {"model.kernel_size": 5}))
    with pytest.raises(InputError, match="nearest valid value: 1"):
        resolve({"train.batch_size": np.int64(0)})
    with pytest.raises(InputError, match="must be a number"):
        resolve({"train.epochs": np.float32("nan")})


def test_the_id_hangs_on_what_determines_the_result_alone():
    base = run_id(resolve())
    changes = {"data.directory": "elsewhere", "wandb.project": "other", "checkpoint.keep_last": 9}
    for name, value in changes.items():
        assert run_id(resolve({name: value})) == base, name
    for name, value in {"seed": 1, "model.order": "pointwise_first", "train.epochs": 11}.items():
        assert run_id(resolve({name: value})) != base, name


def test_the_canonical_form_reads_back():
    config = resolve(overrides=["model.fully_connected=[8,8]", "seed=3"])
    text = canonical_json(config)
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert run_id(resolve(json.loads(text))) == run_id(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "SyntaxError"),
        ("x = 1", "does not define get_config"),
        ("def get_config(): raise ValueError('a\\nb')", "ValueError: a b"),
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def get_config(): return 3", "returns int"),
        ("def get_config(): return None", "returns NoneType"),
    ],
)
def test_a_config_file_that_is_none(tmp_path, text, message):
    path = tmp_path / "config.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_names_its_like(tmp_path):
    (tmp_path / "cifar10.py").write_text("")
    with pytest.raises(InputError, match=r"cifar10\.py"):
        load_function(tmp_path / "cifar.py", "get_config")
    for path in (tmp_path, tmp_path / "no" / "folder.py", "x" * 5000, "a\0b"):
        with pytest.raises(InputError):
            load_function(path, "get_config")


def test_the_reference_page_is_that_of_the_settings():
    page = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
    hint = "write it anew: python -m xception_jax.config.reference > docs/settings.md"
    assert page.read_text() == reference_page(), hint
    for name in SETTINGS:
        assert f"`{name}`" in reference_page()
