"""Chain on any EVM chain that speaks JSON-RPC: Hyperledger Besu, Quorum, or a node on this machine.

Transactions are signed here, with a key from an encrypted keystore file: the node needs no account of ours.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from governance.errors import AnchorError
from governance.ports import AnchoredHead, ModelOnChain

# These raise Python's limit of recursion for the whole process when they are imported; deeply nested JSON that somebody
# sends would then end the process, where it should raise.
_limit: Final = sys.getrecursionlimit()
try:
    import requests
    from eth_account import Account
    from eth_utils.exceptions import ValidationError
    from vyper import compile_code
    from web3 import HTTPProvider, Web3
    from web3.exceptions import ContractLogicError, Web3Exception
    from web3.middleware import ExtraDataToPOAMiddleware
except ImportError as fault:
    raise AnchorError("A chain needs the extra packages: pip install 'qfl-hospital-plugin[chain]'.") from fault
finally:
    sys.setrecursionlimit(_limit)

TIMEOUT_S: Final = 10.0
RECEIPT_S: Final = 60.0
"""Longest wait until a block holds a transaction; consortium chains make one every few seconds."""
_MAX_KEYSTORE_BYTES: Final = 1 << 16
_NOTHING: Final = bytes(32)


@dataclass(frozen=True)
class Compiled:
    """The contract, compiled from the source that is shipped.

    Attributes:
        abi: Its interface.
        bytecode: To deploy, hexadecimal.
    """

    abi: Sequence[Any]
    bytecode: str


@cache
def compile_contract() -> Compiled:
    """Compile governance/contract/consortium.vy, once a process."""
    source = files("governance.contract").joinpath("consortium.vy").read_text(encoding="utf-8")
    found = compile_code(source, output_formats=["abi", "bytecode"])
    return Compiled(found["abi"], found["bytecode"])


def open_account(keystore: Path, passphrase: str) -> Any:
    """The institution's account from an encrypted keystore file (Web3 Secret Storage).

    Raises:
        AnchorError: The file cannot be read, or the passphrase does not open it.
    """
    try:
        with keystore.open("rb") as file:
            data = file.read(_MAX_KEYSTORE_BYTES + 1)
    except OSError as fault:
        raise AnchorError(f"{keystore}: cannot be read ({fault.strerror}).") from fault
    if len(data) > _MAX_KEYSTORE_BYTES:
        raise AnchorError(f"{keystore}: expected at most {_MAX_KEYSTORE_BYTES} bytes.")
    try:
        return Account.from_key(Account.decrypt(data.decode("utf-8"), passphrase))
    except (ValueError, TypeError, KeyError) as fault:
        raise AnchorError(f"{keystore}: is no keystore file, or its passphrase is another one.") from fault


def http_provider(url: str) -> Any:
    """A node's JSON-RPC address, asked with a time limit."""
    return HTTPProvider(url, request_kwargs={"timeout": TIMEOUT_S})


def deploy(provider: Any, account: Any, institutions: Sequence[str], threshold: int) -> str:
    """Put the contract on the chain; returns its address.

    Args:
        provider: E.g. http_provider's.
        account: Who pays.
        institutions: Their addresses.
        threshold: How many of them must agree.

    Raises:
        AnchorError: The chain does not answer, or refuses the members.
    """
    with _translated():
        web3, compiled = _connect(provider), compile_contract()
        members = [web3.to_checksum_address(each) for each in institutions]
        contract = web3.eth.contract(abi=compiled.abi, bytecode=compiled.bytecode)
        receipt = _send(web3, account, contract.constructor(members, threshold))
        return str(receipt["contractAddress"])


class ConsortiumChain:
    """Chain behind a contract's address."""

    def __init__(self, provider: Any, address: str, account: Callable[[], Any]) -> None:
        """Use a node; nothing is connected yet.

        Args:
            provider: E.g. http_provider's.
            address: Of the contract.
            account: Gives the institution's account; asked when something is to be signed.
        """
        self._provider, self._address, self._account = provider, address, account

    @cached_property
    def _web3(self) -> Any:
        return _connect(self._provider)

    @cached_property
    def _contract(self) -> Any:
        address = self._web3.to_checksum_address(self._address)
        if not self._web3.eth.get_code(address):
            raise AnchorError(f"{address}: there is no contract on this chain; check QFL_CHAIN_URL and _CONTRACT.")
        return self._web3.eth.contract(address=address, abi=compile_contract().abi)

    @property
    def name(self) -> str:
        """Chain and contract."""
        with _translated():
            return f"eip155:{self._web3.eth.chain_id}:{self._contract.address}"

    def anchor(self, ledger: bytes, head: AnchoredHead) -> str:
        """Anchor a tree head."""
        return self._transact("anchor", ledger, head.size, head.root)

    def heads(self, ledger: bytes) -> Sequence[AnchoredHead]:
        """Everything that was anchored of a log."""
        with _translated():
            functions = self._contract.functions
            count = functions.head_count(ledger).call()
            found = [functions.heads(ledger, place).call() for place in range(count)]
        return [AnchoredHead(size, bytes(root)) for size, root, _ in found]

    def approve_release(self, model: bytes, audit: bytes) -> str:
        """Approve a release."""
        return self._transact("approve_release", model, audit)

    def approvals(self, model: bytes, audit: bytes) -> tuple[int, int]:
        """How many approve it, and how many must."""
        with _translated():
            functions = self._contract.functions
            return functions.approvals(model, audit).call(), functions.threshold().call()

    def halt(self, model: bytes, reason: bytes) -> str:
        """Halt a model for everybody."""
        return self._transact("halt", model, reason)

    def model(self, model: bytes) -> ModelOnChain:
        """Where a model stands."""
        with _translated():
            functions = self._contract.functions
            released, halted = functions.is_released(model).call(), functions.halted(model).call()
            audit = bytes(functions.released_audit(model).call())
        return ModelOnChain(released, halted, None if audit == _NOTHING else audit)

    def _transact(self, name: str, *arguments: Any) -> str:
        with _translated():
            call = self._contract.functions[name](*arguments)
            return str(_send(self._web3, self._account(), call)["transactionHash"].to_0x_hex())


def _connect(provider: Any) -> Any:
    web3 = Web3(provider)
    # Clique, IBFT and QBFT chains put more into a block's extra data than the main chain allows.
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3


def _send(web3: Any, account: Any, call: Any) -> Any:
    """Sign, send, and wait until a block holds it."""
    transaction = call.build_transaction(
        {"from": account.address, "nonce": web3.eth.get_transaction_count(account.address, "pending")}
    )
    signed = account.sign_transaction(transaction)
    receipt = web3.eth.wait_for_transaction_receipt(
        web3.eth.send_raw_transaction(signed.raw_transaction), timeout=RECEIPT_S
    )
    if receipt["status"] != 1:
        raise AnchorError("The chain's contract refused the transaction after it was sent; ask for its state again.")
    return receipt


@contextmanager
def _translated() -> Iterator[None]:
    """Every fault of the chain as ours; its text is the contract's reason, or names the node's error."""
    try:
        yield
    except ContractLogicError as fault:
        reason = str(fault.message or fault).removeprefix("execution reverted: ")[:120]
        raise AnchorError(f"The consortium's contract refuses: {reason}.") from fault
    except (Web3Exception, ValidationError, ValueError, TypeError, OSError, requests.RequestException) as fault:
        raise AnchorError(
            f"The consortium's chain does not answer as expected ({type(fault).__name__}); check its address and node."
        ) from fault
