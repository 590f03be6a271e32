"""A real Ethereum node on this machine: anvil, with accounts of its own that hold money."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.servers.missing import server_missing
from tests.servers.node_packages import require_node
from tests.servers.processes import free_port, running

_FOLDER = Path(__file__).parent / "anvil"
_PROGRAMS = "node_modules/@foundry-rs/anvil-*/bin/anvil"
"""Of this machine's kind: the package brings the one that fits."""
KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
"""The published keys of its first accounts."""


@contextmanager
def running_anvil(folder: Path) -> Iterator[str]:
    """Run a fresh chain; gives its JSON-RPC address."""
    require_node(_FOLDER)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = next(_FOLDER.glob(_PROGRAMS), None)
    if program is None:
        server_missing("anvil has no program for this kind of machine")
    words = [program, "--host", "127.0.0.1", "--port", str(port), "--chain-id", "31337", "--silent"]

    def ready() -> bool:
        try:
            answer = httpx.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success

    with running(words, folder / "anvil.log", ready=ready):
        yield url
