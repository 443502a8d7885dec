"""The two model hubs behind one small seam: a repository and a revision in, a folder out.

Called by `sources`. The libraries do the work (resume, parallel parts, size checks, the user's token); here
their errors become one sentence that says what to do. They are imported late: `tercet chat` needs neither.
"""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from tercet_cli.errors import SourceError

Progress = Callable[[int, int], None]
"""Told the bytes that are there and the bytes there will be; may be called from any thread."""

WANTED: Final = ("*.json", "*.safetensors", "*.txt", "*.jinja", "spk_dict.pt")
"""The files of a checkpoint that a stage reads; repositories also hold pictures and other formats."""

DEFAULT_REVISION: Final = "main"


class Hub(Protocol):
    """A place that repositories are downloaded from."""

    def download(self, repository: str, revision: str, cache: Path, progress: Progress) -> Path:
        """Bring the wanted files of one revision below `cache`; a second call fetches what is missing."""


class HuggingFaceHub:
    """Takes its token from HF_TOKEN or `hf auth login`, its address from `endpoint` or HF_ENDPOINT."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def download(self, repository: str, revision: str, cache: Path, progress: Progress) -> Path:
        from httpx2 import HTTPError  # noqa: PLC0415
        from huggingface_hub import errors, snapshot_download  # noqa: PLC0415

        source = f"hf://{repository}"
        try:
            folder = snapshot_download(
                repository,
                revision=revision,
                cache_dir=cache / "huggingface",
                allow_patterns=list(WANTED),
                endpoint=self._endpoint,
                tqdm_class=_byte_counter(progress),
            )
        except errors.GatedRepoError as error:
            raise SourceError(
                f"{source}: you have no access yet: accept its terms on the model's page, then "
                "`hf auth login` or set HF_TOKEN"
            ) from error
        except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
            raise SourceError(
                f"{source}: no such repository, or it is private: check the name; for a private one "
                "`hf auth login` or set HF_TOKEN"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise SourceError(
                f"{source}: no revision {revision!r}: name a branch, tag or commit of it"
            ) from error
        except errors.HfHubHTTPError as error:
            raise SourceError(
                f"{source}: the hub answered {error.response.status_code}: try again later"
            ) from error
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, HTTPError) as error:
            raise _unreachable(source, "HF_ENDPOINT") from error
        except (ConnectionError, TimeoutError) as error:  # of the Xet transport; they are OSErrors too
            raise _unreachable(source, "HF_ENDPOINT") from error
        except OSError as error:
            raise storage_error(source, cache, error) from error
        return Path(folder)


class ModelScopeHub:
    """Takes its token from MODELSCOPE_API_TOKEN or `ms login`, its address from MODELSCOPE_ENDPOINT.

    The library draws bars of its own that cannot be turned off, so `progress` is told nothing.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def download(self, repository: str, revision: str, cache: Path, progress: Progress) -> Path:
        from modelscope_hub import HubApi, errors  # noqa: PLC0415

        del progress
        source = f"modelscope://{repository}"
        try:
            api = HubApi(endpoint=self._endpoint)
            return api.download_repo(
                repository,
                "model",
                # ModelScope's default branch is `master`; ours is spelt as on Hugging Face.
                revision=None if revision == DEFAULT_REVISION else revision,
                cache_dir=cache / "modelscope",
                allow_patterns=list(WANTED),
            )
        except errors.NotExistError as error:
            raise SourceError(
                f"{source}: no such repository or revision {revision!r}, or it is private: check the name; "
                "for a private one `ms login` or set MODELSCOPE_API_TOKEN"
            ) from error
        except (errors.AuthenticationError, errors.PermissionDeniedError) as error:
            raise SourceError(
                f"{source}: you have no access: `ms login` or set MODELSCOPE_API_TOKEN of an account that has"
            ) from error
        except errors.NetworkError as error:
            raise _unreachable(source, "MODELSCOPE_ENDPOINT") from error
        except errors.FileDownloadError as error:
            raise _failed_files(source, cache, error) from error
        except errors.HubError as error:
            raise SourceError(f"{source}: {error.message}: {error.suggestion}") from error
        except OSError as error:
            raise storage_error(source, cache, error) from error


def _unreachable(source: str, variable: str) -> SourceError:
    return SourceError(
        f"{source}: the hub cannot be reached and no whole copy is in the cache: check the network or "
        f"{variable}, then run the same command again; it goes on where it stopped"
    )


def storage_error(source: str, cache: Path, error: OSError) -> SourceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SourceError(
            f"{source}: no space left in {cache}: free some or choose another cache folder, then run the "
            "same command again; it goes on where it stopped"
        )
    return SourceError(
        f"{source}: cannot write to {cache}: {error.strerror or error}: choose another cache folder"
    )


def _failed_files(source: str, cache: Path, error: Any) -> SourceError:  # Any: the library's own error class
    for cause in error.failed_files.values():
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return storage_error(source, cache, cause)
    names = ", ".join(sorted(error.failed_files))
    return SourceError(
        f"{source}: could not be downloaded: {names}: run the same command again to fetch only these"
    )


def _byte_counter(progress: Progress) -> type[Any]:  # Any: a subclass of tqdm, which has no types
    """Make the class that huggingface_hub draws its bars with: it reports the written bytes."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]  # noqa: PLC0415

    class ByteCounter(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            # Two bars count bytes; the one of bytes received leaves out files that were already there.
            self._counts = str(options.get("desc", "")).startswith("Reconstructing")
            super().__init__(*args, **{**options, "mininterval": 0, "leave": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            del msg, pos
            if self._counts:
                progress(int(self.n), int(self.total or 0))

    return ByteCounter
