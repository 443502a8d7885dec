"""`kubectl` as the tests use it: with one kubeconfig, in one namespace, never waiting for ever."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COMMAND_TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """`kubectl` on the test's cluster; `run` fails with the error's text, `ask` hands the result back."""

    kubeconfig: Path
    namespace: str = "default"

    def ask(self, *arguments: str, document: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments],
            input=document,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def run(self, *arguments: str, document: str | None = None) -> str:
        done = self.ask(*arguments, document=document)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout
