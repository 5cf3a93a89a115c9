"""What a recipe would do: every stage's settings checked, fingerprinted, compared with the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from instructgpt.config.base import Config
from instructgpt.config.load import Flag, build, did_you_mean, flag_settings, split_flags
from instructgpt.config.recipe import Recipe, Section, check_references, derive_seed
from instructgpt.config.references import find_references, resolve_references
from instructgpt.errors import ConfigError
from instructgpt.pipeline.stages import Stage, find_stage
from instructgpt.storage.address import names_postgres
from instructgpt.storage.fingerprint import fingerprint_path
from instructgpt.storage.manifest import describe_identity, fingerprint_stage, name_differences
from instructgpt.storage.run_dir import RunDir


@dataclass(frozen=True)
class PlannedStage:
    """One stage with checked settings; '@stage/path' still stands in `config` as written.

    Its identity holds references, not paths, so moving the root changes nothing. `parents` maps
    each upstream stage and each outside file to its fingerprint.
    """

    name: str
    stage: Stage
    config: Config
    seed: int
    parents: dict[str, str]
    path: Path

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return self.config.model_dump(mode="json")

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides the result."""
        return fingerprint_stage(self.stage.stem, self.settings, self.seed, self.parents)

    def runnable_config(self) -> Config:
        """The settings with references replaced by paths."""
        values = resolve_references(self.config.model_dump(), self.path.parent)
        return type(self.config).model_validate(values)


@dataclass(frozen=True)
class Plan:
    """A recipe's stages in order, below one root directory."""

    name: str
    root: Path
    stages: list[PlannedStage]
    trackers: tuple[str, ...] = ()
    profile: bool = False


@dataclass(frozen=True)
class Action:
    """What will happen to one stage, and why: skip it, start it, resume it, or start it again."""

    kind: Literal["skip", "run", "resume", "again"]
    why: str


def plan_recipe(recipe: Recipe, root: Path, flags: Sequence[str] = ()) -> Plan:
    """Check a recipe's settings with `flags` ("sft.optim.lr=1e-5", "seed=1") laid over them.

    Reads outside files to fingerprint them; changes nothing. Errors: ConfigError, DataError.
    """
    seed, by_stage = _sort_flags(recipe, split_flags(flags))
    planned: dict[str, PlannedStage] = {}
    for section in recipe.sections.values():
        stage = find_stage(section.stem, section.settings.origin("stage") or "")
        section = _with_flags(section, stage, by_stage.get(section.name, []))
        config = _checked(recipe, section, stage, list(planned))
        own_seed = derive_seed(seed, section.name)
        if "seed" in type(config).model_fields:
            if "seed" not in section.settings.values:
                config = config.model_copy(update={"seed": own_seed})
            own_seed = config.seed  # type: ignore[attr-defined]
        parents = _parents(stage, config, planned)
        planned[section.name] = PlannedStage(
            section.name, stage, config, own_seed, parents, root / section.name
        )
    return Plan(recipe.name, root, list(planned.values()), recipe.trackers)


def check_settings(recipe: Recipe) -> None:
    """As `plan_recipe`, of the settings alone: no file is looked at. Errors: ConfigError."""
    earlier: list[str] = []
    for section in recipe.sections.values():
        stage = find_stage(section.stem, section.settings.origin("stage") or "")
        _checked(recipe, section, stage, earlier)
        earlier.append(section.name)


def select_stages(plan: Plan, until: str | None = None) -> list[PlannedStage]:
    """The stages up to and with `until`. Errors: ConfigError when there is none of that name."""
    if until is None:
        return plan.stages
    return plan.stages[: _position(plan, until, "--until") + 1]


def decide(plan: Plan, start: str | None = None) -> dict[str, Action]:
    """What to do with each stage; those from `start` on are done again even if finished."""
    first = len(plan.stages) if start is None else _position(plan, start, "--from")
    return {
        planned.name: _decide_one(planned, forced=position >= first)
        for position, planned in enumerate(plan.stages)
    }


def outside_inputs(config: Config) -> dict[str, str]:
    """Path -> fingerprint of every file or folder outside the recipe that the settings name."""
    return {path: _fingerprint_input(Path(path)) for path in _outside_paths(config)}


def sibling_runs(root: Path, but: Path) -> dict[str, str]:
    """Name -> fingerprint of the finished runs directly below `root`, except the run `but`."""
    manifests = sorted(root.glob("*/manifest.json"))
    runs = [
        RunDir.view(path.parent) for path in manifests if path.parent.resolve() != but.resolve()
    ]
    return {run.root.name: run.fingerprint for run in runs if run.is_done}


def _fingerprint_input(path: Path) -> str:
    """A finished run counts by what it computed; its directory also holds times of day."""
    if (path / "done.json").exists():
        return RunDir.view(path).fingerprint
    return fingerprint_path(path)


def _outside_paths(config: Config) -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        # Defaults are words such as "auto", never inputs; a folder of that name is a coincidence.
        if value != field.default and name not in config.not_inputs:
            yield from _existing_paths(value)


def _existing_paths(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if names_postgres(value):  # not shown: it may hold a password
            raise ConfigError(
                "a setting is the address of a database, and a run is made from files: "
                "`instructgpt label export` writes them"
            )
        if value and not list(find_references(value)) and Path(value).exists():
            yield value
    elif isinstance(value, Config):
        yield from _outside_paths(value)
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from _existing_paths(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _existing_paths(below)


def _checked(recipe: Recipe, section: Section, stage: Stage, earlier: list[str]) -> Config:
    check_references(section, earlier, list(recipe.sections))
    return build(
        stage.config_class(), section.settings, prefix=f"{section.name}.", flags=recipe.flags
    )


def _sort_flags(recipe: Recipe, flags: list[Flag]) -> tuple[int, dict[str, list[Flag]]]:
    """The recipe's seed, and each stage's flags without the stage's name."""
    seed = recipe.seed
    by_stage: dict[str, list[Flag]] = {}
    for flag in flags:
        stage, _, key = flag.key.partition(".")
        if flag.key == "seed":
            if not (flag.text or "").isdecimal():
                raise ConfigError(f"{flag.written}: use a whole number >= 0, got {flag.text!r}")
            seed = int(flag.text or "")
        elif stage in recipe.sections and key:
            by_stage.setdefault(stage, []).append(Flag(key, flag.text, flag.written))
        else:
            hint = did_you_mean(stage, [*recipe.sections, "seed"])
            raise ConfigError(
                f"{flag.written}: write STAGE.SETTING, and '{stage}' is no stage of "
                f"{recipe.source}{hint}"
                if stage not in recipe.sections
                else f"{flag.written}: write {stage}.SETTING=VALUE"
            )
    return seed, by_stage


def _with_flags(section: Section, stage: Stage, flags: list[Flag]) -> Section:
    settings = flag_settings(stage.config_class(), flags)
    return Section(section.name, section.stem, section.settings.overlay(settings))


def _parents(stage: Stage, config: Config, earlier: dict[str, PlannedStage]) -> dict[str, str]:
    names = {name for _, name, _ in find_references(config.model_dump())}
    if stage.reads_all:
        names |= set(earlier)
    parents = {name: planned.fingerprint for name, planned in earlier.items() if name in names}
    return parents | outside_inputs(config)


def _position(plan: Plan, name: str, option: str) -> int:
    names = [planned.name for planned in plan.stages]
    if name not in names:
        raise ConfigError(f"{option} {name}: the stages are {', '.join(names)}")
    return names.index(name)


def _decide_one(planned: PlannedStage, forced: bool) -> Action:
    if not (planned.path / "manifest.json").exists():
        return Action("run", "not done yet")
    existing = RunDir.view(planned.path)
    why = _what_changed(existing.manifest, planned)
    if why:
        return Action("again", why)
    if not existing.is_done:
        return Action("resume", "interrupted")
    return Action("again", "asked for by --from") if forced else Action("skip", "done, unchanged")


def _what_changed(manifest: dict[str, Any], planned: PlannedStage) -> str:
    """In words, how the run on disk differs from the one that is planned; empty if it does not."""
    before: dict[str, str] = manifest.get("parents", {})
    names = [*planned.parents, *(name for name in before if name not in planned.parents)]
    changed = [name for name in names if before.get(name) != planned.parents.get(name)]
    identity = describe_identity(
        planned.stage.stem, planned.settings, planned.seed, planned.parents
    )
    settings = name_differences({**manifest, "parents": identity["parents"]}, identity)
    upstream = f"{', '.join(changed)} changed" if changed else ""
    return "; ".join(part for part in (settings, upstream) if part)
