# @version ^0.4.0
"""
@title Consortium governance
@license Apache-2.0
@notice Roots of the institutions' ledgers are anchored here, append-only; a model is released when enough institutions
    approve the same audit of it, and any one of them halts it. No personal data: hashes and addresses only.
"""

MOST_MEMBERS: constant(uint256) = 64

struct Head:
    size: uint256
    root: bytes32
    at: uint256

# Members: the participating institutions, and how many of them must agree.
is_member: public(HashMap[address, bool])
members: public(uint256)
threshold: public(uint256)

# Ledgers: the first member who anchors a ledger owns it.
owner_of: public(HashMap[bytes32, address])
head_count: public(HashMap[bytes32, uint256])
heads: public(HashMap[bytes32, HashMap[uint256, Head]])

# Models. Votes are for one audit in one term; a release, a halt and a change of members begin a new term.
released_audit: public(HashMap[bytes32, bytes32])
halted: public(HashMap[bytes32, bool])
term: public(HashMap[bytes32, uint256])
votes: HashMap[bytes32, uint256]
has_voted: HashMap[bytes32, HashMap[address, bool]]
# Counts changes of the members: votes from before do not count any more.
era: public(uint256)

event Anchored:
    ledger: indexed(bytes32)
    size: uint256
    root: bytes32

event Approved:
    model: indexed(bytes32)
    audit: indexed(bytes32)
    member: indexed(address)
    approvals: uint256

event Released:
    model: indexed(bytes32)
    audit: indexed(bytes32)

event Halted:
    model: indexed(bytes32)
    member: indexed(address)
    reason: bytes32

event MembersChanged:
    member: indexed(address)
    joins: bool
    threshold: uint256


@deploy
def __init__(institutions: DynArray[address, MOST_MEMBERS], threshold: uint256):
    assert len(institutions) > 0, "no members"
    assert 0 < threshold and threshold <= len(institutions), "threshold out of range"
    for institution: address in institutions:
        assert institution != empty(address), "empty address"
        assert not self.is_member[institution], "member twice"
        self.is_member[institution] = True
    self.members = len(institutions)
    self.threshold = threshold


@external
def anchor(ledger: bytes32, size: uint256, root: bytes32):
    """
    @notice Keep the root of a ledger at a size; sizes only grow.
    """
    assert self.is_member[msg.sender], "not a member"
    assert root != empty(bytes32), "empty root"
    owner: address = self.owner_of[ledger]
    if owner == empty(address):
        self.owner_of[ledger] = msg.sender
    else:
        assert owner == msg.sender, "not your ledger"
    count: uint256 = self.head_count[ledger]
    if count > 0:
        assert size > self.heads[ledger][count - 1].size, "not append-only"
    self.heads[ledger][count] = Head(size=size, root=root, at=block.timestamp)
    self.head_count[ledger] = count + 1
    log Anchored(ledger=ledger, size=size, root=root)


@external
def approve_release(model: bytes32, audit: bytes32):
    """
    @notice Approve a release under an audit; with enough approvals of the same audit the model is released.
    """
    assert self.is_member[msg.sender], "not a member"
    assert audit != empty(bytes32), "empty audit"
    assert self.released_audit[model] != audit or self.halted[model], "released already"
    ballot: bytes32 = keccak256(abi_encode("release", model, audit, self.term[model], self.era))
    approvals: uint256 = self._vote(ballot)
    log Approved(model=model, audit=audit, member=msg.sender, approvals=approvals)
    if approvals >= self.threshold:
        self.released_audit[model] = audit
        self.halted[model] = False
        self.term[model] += 1
        log Released(model=model, audit=audit)


@external
def halt(model: bytes32, reason: bytes32):
    """
    @notice Halt a model at once; it takes a release by enough members to let it run again.
    """
    assert self.is_member[msg.sender], "not a member"
    self.halted[model] = True
    self.term[model] += 1
    log Halted(model=model, member=msg.sender, reason=reason)


@external
def approve_member(member: address, joins: bool, threshold: uint256):
    """
    @notice Approve that an institution joins or leaves, and how many must agree from then on.
    """
    assert self.is_member[msg.sender], "not a member"
    assert member != empty(address), "empty address"
    assert self.is_member[member] != joins, "nothing would change"
    after: uint256 = self.members + 1 if joins else self.members - 1
    assert after <= MOST_MEMBERS, "too many members"
    assert 0 < threshold and threshold <= after, "threshold out of range"
    ballot: bytes32 = keccak256(abi_encode("member", member, joins, threshold, self.era))
    if self._vote(ballot) >= self.threshold:
        self.is_member[member] = joins
        self.members = after
        self.threshold = threshold
        self.era += 1
        log MembersChanged(member=member, joins=joins, threshold=threshold)


@external
@view
def is_released(model: bytes32) -> bool:
    """
    @notice Whether the model may be used.
    """
    return self.released_audit[model] != empty(bytes32) and not self.halted[model]


@external
@view
def approvals(model: bytes32, audit: bytes32) -> uint256:
    """
    @notice How many members approve this audit in the present term.
    """
    return self.votes[keccak256(abi_encode("release", model, audit, self.term[model], self.era))]


@internal
def _vote(ballot: bytes32) -> uint256:
    assert not self.has_voted[ballot][msg.sender], "approved already"
    self.has_voted[ballot][msg.sender] = True
    self.votes[ballot] += 1
    return self.votes[ballot]
