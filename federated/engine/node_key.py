"""The key that a site shows the engine: ECDSA on a NIST curve, as Flower asks for.

It only opens the door to the coordinator's transport; what a site says is signed with its ML-DSA identity.
"""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)

from federated.errors import ProvisioningError

NODE_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def read_node_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """A site's private node key.

    Args:
        file: PEM (PKCS #8) or OpenSSH, not encrypted.

    Raises:
        ProvisioningError: The file is missing or holds no such key.
    """
    try:
        text = file.read_bytes()
        load = load_ssh_private_key if b"OPENSSH" in text[:64] else load_pem_private_key
        key = load(text, None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise ProvisioningError(
            f"{file.name}: expected a readable private node key ({type(fault).__name__}); make a new kit."
        ) from fault
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, NODE_CURVES):
        raise ProvisioningError(f"{file.name}: expected an ECDSA key on P-256, P-384 or P-521; make a new kit.")
    return key


def canonical_node_key(pem: bytes) -> bytes:
    """A public node key as the engine writes it: the one form in which two are compared.

    Raises:
        ProvisioningError: It is no ECDSA public key in PEM.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise ProvisioningError("Expected a public node key in PEM, got something else.") from fault
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, NODE_CURVES):
        raise ProvisioningError("Expected a public node key on P-256, P-384 or P-521, got another kind.")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
