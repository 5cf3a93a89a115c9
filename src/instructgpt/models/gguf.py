"""GGUF files by llama.cpp's own converter, of which the user brings a copy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from instructgpt.errors import CheckpointError, ConfigError
from instructgpt.models.load import is_reward_model, resolve_checkpoint
from instructgpt.models.publish import Published, publish
from instructgpt.storage.atomic import publish_file

_LAUNCHER = Path(__file__).with_name("gguf_launcher.py")
_OUTTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_PROBES = (
    "Where does Anna live? She lives in the blue house, number 42.",
    "安娜住在哪里？她住在蓝色的房子里，门牌是42号。",
    "Translate 'good morning' into Chinese: 早上好 (zǎoshang hǎo)。\n\n  Done.",
)


def publish_gguf(source: str | Path, out: Path, converter: Path | None, dtype: str) -> Published:
    """Write the policy `source` as the new GGUF file `out`, by way of a checked export.

    Errors: ConfigError without a converter, for a reward model, or when `out` exists; RunDirError
    when the disk is full or refuses; CheckpointError with the converter's last line when it fails.
    """
    converter = _checked(converter)
    if out.suffix != ".gguf":
        raise ConfigError(f"--out {out}: with --format gguf, give a file name that ends in .gguf")
    if is_reward_model(resolve_checkpoint(source)):
        raise ConfigError(f"'{source}' is a reward model; GGUF files hold policies here")
    with publish_file(out) as temporary:
        if out.exists():
            raise ConfigError(f"'{out}' exists and is not replaced; give a new name or remove it")
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".gguf-") as folder:
            model, written = Path(folder, out.stem), Path(folder, out.name)
            published = publish(source, model, dtype)
            _convert(model, written, converter, dtype)
            written.replace(temporary)
    return published


def _checked(converter: Path | None) -> Path:
    """The converter, which must be a Python program. Errors: ConfigError."""
    if converter is None:
        raise _no_converter("is missing")
    try:
        ast.parse(converter.read_bytes())
    except OSError as error:
        raise _no_converter(f"{converter}: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise _no_converter(f"{converter}: not a Python program") from error
    return converter


def _no_converter(what: str) -> ConfigError:
    return ConfigError(
        f"--converter {what}; give the path of convert_hf_to_gguf.py in your copy of llama.cpp"
    )


def _convert(model: Path, out: Path, converter: Path, dtype: str) -> None:
    """Run the converter on the directory `model`."""
    _complete_config(model / "config.json")
    tokenizer = AutoTokenizer.from_pretrained(model)
    command = converter_command(converter, model, out, dtype, pre_tokenizer_name(tokenizer))
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0 or not out.is_file():
        lines = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()
        raise CheckpointError(f"{converter.name} failed: {lines[-1][:300]}")


def _complete_config(path: Path) -> None:
    """Add GPT-2's `n_ctx`, which the converter reads and transformers no longer writes."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["model_type"] == "gpt2":
        config.setdefault("n_ctx", config["n_positions"])
        path.write_text(json.dumps(config), encoding="utf-8")


def converter_command(
    converter: Path, model: Path, out: Path, dtype: str, pre_tokenizer: str | None
) -> list[str]:
    """The command that converts `model`; `pre_tokenizer` replaces the converter's own guess."""
    arguments = [str(model), "--outfile", str(out), "--outtype", _OUTTYPES[dtype]]
    if pre_tokenizer is None:
        return [sys.executable, str(converter), *arguments]
    return [sys.executable, str(_LAUNCHER), str(converter), pre_tokenizer, *arguments]


def pre_tokenizer_name(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """llama.cpp's name for the pre-tokenizer of a tokenizer that was trained here, else None.

    Ours is GPT-2's with Han characters cut apart first. llama.cpp has no such rule, and needs none:
    no merge was ever learned across that cut. Whether `gpt-2` then gives the same tokens is checked
    on texts in both languages. Errors: CheckpointError when it does not.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    rule = json.loads(backend.to_str())["pre_tokenizer"] or {}
    steps = [step["type"] for step in rule.get("pretokenizers", [rule]) if step]
    if steps == ["ByteLevel"]:
        return "gpt-2"
    if steps != ["Split", "ByteLevel"] or r"\p{Han}" not in json.dumps(rule).replace("\\\\", "\\"):
        return None
    plain = Tokenizer.from_str(backend.to_str())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    for text in _PROBES:
        if plain.encode(text).ids != backend.encode(text).ids:
            raise CheckpointError(
                f"llama.cpp would cut {text[:30]!r}... into other tokens than this tokenizer does; "
                "the GGUF file would be another model"
            )
    return "gpt-2"
