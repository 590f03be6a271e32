"""An Ethereum chain inside the test's process, and accounts."""

import sys
from typing import Any

# Importing these raises Python's limit of recursion for the whole process; deeply nested JSON would then end it, where
# it should raise.
_limit = sys.getrecursionlimit()
try:
    from eth_account import Account
    from eth_tester import EthereumTester
    from eth_tester.exceptions import TransactionFailed
    from web3 import EthereumTesterProvider, Web3

    EthereumTester()  # the virtual machine is imported with the first chain
finally:
    sys.setrecursionlimit(_limit)

__all__ = ["Account", "InProcess", "Web3", "in_process_chain"]


class InProcess(EthereumTesterProvider):
    """Answers a refusal as nodes do, instead of raising eth-tester's own error."""

    def make_request(self, method: Any, params: Any) -> Any:
        try:
            return super().make_request(method, params)
        except TransactionFailed as fault:
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": 3, "message": str(fault), "data": None}}


def in_process_chain() -> InProcess:
    """A web3 provider of a fresh chain."""
    return InProcess(EthereumTester())
