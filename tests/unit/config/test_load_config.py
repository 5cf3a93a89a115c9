"""Where settings come from, in which order, and what a wrong one is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.label import LabelConfig
from instructgpt.config.load import did_you_mean, dump_config, load_config, split_flags
from instructgpt.errors import ConfigError


class Optim(Config):
    """A section with a required field of its own."""

    lr: float = Field(gt=0)
    """Rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Shape."""


class Kl(Config):
    """Another section."""

    coef: float = 0.02
    """beta."""


class Training(Config):
    """Something to train."""

    model: str
    """Required."""
    files: tuple[str, ...] = ()
    """Any number of them."""
    numbers: tuple[int, ...] = ()
    """Any number of them."""
    steps: int = 10
    """A count."""
    packing: bool = False
    """A switch."""
    limit: int | None = 5
    """May be none."""
    named: dict[str, str] = {}  # noqa: RUF012 (pydantic copies defaults)
    """A map."""
    kl: Kl = Kl()
    """Section whose parent changes nothing."""
    optim: Optim = Optim(lr=0.1, schedule="constant")
    """Section whose parent chose lr and schedule."""

    @model_validator(mode="after")
    def _check(self) -> Training:
        if self.steps == 13:
            raise ValueError("13 steps bring bad luck")
        return self


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_later_files_over_earlier_files_over_defaults(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "model: a\nsteps: 1\noptim: {lr: 0.2, betas: [0.5, 0.6]}\n")
    second = write(tmp_path / "b.yaml", "model: b\noptim: {lr: 0.3}\n")
    config = load_config(Training, [first, second], ["--optim.lr", "0.4"])
    assert (config.model, config.steps, config.limit) == ("b", 1, 5)
    assert config.optim == Optim(lr=0.4, betas=(0.5, 0.6), schedule="constant")


def test_a_section_given_in_part_keeps_the_defaults_that_its_parent_chose(tmp_path: Path) -> None:
    """Pydantic alone takes them from the section's own class: PPO once lost its schedule so."""
    file = write(tmp_path / "a.yaml", "model: m\noptim: {betas: [0.1, 0.2]}\n")
    assert load_config(Training, [file]).optim == Optim(
        lr=0.1, betas=(0.1, 0.2), schedule="constant"
    )
    assert Training(model="m", optim={"lr": 1}).optim.schedule == "constant"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "flags",
    [
        ["--optim.lr", "1e-5"],
        ["--optim.lr=1e-5"],
        ["optim.lr=1e-5"],
        ["--optim.lr", "0.00001"],
        ["--optim.lr=2", "--optim.lr=1e-5"],
    ],
)
def test_every_way_of_writing_a_flag_means_the_same(flags: list[str]) -> None:
    assert load_config(Training, flags=["model=m", *flags]).optim.lr == 1e-5


def test_flags_are_read_by_the_type_of_their_setting() -> None:
    config = load_config(
        Training,
        flags=[
            *("--model", "123", "--files", "a,b.txt", "--files", "[c]", "--packing", "steps=1e3"),
            *("--limit", "none", "--numbers=1,2", "--numbers", "3", "--optim.betas", "0.8,0.9"),
            *("--named.one=x=y", "--named.v1.5", "z"),
        ],
    )
    assert config.model == "123"
    assert config.files == ("a,b.txt", "c")
    assert config.numbers == (1, 2, 3)
    assert config.optim.betas == (0.8, 0.9)
    assert (config.packing, config.limit, config.steps) == (True, None, 1000)
    assert config.named == {"one": "x=y", "v1.5": "z"}


def test_a_bare_switch_before_an_assignment_is_still_bare() -> None:
    config = load_config(Training, flags=["--packing", "model=m"])
    assert config.packing
    assert config.model == "m"


def test_dashes_in_keys_read_as_underscores_and_values_keep_theirs() -> None:
    flag = split_flags(["--max-new-tokens", "a-b"])[0]
    assert (flag.key, flag.text, flag.written) == ("max_new_tokens", "a-b", "--max-new-tokens")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: m\noptim:\n  lrr: 1\n", "{}:3: unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
        ("model: m\nlr: 1\n", "{}:2: unknown key 'lr'; did you mean 'optim.lr'?"),
        ("model: m\nxyz: 1\n", "{}:2: unknown key 'xyz'"),
        ("model: m\nsteps: many\n", "{}:2: steps: input should be a valid integer"),
        ("model: m\noptim: {lr: -1}\n", "{}:2: optim.lr: input should be greater than 0, got -1"),
        ("model: m\nsteps: 13\n", "{}: 13 steps bring bad luck"),
        ("model: m\nmodel: n\n", "{}:2: key 'model' is already set on line 1"),
        ("model: m\noptim:\n  lr: 1\n  lr: 2\n", "{}:4: key 'optim.lr' is already set on line 3"),
        ("steps: 1\n", "{}: 'model' is required"),
        ("- a\n", "{}: expected `key: value` lines"),
        ("model: [\n", "{}:2: not valid YAML"),
        ("3: x\n", "{}:1: a key must be a word, not 3"),
    ],
)
def test_errors_in_a_file_name_file_line_key_and_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path / "my.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(Training, [path])
    assert str(caught.value).startswith(message.format(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--optim.lrr", "1"], "--optim.lrr: unknown setting; did you mean 'optim.lr'?"),
        (["stepss=1"], "stepss: unknown setting; did you mean 'steps'?"),
        (["--steps", "many"], "--steps: input should be a valid integer"),
        (["--steps"], "--steps: needs a value"),
        (["--named.one", "x=y"], "--named.one: needs a value, as --named.one=VALUE"),
        (["steps"], "cannot read 'steps': write settings as --key value or key=value"),
        (["--numbers", "[1"], "--numbers: cannot read the value '[1'"),
        (["--model", "@sft/model"], "model: '@sft/model' names a stage of a recipe"),
    ],
)
def test_errors_in_a_flag_name_the_flag(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Training, flags=["model=m", *flags])
    assert str(caught.value).startswith(message)


def test_missing_and_unreadable_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none.yaml: No such file"):
        load_config(Training, [tmp_path / "none.yaml"])
    (tmp_path / "latin.yaml").write_bytes("model: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(Training, [tmp_path / "latin.yaml"])


def test_the_environment_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEPS", "steps", "INSTRUCTGPT_STEPS"):
        monkeypatch.setenv(name, "99")
    assert load_config(Training, flags=["model=m"]).steps == 10


def test_a_dumped_config_loads_to_an_equal_one(tmp_path: Path) -> None:
    flags = ["model=1e5", "optim.lr=3e-7", "files=[no, '010', 中文]", "limit=none", "named.a=null"]
    config = load_config(Training, flags=flags)
    assert config.files == ("no", "010", "中文")
    path = write(tmp_path / "config.yaml", dump_config(config))
    assert load_config(Training, [path]) == config


def test_the_config_of_a_run_directory_finds_its_siblings(tmp_path: Path) -> None:
    run = tmp_path / "root" / "sft"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    file = write(run / "config.yaml", 'model: "@base/model"\nfiles: ["@world/a.jsonl"]\n')
    config = load_config(Training, [file])
    assert config.model == str(tmp_path / "root" / "base" / "model")
    assert config.files == (str(tmp_path / "root" / "world" / "a.jsonl"),)


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Training(model="m").steps = 3  # type: ignore[misc]


def test_did_you_mean_prefers_the_same_last_word() -> None:
    known = ["optim.lr", "kl.coef", "kl.target", "lambda"]
    assert did_you_mean("coef", known) == "; did you mean 'kl.coef'?"
    assert did_you_mean("lamda", known) == "; did you mean 'lambda'?"
    assert did_you_mean("kl.taget", known) == "; did you mean 'kl.target'?"
    assert did_you_mean("zzz", known) == ""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "type: ai, base_url: 'http://x/v1', model: m, modle: 3",
            "judges: unknown key 'judges.0.modle'; did you mean 'judges.0.model'?",
        ),
        ("type: ai, model: m", "judges: 'judges.0.base_url' is required; give it in a YAML file"),
        (
            "type: ai, base_url: x, model: m",
            "judges: judges.0: base_url 'x' does not begin with http:// or https://",
        ),
        (
            "type: simulated, count: 0",
            "judges: judges.0.count: input should be greater than or equal to 1, got 0",
        ),
    ],
)
def test_errors_in_an_entry_of_a_list_name_the_entry(entry: str, message: str) -> None:
    flags = ["--models", "a", "--prompts", "b", "--world", "w", f"judges=[{{{entry}}}]"]
    with pytest.raises(ConfigError) as caught:
        load_config(LabelConfig, [], flags)
    assert str(caught.value) == message
