"""What the pages say about the code is so: places, commands, recipes, rows of data, messages."""

from __future__ import annotations

import ast
import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from instructgpt.config.hygiene import HygieneConfig
from instructgpt.config.load import flag_settings, split_flags
from instructgpt.config.loop import load_loop
from instructgpt.config.recipe import load_recipe
from instructgpt.data.readers import (
    load_demonstrations,
    load_documents,
    load_prompts,
    load_rankings,
)
from instructgpt.errors import DataError
from instructgpt.pipeline.loop.references import Places, round_recipe, start_recipe
from instructgpt.pipeline.plan import plan_recipe
from instructgpt.pipeline.stages import STAGES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "instructgpt"
PLACE = re.compile(r"([\w/]+\.py):([\w.]+)")
TEST = re.compile(r"([\w/]+\.py)::(\w+)")
READERS = (load_documents, load_demonstrations, load_rankings, load_prompts)
DATA_VERBS = {
    "forget": {"--runs"},
    "inspect": {"--model", "--kind", "--columns", "--examples", "--format", "--chat-template"},
    "convert": {"--to", "--out", "--columns", "--format", "--on-problem", "--limit"},
}
LABEL_VERBS = {
    "import": {"--store", "--kind", "--overlap", "--seed"},
    "invite": {"--store", "--lead", "--url"},
    "serve": {"--store", "--host", "--port", "--ratings", "--no-ratings"},
    "export": {"--store", "--out", "--heldout", "--seed"},
    "backup": {"--store", "--out"},
}
LOOP_VERBS = {
    "run": {"--out", "--rounds", "--by"},
    "status": set(),
    "promote": {"--anyway", "--by"},
    "rollback": {"--by"},
    "report": set(),
}
TALK = {
    "chat": {
        "--system",
        "--max-new-tokens",
        "--temperature",
        "--top-p",
        "--seed",
        "--device",
        "--task",
    },
    "doctor": {"--json"},
    "export": {"--out", "--dtype", "--format", "--converter"},
    "push": {"--private"},
    "serve": {"--reward-model", "--port", "--api-key-file"},
}
OWN_FLAGS = {
    "--out",
    "--config",
    "--print-config",
    "--help",
    "--until",
    "--from",
    "--dry-run",
    "--track",
}


@cache
def _definitions(path: Path) -> set[str]:
    """Names defined at the top of a file, and Class.method."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_places_in_the_code_exist(docs):
    found = 0
    for page in docs.everything:
        for span in page.spans:
            for file, name in PLACE.findall(span) if "::" not in span else ():
                found += 1
                assert (SOURCE / file).is_file(), f"{page.name}: {span}"
                assert name in _definitions(SOURCE / file), f"{page.name}: {span}"
    assert found > 100


def test_tests_that_are_named_exist(docs):
    found = 0
    for page in docs.everything:
        for span in page.spans:
            for file, name in TEST.findall(span):
                found += 1
                assert name in _definitions(ROOT / "tests" / file), f"{page.name}: {span}"
    assert found >= 40


def _commands(docs) -> list[tuple[str, list[str]]]:
    return [
        (page.name, shlex.split(line, comments=True)[1:])
        for page in docs.english
        for language, code in page.blocks
        if language == "bash"
        for line in code.splitlines()
        if line.startswith("instructgpt ")
    ]


def test_commands_have_known_verbs_and_settings(docs, tmp_path):
    commands = _commands(docs)
    assert len(commands) > 15
    for page, (verb, *arguments) in commands:
        stem = verb.replace("-", "_")
        if [verb, *arguments[:1]] == ["data", "clean"]:
            flags = [f for f in split_flags(arguments[2:]) if f.written not in OWN_FLAGS]
            flag_settings(HygieneConfig, flags)
        elif verb == "data" and arguments[0] in DATA_VERBS:
            options = {a for a in arguments if a.startswith("--")}
            assert options <= DATA_VERBS[arguments[0]], page
        elif verb == "label" and arguments[0] in LABEL_VERBS:
            options = {a for a in arguments if a.startswith("--")}
            assert options <= LABEL_VERBS[arguments[0]], page
        elif verb == "loop":
            options = {a for a in arguments if a.startswith("--")}
            assert options <= LOOP_VERBS[arguments[0]], page
        elif stem in STAGES:
            flags = [f for f in split_flags(arguments) if f.written not in OWN_FLAGS]
            flag_settings(STAGES[stem].config_class(), flags)
        elif verb in ("run", "quickstart"):
            name, *rest = arguments if verb == "run" else ["quickstart", *arguments]
            options = {a for a in rest if a.startswith("--")}
            assert options <= OWN_FLAGS, page
            overrides = [a for a in rest if "=" in a]
            plan_recipe(load_recipe(ROOT / "recipes" / f"{name}.yaml"), tmp_path, overrides)
        else:
            options = {a for a in arguments if a.startswith("--")}
            assert options <= TALK.get(verb, TALK["chat"]), page
            assert verb in (*TALK, "generate"), page


def test_recipes_in_the_pages_can_be_planned(docs, tmp_path):
    count = 0
    for page in docs.english:
        for language, code in page.blocks:
            if language != "yaml":
                continue
            count += 1
            path = tmp_path / f"{page.path.stem}-{count}.yaml"
            path.write_text(code, encoding="utf-8")
            if "\nround:\n" in code:
                _plan_loop(path, tmp_path / "loop")
            else:
                plan_recipe(load_recipe(path), tmp_path / "runs")
    assert count >= 9


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "loops").glob("*.yaml")), ids=str)
def test_packaged_loops_can_be_planned(path, tmp_path):
    _plan_loop(path, tmp_path / "loop")


def _plan_loop(path: Path, root: Path) -> None:
    """Its start and its second round."""
    loop = load_loop(path)
    plan_recipe(start_recipe(loop), root / "start")
    places = Places(root, 2, root / "rounds" / "001" / "ppo" / "model")
    plan_recipe(round_recipe(loop, places), root / "rounds" / "002")


def test_rows_of_data_are_read_in_the_format_they_stand_under(docs, tmp_path):
    page = docs.page("docs/data-formats.md")
    formats = [title.strip("`") for _, title in page.headings if title.startswith("`")]
    assert len(formats) >= 11
    for name in formats:
        for _, code in page.section(f"`{name}`").blocks:
            path = tmp_path / f"{name}.jsonl"
            path.write_text(json.dumps(json.loads(code)) + "\n", encoding="utf-8")
            assert name in _formats_found(path)


def _formats_found(path: Path) -> set[str]:
    found = set()
    for load in READERS:
        try:
            found.add(load(path, on_problem="error").format)
        except DataError:
            continue
    return found


@cache
def _texts_of_the_source() -> list[str]:
    """Every string in the source, with a hole where a value is put in, quotes made alike."""
    texts = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "\0" for v in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"%[ds]", "\0", node.value))
    return [text.replace("`", "'") for text in texts]


def test_messages_in_the_pages_are_those_of_the_program(docs):
    """Dots in a documented message stand for a value; what is between them is in the source."""
    count = 0
    for page in docs.english:
        if "Failure messages" not in [title for _, title in page.headings]:
            continue
        for message, *_ in page.section("Failure messages").tables:
            for fragment in message.strip("`").split("..."):
                if len(fragment.strip(" :;,.'()")) < 4:
                    continue
                count += 1
                assert any(fragment.strip() in text for text in _texts_of_the_source()), (
                    f"{page.name}: {fragment!r}"
                )
    assert count > 60


@pytest.mark.parametrize("name", ["pretrain", "sft", "label", "reward_model", "ppo", "dpo"])
def test_stage_pages_have_the_same_sections(docs, name):
    titles = [title for _, title in docs.page(f"docs/stages/{name}.md").headings][1:]
    assert titles == [
        "Equation",
        "Code",
        "Command",
        "Details that matter",
        "Metrics",
        "Failure messages",
    ]
