"""Exports to the Hugging Face hub, through its own client."""

from __future__ import annotations

from pathlib import Path

from instructgpt.errors import CheckpointError, ConfigError, RemoteError


def push(directory: Path, repository: str, *, private: bool = False) -> str:
    """Upload an export as model `owner/name`, made if there is none; returns its address.

    Errors: CheckpointError for a directory that is no export, ConfigError for a name without an
    owner or a missing token, RemoteError when the hub refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    for name in ("instructgpt.json", "config.json", "README.md"):
        if not (directory / name).is_file():
            raise CheckpointError(
                f"'{directory}' is no export (no {name}); make one with `instructgpt export RUN "
                f"--out {directory}`"
            )
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"'{repository}': write the name on the hub as owner/name")
    if get_token() is None:
        raise ConfigError("no hub token: run `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=directory,
            commit_message=f"Upload {directory.name} by instructgpt",
        )
    except (HfHubHTTPError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RemoteError(f"the hub refused '{repository}': {reason}") from error
    return f"{api.endpoint}/{repository}"
